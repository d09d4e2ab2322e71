//! Connections come at a steady rate, whether or not anybody accepts, while the process that serves is replaced again and
//! again: nobody who stands in the accept queue is dropped.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::upgrades::upgrade;
use crate::{Ask, Backend, Door, Launch, gate::Gate, ports};

/// Connections that come at the same moment.
const BURST: usize = 20;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Connections in all, one request each.
    pub connections: usize,
    /// Spread over so long.
    pub lasts: Duration,
    /// From one upgrade to the next.
    pub every: Duration,
    /// One socket for each worker.
    pub reuse_port: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Connections whose request was answered.
    pub answered: usize,
    /// Upgrades meanwhile.
    pub upgrades: usize,
    /// The longest that a client waited for its answer.
    pub slowest: Duration,
    /// What should not have been.
    pub wrong: Vec<String>,
}

/// Runs it.
pub async fn run(binary: &str, size: Size) -> Found {
    let (backend, address) = (Backend::start("v1").await, ports::free());
    let document = json!({
        "workers": 2,
        "process": { "drain": { "spread": "100ms" } },
        "listeners": { "web": { "address": address, "socket": { "reuse_port": size.reuse_port } } },
        "upstreams": { "v1": { "endpoints": [backend.url()] } },
        "routes": { "all": { "forward": "v1" } },
    });
    let gate = Launch::new(binary).supervised().document(&document).start().await;
    let clients = tokio::spawn(come(Door::clear(address), size));
    let (mut upgrades, mut wrong) = (0, Vec::new());
    while !clients.is_finished() {
        let begin = Instant::now();
        match upgrade(&gate).await {
            Ok(_) => upgrades += 1,
            Err(why) => {
                wrong.push(why);
                break;
            }
        }
        tokio::time::sleep(size.every.saturating_sub(begin.elapsed())).await;
    }
    let mut found = clients.await.expect("no panic");
    found.upgrades = upgrades;
    found.wrong.extend(wrong);
    nobody_left(&gate, &mut found).await;
    gate.stop().await;
    found
}

/// The clients: in bursts, by the clock.
async fn come(door: Door, size: Size) -> Found {
    let bursts = size.connections.div_ceil(BURST);
    let pause = size.lasts / u32::try_from(bursts).unwrap_or(u32::MAX);
    let mut clock = tokio::time::interval(pause);
    let mut under_way = JoinSet::new();
    for n in 0..size.connections {
        if n.is_multiple_of(BURST) {
            clock.tick().await;
        }
        let door = door.clone();
        under_way.spawn(async move {
            let begin = Instant::now();
            (door.ask(&Ask::get("/").field("connection", "close")).await, begin.elapsed())
        });
    }
    let mut found = Found::default();
    while let Some(done) = under_way.join_next().await {
        let (answer, took) = done.expect("no panic");
        found.slowest = found.slowest.max(took);
        match answer {
            Ok(answer) if answer.status == 200 => found.answered += 1,
            Ok(answer) => found.wrong.push(format!("status {}: {}", answer.status, answer.text())),
            Err(failure) => found.wrong.push(format!("{failure:?}")),
        }
    }
    found
}

/// Processes that have left end once their connections have.
async fn nobody_left(gate: &Gate, found: &mut Found) {
    let alone = async || gate.status().await["supervisor"]["draining"] == 0;
    gate.until("those that left have ended", alone).await;
    let crashes = gate.status().await["supervisor"]["crashes"].clone();
    if crashes != 0 {
        found.wrong.push(format!("{crashes} crashes"));
    }
}
