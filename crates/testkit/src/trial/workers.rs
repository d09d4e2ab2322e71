//! The number of workers changed again and again, under clients that open a connection for each request.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    Ask, Backend, Crowd, Door, Gate, Outcome,
    load::{Client, Manner},
    ports,
};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How long.
    pub lasts: Duration,
    /// From one change to the next.
    pub every: Duration,
    /// Clients, each with a connection for each request.
    pub clients: usize,
    /// One socket for each worker.
    pub reuse_port: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Found {
    /// What the clients saw.
    pub outcome: Outcome,
    /// Changes that were made.
    pub changes: usize,
}

/// Runs it, between one worker and four.
pub async fn run(binary: &str, size: Size) -> Found {
    let backend = Backend::start("v1").await;
    let address = ports::free();
    let document = |workers: usize| {
        json!({
            "workers": workers,
            "listeners": { "web": { "address": address, "socket": { "reuse_port": size.reuse_port } } },
            "upstreams": { "v1": { "endpoints": [backend.url()] } },
            "routes": { "all": { "forward": "v1" } },
        })
    };
    let gate = Gate::start(binary, &document(1)).await;
    let client = Client::new(Door::clear(address), Manner::PerRequest, Ask::get("/"));
    let crowd = Crowd::start(vec![Client { pause: Duration::from_micros(200), ..client }; size.clients]);
    let (start, mut changes) = (Instant::now(), 0);
    while start.elapsed() < size.lasts {
        let turn = Instant::now();
        let workers = [4, 2, 3, 1][changes % 4];
        gate.apply(&document(workers)).await;
        changes += 1;
        crowd.more(1).await;
        tokio::time::sleep(size.every.saturating_sub(turn.elapsed())).await;
    }
    Found { outcome: crowd.stop().await, changes }
}
