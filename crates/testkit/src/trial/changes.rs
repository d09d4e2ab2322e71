//! Many changes of the file in a row, under clients that must not notice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Doors;
use crate::{
    Answer, Ask, Authority, Backend, Crowd, Gate, Outcome,
    gate::Launch,
    paced::{Spread, spread_ms},
    ports,
};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Changes in a row.
    pub changes: u64,
    /// Clients; a fifth open a connection for each request.
    pub clients: usize,
    /// Rest of each client between two requests.
    pub pause: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Found {
    /// What the clients saw.
    pub outcome: Outcome,
    /// From the rename to the first answer by the new revision, in milliseconds.
    pub first_new: Spread,
    /// From the rename to the last answer by an older one, in milliseconds. Negative: before the rename.
    pub last_old: Spread,
    /// From the rename to the verdict, in milliseconds.
    pub verdict: Spread,
    /// The whole run.
    pub took: Duration,
    /// Generations alive at the end.
    pub generations: usize,
}

/// Runs it.
///
/// Each change moves a number in the forwarded request's and in the response's headers, so that an answer tells which
/// revision made it, and whether both halves came from the same one.
pub async fn run(binary: &str, size: Size) -> Found {
    let authority = Authority::new();
    let backend = Backend::start("v1").await;
    let (clear, tls) = (ports::free(), ports::free());
    let document = |revision: u64| document(revision, clear, tls, &backend);
    let launch = Launch::new(binary);
    authority.leaf(&["test.local"]).write(launch.path(), "leaf");
    let gate = launch.document(&document(0)).start().await;
    let doors = Doors::new(clear, tls, &authority);
    let clients = doors.crowd(size.clients, &Ask::get("/"), size.pause);
    let crowd = Crowd::start(clients.into_iter().map(|c| c.checking(one_revision)));
    crowd.more(size.clients as u64 * 5).await;
    let start = Instant::now();
    let (mut renamed, mut verdicts) = (vec![start], vec![]);
    for revision in 1..=size.changes {
        let (before, verdict) = change(&gate, &document(revision)).await;
        crowd.seen(revision);
        renamed.push(before);
        verdicts.push(verdict);
    }
    crowd.more(size.clients as u64 * 5).await;
    let took = start.elapsed();
    let outcome = crowd.stop().await;
    gate.settle().await;
    Found {
        first_new: first_new(&outcome, &renamed),
        last_old: last_old(&outcome, &renamed),
        verdict: spread_ms(verdicts),
        took,
        generations: gate.generations().await,
        outcome,
    }
}

async fn change(gate: &Gate, document: &Value) -> (Instant, Duration) {
    let mark = gate.events().mark();
    let before = Instant::now();
    gate.write(document);
    let (at, verdict) = gate.events().verdict_at(mark, "file").await;
    assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
    (before, at - before)
}

fn document(
    revision: u64,
    clear: std::net::SocketAddr,
    tls: std::net::SocketAddr,
    backend: &Backend,
) -> Value {
    let number = json!({ "set": { "x-rev": revision.to_string() } });
    json!({
        "listeners": {
            "clear": { "address": clear },
            "tls": { "address": tls, "tls": { "certificates": ["leaf"] } },
        },
        "certificates": { "leaf": { "cert": "leaf.pem", "key": "leaf.key" } },
        "upstreams": { "v1": { "endpoints": [backend.url()] } },
        "routes": { "all": { "headers": { "request": number, "response": number }, "forward": "v1" } },
    })
}

/// Law 2: a request sees exactly one revision.
fn one_revision(answer: &Answer) -> Result<(), String> {
    if answer.status != 200 {
        return Err(format!("status {}: {}", answer.status, answer.text()));
    }
    let sent = answer.json()["fields"]["x-rev"][0].as_str().map(str::to_owned);
    let back = answer.fields.get("x-rev").map(str::to_owned);
    if sent.is_some() && sent == back {
        Ok(())
    } else {
        Err(format!("request by {sent:?}, response by {back:?}"))
    }
}

fn first_new(outcome: &Outcome, renamed: &[Instant]) -> Spread {
    let after = renamed.iter().zip(0..).skip(1).filter_map(|(at, revision)| {
        let first = outcome.revisions.range(revision..).map(|(_, a)| a.first).min()?;
        Some(first.saturating_duration_since(*at))
    });
    spread_ms(after)
}

fn last_old(outcome: &Outcome, renamed: &[Instant]) -> Spread {
    let after = renamed.iter().zip(0..).skip(1).filter_map(|(at, revision)| {
        let last = outcome.revisions.range(..revision).next_back()?.1.last;
        Some(last.saturating_duration_since(*at))
    });
    spread_ms(after)
}
