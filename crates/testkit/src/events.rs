//! The gateway's event stream: what happened to each change, without asking again and again.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    client::Door,
    h1::{Fields, Framing, bad},
    process::PATIENCE,
};

/// What has happened since it was opened. Ends when dropped.
pub struct Events {
    all: Arc<Mutex<Vec<(Instant, Value)>>>,
    count: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

/// A point in the stream.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Events {
    /// Opens the stream of a gateway.
    ///
    /// # Errors
    /// If there is none.
    pub async fn follow(admin: SocketAddr) -> std::io::Result<Events> {
        let conn = Door::clear(admin).connect().await.map_err(|f| bad(format!("{f:?}")))?;
        let mut line = conn.line();
        line.writer
            .raw(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
            .await?;
        let head = line.reader.head().await?.ok_or_else(|| bad("no answer"))?;
        if head.status()? != 200 {
            return Err(bad(head.first));
        }
        let mut framing = Framing::of_response("GET", 200, &head.fields)?;
        let all: Arc<Mutex<Vec<(Instant, Value)>>> = Arc::default();
        let (send, count) = watch::channel(0);
        let writer = Arc::clone(&all);
        let task = tokio::spawn(async move {
            let mut text = Vec::new();
            while let Ok(Some(piece)) = line.reader.piece(&mut framing, &mut Fields::default()).await {
                let now = Instant::now();
                text.extend_from_slice(&piece);
                while let Some(end) = text.windows(2).position(|w| w == b"\n\n") {
                    let event: Vec<u8> = text.drain(..end + 2).collect();
                    if let Some(value) = data(&String::from_utf8_lossy(&event)) {
                        writer.lock().expect("no panic").push((now, value));
                    }
                }
                send.send_modify(|n| *n += 1);
            }
        });
        Ok(Events { all, count, task })
    }

    /// Now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.all.lock().expect("no panic").len())
    }

    /// Everything since a mark, with the time at which it came.
    #[must_use]
    pub fn since(&self, mark: Mark) -> Vec<(Instant, Value)> {
        self.all.lock().expect("no panic")[mark.0..].to_vec()
    }

    /// Waits for the first event since a mark that fits.
    pub async fn wait(&self, mark: Mark, fits: impl Fn(&Value) -> bool) -> (Instant, Value) {
        self.find(mark, |events| events.iter().find(|(_, e)| fits(e)).cloned()).await
    }

    /// The verdict of the first transaction since a mark that this origin asked for.
    pub async fn verdict(&self, mark: Mark, origin: &str) -> Value {
        self.verdict_at(mark, origin).await.1
    }

    /// The same with the time at which it came.
    pub async fn verdict_at(&self, mark: Mark, origin: &str) -> (Instant, Value) {
        let ended = |events: &[(Instant, Value)]| {
            let is = |e: &Value, kind: &str| e["event"] == kind;
            let (_, begun) = events.iter().find(|(_, e)| is(e, "received") && e["origin"] == origin)?;
            let end =
                events.iter().find(|(_, e)| is(e, "ended") && e["transaction"] == begun["transaction"])?;
            Some((end.0, end.1["verdict"].clone()))
        };
        self.find(mark, ended).await
    }

    async fn find<T>(&self, mark: Mark, search: impl Fn(&[(Instant, Value)]) -> Option<T>) -> T {
        let mut count = self.count.clone();
        let found = async {
            loop {
                count.borrow_and_update();
                if let Some(found) = search(&self.all.lock().expect("no panic")[mark.0..]) {
                    return found;
                }
                count.changed().await.expect("the event stream goes on");
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("it did not happen; this did: {:#?}", self.since(mark)),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn data(event: &str) -> Option<Value> {
    let lines: Vec<&str> =
        event.lines().filter_map(|l| l.strip_prefix("data:")).map(str::trim_start).collect();
    serde_json::from_str(&lines.join("\n")).ok()
}
