//! WebSockets opened before, between and after many changes, all of which must live on.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{Backend, Door, Gate, ports, ws::Socket};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Changes in a row.
    pub changes: usize,
    /// WebSockets opened before the first and after the last; one more is opened after each.
    pub sockets: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// WebSockets that were opened.
    pub opened: usize,
    /// Of these, still there and echoing after all changes.
    pub alive: usize,
    /// Why the others are not.
    pub words: Vec<String>,
    /// Generations alive at the end, while all WebSockets were open.
    pub generations: usize,
    /// Resident memory before the changes and after them, in KiB, both with those WebSockets open that were opened
    /// before.
    pub rss_kib: (u64, u64),
    /// Descriptors, in the same way.
    pub descriptors: (usize, usize),
}

/// Runs it. Each change touches another route and the upstream of that route, every fifth the number of workers and a
/// limit of the sockets' own listener.
///
/// All is done once before memory is looked at: what so many sockets at once take from the system, the allocator keeps,
/// whether something changes or not.
pub async fn run(binary: &str, size: Size) -> Found {
    let mut trial = Trial::start(binary).await;
    let kept = open(&trial.door, size.sockets).await;
    trial.round(size, &kept).await;
    let before = (trial.gate.rss_kib(), trial.gate.descriptors());
    let mut sockets = kept;
    let mut opened = trial.changes(size).await;
    let mut found = Found { opened: sockets.len() + opened.len(), ..Found::default() };
    for (n, socket) in sockets.iter_mut().chain(&mut opened).enumerate() {
        match socket.echo(&format!("socket {n}")).await {
            Ok(()) => found.alive += 1,
            Err(error) => found.words.push(format!("socket {n}: {error}")),
        }
    }
    trial.gate.settle().await;
    found.generations = trial.gate.generations().await;
    trial.close(opened, &sockets).await;
    found.rss_kib = (before.0, trial.gate.rss_kib());
    found.descriptors = (before.1, trial.gate.descriptors());
    found
}

struct Trial {
    gate: Gate,
    backend: Backend,
    address: SocketAddr,
    door: Door,
    turn: usize,
}

impl Trial {
    async fn start(binary: &str) -> Trial {
        let backend = Backend::start("v1").await;
        let address = ports::free();
        let gate = Gate::start(binary, &document(0, address, &backend)).await;
        Trial { gate, backend, address, door: Door::clear(address), turn: 0 }
    }

    async fn round(&mut self, size: Size, kept: &[Socket]) {
        let opened = self.changes(size).await;
        self.close(opened, kept).await;
    }

    async fn changes(&mut self, size: Size) -> Vec<Socket> {
        let mut opened = Vec::new();
        for _ in 0..size.changes {
            self.turn += 1;
            self.gate.apply(&document(self.turn, self.address, &self.backend)).await;
            opened.extend(open(&self.door, 1).await);
        }
        opened.extend(open(&self.door, size.sockets).await);
        opened
    }

    /// Closes some, and waits until the gateway has nothing left of them.
    async fn close(&mut self, opened: Vec<Socket>, kept: &[Socket]) {
        for socket in opened {
            let _ = socket.close().await;
        }
        let left = kept.len() as u64;
        let gate = &self.gate;
        gate.until("tunnels closed", async || gate.status().await["traffic"]["tunnels"] == left).await;
        gate.settle().await;
    }
}

async fn open(door: &Door, count: usize) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let mut socket = Socket::open(door, "test.local", "/socket").await.expect("a WebSocket");
        socket.echo("hello").await.expect("an echo");
        sockets.push(socket);
    }
    sockets
}

fn document(turn: usize, address: SocketAddr, backend: &Backend) -> Value {
    json!({
        "workers": 2 + turn / 5 % 2,
        "listeners": { "web": { "address": address, "limits": { "headers": 100 + turn / 5 % 2 } } },
        "upstreams": {
            "sockets": { "endpoints": [backend.url()] },
            "other": { "endpoints": [backend.url()], "pool": { "idle": 10 + turn } },
        },
        "routes": {
            "sockets": { "match": { "path": "/socket" }, "forward": "sockets" },
            "other": { "match": { "path": "/other" }, "forward": "other", "timeout": format!("{}s", 10 + turn) },
        },
    })
}
