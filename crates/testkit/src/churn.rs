//! "Reload every N ms": any test can be run under it, by `EVERGATE_CHURN_MS` or by [`crate::Gate::churn`].

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::client::{Ask, Conn, Door, Failure};

/// Reloads by the admin API until stopped. Uses the overlay, so that the test's own file stays its own.
pub struct Churn {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Churn {
    /// Begins.
    #[must_use]
    pub fn start(admin: SocketAddr, every: Duration) -> Churn {
        let stop: Arc<AtomicBool> = Arc::default();
        let task = tokio::spawn(run(admin, every, Arc::clone(&stop)));
        Churn { stop, task }
    }

    /// Ends after the reload in flight; says how many there were. Panics if one was not accepted.
    pub async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Release);
        self.task.await.expect("every reload accepted")
    }
}

async fn run(admin: SocketAddr, every: Duration, stop: Arc<AtomicBool>) -> usize {
    let mut kept: Option<Conn> = None;
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        tokio::time::sleep(every).await;
        match turn(admin, kept.take(), count).await {
            Ok(conn) => kept = Some(conn),
            // The gateway is being killed or moves its admin address: not the churn's business.
            Err(_) => continue,
        }
        count += 1;
    }
    count
}

/// Every other turn changes nothing.
async fn turn(admin: SocketAddr, kept: Option<Conn>, count: usize) -> Result<Conn, Failure> {
    let mut conn = match kept {
        Some(conn) => conn,
        None => Door::clear(admin).connect().await?,
    };
    let patch = json!({ "routes": { "kit-churn": {
        "match": { "hosts": ["churn.invalid"] },
        "respond": { "body": format!("{}\n", count / 2) },
    }}});
    let ask = Ask::post("/api/v1/config", patch.to_string()).method("PATCH").host("localhost");
    let answer = conn.ask(&ask.field("content-type", "application/merge-patch+json")).await?;
    let verdict = answer.json()["verdict"].clone();
    assert!(verdict == "applied" || verdict == "unchanged", "churn: {}", answer.text());
    Ok(conn)
}
