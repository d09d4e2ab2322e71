//! WebSockets opened before, between and after many changes, all of which must live on.

use serde_json::{Value, json};

use crate::{Backend, Door, Gate, ports, ws::Socket};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Changes in a row.
    pub changes: usize,
    /// WebSockets opened before the first, after the last, and between each two.
    pub sockets: usize,
    /// Changes made before memory is looked at, so that what is kept for good is there.
    pub warm_up: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// WebSockets that were opened.
    pub opened: usize,
    /// Of these, still there and echoing after all changes.
    pub alive: usize,
    /// Why the others are not.
    pub words: Vec<String>,
    /// Generations alive at the end, while all WebSockets were open.
    pub generations: usize,
    /// Resident memory before the changes, in KiB.
    pub rss_before: u64,
    /// Resident memory after them, with the sockets opened meanwhile closed again, in KiB.
    pub rss_after: u64,
    /// Descriptors before the changes and after them, as the memory.
    pub descriptors: (usize, usize),
}

/// Runs it. Each change touches another route and the upstream of that route, every fifth the number of workers and a
/// limit of the sockets' own listener.
pub async fn run(binary: &str, size: Size) -> Found {
    let backend = Backend::start("v1").await;
    let address = ports::free();
    let gate = Gate::start(binary, &document(0, address, &backend)).await;
    let door = Door::clear(address);
    let mut sockets = open(&door, size.sockets).await;
    let mut turn = 0;
    for _ in 0..size.warm_up {
        turn += 1;
        gate.apply(&document(turn, address, &backend)).await;
        sockets.extend(open(&door, 1).await);
    }
    for socket in sockets.drain(size.sockets..) {
        socket.close().await.expect("closed");
    }
    gate.settle().await;
    let before = (gate.rss_kib(), gate.descriptors());
    for _ in 0..size.changes {
        turn += 1;
        gate.apply(&document(turn, address, &backend)).await;
        sockets.extend(open(&door, 1).await);
    }
    sockets.extend(open(&door, size.sockets).await);
    let mut found = Found {
        opened: sockets.len(),
        alive: 0,
        words: vec![],
        generations: 0,
        rss_before: before.0,
        rss_after: 0,
        descriptors: (before.1, 0),
    };
    for (n, socket) in sockets.iter_mut().enumerate() {
        match socket.echo(&format!("socket {n}")).await {
            Ok(()) => found.alive += 1,
            Err(error) => found.words.push(format!("socket {n}: {error}")),
        }
    }
    gate.settle().await;
    found.generations = gate.generations().await;
    for socket in sockets.drain(size.sockets..) {
        let _ = socket.close().await;
    }
    gate.until("descriptors back", async || gate.descriptors() <= before.1 + 8).await;
    found.rss_after = gate.rss_kib();
    found.descriptors.1 = gate.descriptors();
    found
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

fn document(turn: usize, address: std::net::SocketAddr, backend: &Backend) -> Value {
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
