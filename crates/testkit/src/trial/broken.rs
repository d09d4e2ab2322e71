//! Broken documents submitted under load: each must be refused with a position, and nobody may notice.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use super::Doors;
use crate::{
    Ask, Authority, Backend, Crowd, Outcome, Rng,
    gate::{Gate, Launch},
    mutate::mutate,
    ports,
};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Documents that have to be refused; those that stay good do not count.
    pub broken: usize,
    /// Chooses the mutations.
    pub seed: u64,
    /// Clients; a fifth open a connection for each request.
    pub clients: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Found {
    /// Documents refused with file, line and column.
    pub refused: usize,
    /// Of these, sent to the admin API.
    pub by_api: usize,
    /// Mutations that left a good document.
    pub good: usize,
    /// Refusals without a position, with the document.
    pub placeless: Vec<String>,
    /// What the clients saw.
    pub outcome: Outcome,
}

/// Runs it. What the load uses stands in one file, what is broken in another beside it, so that a mutation that is
/// still a good document cannot take the load's own listener away.
pub async fn run(binary: &str, size: Size) -> Found {
    let mut rng = Rng::new(size.seed);
    let authority = Authority::new();
    let backend = Backend::start("v1").await;
    let (clear, tls) = (ports::free(), ports::free());
    let launch = Launch::new(binary);
    authority.leaf(&["test.local"]).write(launch.path(), "leaf");
    let other = launch.path().join("other.yaml");
    fs::write(&other, "{}\n").expect("a file");
    let launch = launch.arg(&other.display().to_string()).document(&stable(clear, tls, &backend));
    let gate = launch.start().await;
    let doors = Doors::new(clear, tls, &authority);
    let crowd = Crowd::start(doors.crowd(size.clients, &Ask::get("/"), Duration::from_millis(2)));
    crowd.more(size.clients as u64).await;
    let mut found = Found::default();
    let mut last = String::new();
    while found.refused + found.placeless.len() < size.broken {
        let by_api = rng.below(3) == 0;
        let (text, done) = mutate(if by_api { GOOD_JSON } else { GOOD_YAML }, &mut rng);
        if text == last {
            continue;
        }
        last.clone_from(&text);
        let verdict = if by_api { put(&gate, &text).await } else { write(&gate, &other, &text).await };
        let Some(verdict) = verdict else {
            found.good += 1;
            continue;
        };
        if placed(&verdict, by_api) {
            found.refused += 1;
            found.by_api += usize::from(by_api);
        } else {
            found.placeless.push(format!("{done:?}: {verdict}\n{text}"));
        }
    }
    crowd.more(size.clients as u64).await;
    found.outcome = crowd.stop().await;
    found
}

/// Submits by the file; nothing if it is no refusal.
async fn write(gate: &Gate, file: &Path, text: &str) -> Option<Value> {
    let draft = file.with_extension("new");
    let replace = |text: &str| {
        fs::write(&draft, text).expect("a file");
        fs::rename(&draft, file).expect("a file");
    };
    let verdict = gate.touch(|_| replace(text)).await;
    let refused = verdict["verdict"] == "refused";
    if !refused {
        gate.touch(|_| replace("{}\n")).await;
    }
    refused.then_some(verdict)
}

/// Submits as the overlay; nothing if it is no refusal.
async fn put(gate: &Gate, text: &str) -> Option<Value> {
    let ask =
        Ask::post("/api/v1/config", text.to_owned()).method("PUT").field("content-type", "application/json");
    let answer = gate.api(&ask).await;
    if answer.status < 300 {
        let back = gate.call("PUT", "/config", &json!({})).await;
        assert_eq!(back.status, 200, "{}", back.text());
        return None;
    }
    Some(answer.json())
}

/// Every problem says where. What comes by API has no file, and says so without an `at`.
fn placed(verdict: &Value, by_api: bool) -> bool {
    let key = if by_api { "problems" } else { "report" };
    let placed = |problem: &Value| {
        let at = if by_api { problem } else { &problem["at"] };
        let file = by_api || at["file"].as_str().is_some_and(|f| f.ends_with("other.yaml"));
        file && at["line"].as_u64() > Some(0) && at["column"].as_u64() > Some(0)
    };
    let mut errors =
        verdict[key].as_array().into_iter().flatten().filter(|p| p["severity"] != "warning").peekable();
    errors.peek().is_some() && errors.all(placed)
}

fn stable(clear: std::net::SocketAddr, tls: std::net::SocketAddr, backend: &Backend) -> Value {
    json!({
        "listeners": {
            "clear": { "address": clear },
            "tls": { "address": tls, "tls": { "certificates": ["leaf"] } },
        },
        "certificates": { "leaf": { "cert": "leaf.pem", "key": "leaf.key" } },
        "upstreams": { "v1": { "endpoints": [backend.url()] } },
        "routes": { "load": { "priority": 1000, "match": { "hosts": ["test.local"] }, "forward": "v1" } },
    })
}

const GOOD_YAML: &str = include_str!("broken/good.yaml");
const GOOD_JSON: &str = include_str!("broken/good.json");
