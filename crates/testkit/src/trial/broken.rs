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
    /// Mutations that left a good document, or the same bad one; they are not submitted.
    pub good: usize,
    /// Documents that were taken although a dry run refused them.
    pub taken: Vec<String>,
    /// Refusals without a position, with the document.
    pub placeless: Vec<String>,
    /// What the clients saw.
    pub outcome: Outcome,
}

/// Runs it. What the load uses stands in one file, what is broken in another beside it. A dry run says which mutations
/// left a good document: those may well take the load's own routes away (`routes: null`), and are not submitted.
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
    while found.refused + found.placeless.len() + found.taken.len() < size.broken {
        let by_api = rng.below(3) == 0;
        let (text, done) = mutate(if by_api { GOOD_JSON } else { GOOD_YAML }, &mut rng);
        let format = if by_api { "application/json" } else { "application/yaml" };
        let dry = put(&gate, "?dry_run=true", format, &text).await;
        if text == last || dry["verdict"] != "refused" {
            found.good += 1;
            continue;
        }
        last.clone_from(&text);
        let verdict =
            if by_api { put(&gate, "", format, &text).await } else { write(&gate, &other, &text).await };
        let told = || format!("{done:?}: {verdict}\n{text}");
        if verdict["verdict"] != "refused" {
            found.taken.push(told());
        } else if placed(&verdict, by_api) {
            found.refused += 1;
            found.by_api += usize::from(by_api);
        } else {
            found.placeless.push(told());
        }
    }
    crowd.more(size.clients as u64).await;
    found.outcome = crowd.stop().await;
    found
}

/// Submits by the file.
async fn write(gate: &Gate, file: &Path, text: &str) -> Value {
    let draft = file.with_extension("new");
    fs::write(&draft, text).expect("a file");
    gate.touch(|_| fs::rename(&draft, file).expect("a file")).await
}

/// Submits as the overlay.
async fn put(gate: &Gate, query: &str, format: &str, text: &str) -> Value {
    let ask = Ask::post(&format!("/api/v1/config{query}"), text.to_owned()).method("PUT");
    gate.api(&ask.field("content-type", format)).await.json()
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
