//! `kill -9` of the process that serves, under load: requests in it fail, and nobody else's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Ask, Backend, Door, Launch,
    gate::Gate,
    ports,
    process::{self, PATIENCE, Signal},
    rng::Rng,
};

/// Clients that open a connection for each request.
const CLIENTS: usize = 8;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Kills.
    pub deaths: usize,
    /// Routes in the document.
    pub routes: usize,
    /// For the moments of the kills.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Requests with an answer.
    pub answered: usize,
    /// Connections that were refused, or not accepted in time.
    pub refused: usize,
    /// Requests that were cut: they were under way in a process that died.
    pub cut: usize,
    /// Processes that took the place of a dead one, as the supervisor counts them.
    pub restarts: u64,
    /// From each kill to the first answer of the next process.
    pub back: Vec<Duration>,
    /// What should not have been.
    pub wrong: Vec<String>,
}

/// Runs it.
pub async fn run(binary: &str, size: Size) -> Found {
    let backend = Backend::start("v1").await;
    let address = ports::free();
    let launch = Launch::new(binary).supervised();
    let gate = launch.document(&document(address, size.routes, &backend)).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(ask_on(Door::clear(address), stop.clone(), tally.clone())))
        .collect();
    let (mut found, mut random) = (Found::default(), Rng::new(size.seed));
    for n in 0..size.deaths {
        tokio::time::sleep(Duration::from_millis(50 + random.below(200) as u64)).await;
        match kill(&gate, address, size.routes).await {
            Ok(back) => found.back.push(back),
            Err(why) => found.wrong.push(format!("death {n}: {why}")),
        }
    }
    stop.store(true, Ordering::Release);
    for client in clients {
        client.await.expect("no panic");
    }
    found.answered = tally.answered.load(Ordering::Acquire);
    found.refused = tally.refused.load(Ordering::Acquire);
    found.cut = tally.cut.load(Ordering::Acquire);
    found.restarts = gate.status().await["supervisor"]["crashes"].as_u64().unwrap_or_default();
    gate.stop().await;
    found
}

#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    refused: AtomicUsize,
    cut: AtomicUsize,
}

async fn ask_on(door: Door, stop: Arc<AtomicBool>, tally: Arc<Tally>) {
    while !stop.load(Ordering::Acquire) {
        let count = match door.connect().await {
            Err(_) => &tally.refused,
            Ok(mut conn) => match conn.ask(&Ask::get("/r0")).await {
                Ok(answer) if answer.status == 200 => &tally.answered,
                Ok(_) | Err(_) => &tally.cut,
            },
        };
        count.fetch_add(1, Ordering::AcqRel);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Kills who serves, and waits for the first answer of the next one.
async fn kill(gate: &Gate, address: std::net::SocketAddr, routes: usize) -> Result<Duration, String> {
    let old = gate.serving().await.ok_or("nobody served")?;
    process::signal(old, Signal::Kill);
    let killed = Instant::now();
    let last = Ask::get(&format!("/r{}", routes - 1));
    loop {
        if Door::clear(address).ask(&last).await.is_ok_and(|a| a.status == 200) {
            break;
        }
        if killed.elapsed() > PATIENCE {
            return Err("no answer any more".to_owned());
        }
    }
    let back = killed.elapsed();
    let until = Instant::now() + PATIENCE;
    while gate.serving().await.is_none_or(|pid| pid == old) {
        if Instant::now() > until {
            return Err("the dead one still serves".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(back)
}

fn document(address: std::net::SocketAddr, routes: usize, backend: &Backend) -> Value {
    let route =
        |n: usize| (format!("r{n}"), json!({ "match": { "path": format!("/r{n}") }, "forward": "v1" }));
    json!({
        "workers": 2,
        "listeners": { "web": { "address": address } },
        "upstreams": { "v1": { "endpoints": [backend.url()] } },
        "routes": (0..routes).map(route).collect::<serde_json::Map<_, _>>(),
    })
}
