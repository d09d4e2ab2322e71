//! A backend that answers datagrams, and a client of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};

use crate::ports;

/// Longer than anything that is not lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// A datagram that begins so is answered when the next one comes from anybody.
const LATER: &[u8] = b"later";

/// A backend: answers each datagram with its name, a blank, and the datagram.
pub struct Answerer {
    /// Where it is.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<SocketAddr>>>,
    name: String,
    task: Option<JoinHandle<()>>,
}

impl Answerer {
    /// Starts one.
    pub async fn start(name: &str) -> Answerer {
        let mut answerer =
            Answerer { address: ports::free(), seen: Arc::default(), name: name.to_owned(), task: None };
        answerer.open().await;
        answerer
    }

    /// Answers again.
    pub async fn open(&mut self) {
        let socket = UdpSocket::bind(self.address).await.expect("a free address");
        self.task = Some(tokio::spawn(answer(socket, self.name.clone(), Arc::clone(&self.seen))));
    }

    /// Answers no more: who sends something is told that nobody is there.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // However it ends, the socket is closed then.
            let _ = task.await;
        }
    }

    /// `udp://` and its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("udp://{}", self.address)
    }

    /// From how many addresses it was written to.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn answer(socket: UdpSocket, name: String, seen: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut buffer = vec![0; 64 << 10];
    let mut later = Vec::new();
    loop {
        let Ok((n, from)) = socket.recv_from(&mut buffer).await else { continue };
        {
            let mut seen = seen.lock().expect("no panic");
            if !seen.contains(&from) {
                seen.push(from);
            }
        }
        let answer = [name.as_bytes(), b" ", &buffer[..n]].concat();
        if buffer[..n].starts_with(LATER) {
            later.push((answer, from));
            continue;
        }
        for (answer, to) in later.drain(..).chain([(answer, from)]) {
            // Who does not take it has gone.
            let _ = socket.send_to(&answer, to).await;
        }
    }
}

/// A client with a socket of its own.
pub struct Asker {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Asker {
    /// One that writes there, and hears what comes from there.
    pub async fn new(to: SocketAddr) -> Asker {
        let socket = UdpSocket::bind((to.ip(), 0)).await.expect("a socket");
        socket.connect(to).await.expect("an address");
        Asker { socket, to }
    }

    /// Where it writes to.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Sends a datagram.
    pub async fn say(&self, datagram: &[u8]) {
        // That an earlier one was not taken is said here; what counts is what is heard.
        let _ = self.socket.send(datagram).await;
    }

    /// The next datagram; nothing if none comes within that time, or nobody is there.
    pub async fn hear(&self, within: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64 << 10];
        let n = timeout(within, self.socket.recv(&mut buffer)).await.ok()?.ok()?;
        buffer.truncate(n);
        Some(buffer)
    }

    /// Says something and hears who answers. Panics if nobody does, or something else.
    pub async fn by(&self, text: &str) -> String {
        self.say(text.as_bytes()).await;
        let heard = self.hear(PATIENCE).await.expect("an answer");
        let heard = String::from_utf8(heard).expect("text");
        let (name, said) = heard.split_once(' ').expect("a name");
        assert_eq!(said, text, "another answer");
        name.to_owned()
    }
}
