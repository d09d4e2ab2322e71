//! `kill -9` at random moments of changes: what is served afterwards must be a revision that was complete.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use crate::{
    Ask, Door, Rng,
    gate::{Gate, Home, Launch},
    ports,
};

/// Routes that all say the number of their revision.
const ROUTES: usize = 8;

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Times that the process is killed.
    pub kills: usize,
    /// Chooses the moments.
    pub seed: u64,
    /// Longest time from the start of the changes to the kill.
    pub within: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Starts after a kill.
    pub starts: usize,
    /// Of these, from the last good revision since the file was broken.
    pub from_last_good: usize,
    /// Changes that were written.
    pub changes: u64,
    /// Kills that came while a change had no verdict yet.
    pub amidst: usize,
    /// Everything that was not as it had to be.
    pub wrong: Vec<String>,
}

/// Runs it. After every third kill the file is broken before the next start.
pub async fn run(binary: &str, size: Size) -> Found {
    let mut rng = Rng::new(size.seed);
    let mut found = Found::default();
    let (address, admin) = (ports::free(), ports::free());
    let mut written = 1;
    let mut gate = Launch::new(binary).document(&document(written, address, admin)).start().await;
    // The newest that is known to have been applied; older ones must not come back.
    let mut known = written;
    for kill in 0..size.kills {
        let moment = Duration::from_micros(rng.below(size.within.as_micros() as usize) as u64);
        known = known.max(change_for(&gate, moment, &mut written, address, admin).await);
        let home = gate.kill9().await;
        if known < written {
            found.amidst += 1;
        }
        let broken = kill % 3 == 2;
        if broken {
            home.write("routes: { broken: [\n");
        }
        gate = restart(binary, home, admin).await;
        found.starts += 1;
        found.from_last_good += usize::from(broken);
        let at_least = if broken { known } else { written };
        match served(address).await {
            Ok(revision) if (at_least..=written).contains(&revision) => known = revision,
            Ok(revision) => {
                found.wrong.push(format!("kill {kill}: serves {revision}, not {at_least} to {written}"));
            }
            Err(why) => found.wrong.push(format!("kill {kill}: {why}")),
        }
        if broken {
            written += 1;
            let verdict = gate.change(&document(written, address, admin)).await;
            if verdict["verdict"] != "applied" {
                found.wrong.push(format!("kill {kill}: mended file: {verdict}"));
            }
            known = written;
        }
    }
    found.changes = written;
    found
}

async fn restart(binary: &str, home: Home, admin: SocketAddr) -> Gate {
    Launch::new(binary).home(home).admin_at(admin).start().await
}

/// Writes one change after the other for so long; says the newest that got its verdict.
async fn change_for(
    gate: &Gate,
    time: Duration,
    written: &mut u64,
    address: SocketAddr,
    admin: SocketAddr,
) -> u64 {
    let mut known = 0;
    let changes = async {
        loop {
            *written += 1;
            let verdict = gate.change(&document(*written, address, admin)).await;
            assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
            known = *written;
        }
    };
    let _ = tokio::time::timeout(time, changes).await;
    known
}

/// The revision that all routes agree on.
async fn served(address: SocketAddr) -> Result<u64, String> {
    let mut conn = Door::clear(address).connect().await.map_err(|f| format!("{f:?}"))?;
    let mut said = Vec::new();
    for route in 0..ROUTES {
        let answer = conn.ask(&Ask::get(&format!("/{route}"))).await.map_err(|f| format!("{f:?}"))?;
        said.push(answer.text().trim().to_owned());
    }
    if said.iter().any(|s| *s != said[0]) {
        return Err(format!("routes of several revisions: {said:?}"));
    }
    said[0].parse().map_err(|_| format!("no revision: {said:?}"))
}

fn document(revision: u64, address: SocketAddr, admin: SocketAddr) -> Value {
    let route = |n: usize| {
        let path = json!({ "exact": format!("/{n}") });
        (format!("r{n}"), json!({ "match": { "path": path }, "respond": { "body": revision.to_string() } }))
    };
    json!({
        "admin": { "address": admin },
        "listeners": { "web": { "address": address } },
        "routes": (0..ROUTES).map(route).collect::<serde_json::Map<_, _>>(),
    })
}
