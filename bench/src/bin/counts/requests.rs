//! Instructions for each request, of the real gateway under callgrind.
//!
//! One connection in lockstep: the backend answers, and the client asks again, only once the gateway sleeps. So each
//! request takes the same turns on every machine; left to run, an answer that comes early would save a wait and one that comes
//! late would cost one. Two runs with different numbers of requests are subtracted, which leaves out start and stop.

mod idle;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use evergate_testkit::{
    Answer, Ask, Backend, Conn, Door, Failure,
    gate::{Gate, Launch},
    ports,
    process::PATIENCE,
};
use serde_json::{Map, Value, json};

use crate::{
    baseline::{Figure, Figures},
    callgrind::Run,
};

/// Requests of the shorter run: what is made once is made by then.
const FEW: usize = 100;
/// Requests of the longer run beyond that.
const MORE: usize = 1000;
/// Runs of each length.
const ROUNDS: usize = 2;

/// What a browser sends with a request.
const BROWSER: [(&str, &str); 12] = [
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    ),
    ("accept-language", "en-US,en;q=0.9,de;q=0.8"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cache-control", "no-cache"),
    ("referer", "https://test.local/articles/2026/11/the-one-before-this"),
    ("cookie", "session=0f8a1c3be2774d5f9b60; theme=dark; consent=all"),
    ("sec-ch-ua", "\"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\""),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-dest", "document"),
];

/// A kind of request.
struct Kind {
    name: &'static str,
    what: &'static str,
    h2: bool,
    forwards: bool,
    /// Host routes; none: one route for all.
    hosts: usize,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "request/http1",
        what: "GET with a browser's fields over HTTP/1.1, forwarded",
        h2: false,
        forwards: true,
        hosts: 0,
    },
    Kind { name: "request/http2", what: "the same, in by HTTP/2", h2: true, forwards: true, hosts: 0 },
    Kind {
        name: "request/respond",
        what: "the same over HTTP/1.1, answered by a route",
        h2: false,
        forwards: false,
        hosts: 0,
    },
    Kind {
        name: "request/hosts-10000",
        what: "the same over HTTP/1.1, forwarded by another of 10,000 host routes each time",
        h2: false,
        forwards: true,
        hosts: 10_000,
    },
];

/// Counts each kind that is wanted.
pub(crate) async fn count(gateway: &Path, wanted: &dyn Fn(&str) -> bool, figures: &mut Figures) {
    for kind in KINDS.iter().filter(|k| wanted(k.name)) {
        let (mut few, mut more) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            few.push(kind.run(gateway, FEW).await);
            more.push(kind.run(gateway, FEW + MORE).await);
        }
        let count = growth(&least(&few), &least(&more)) / MORE as u64;
        let unit = "instructions for each request".to_owned();
        figures.insert(kind.name.to_owned(), Figure { what: kind.what.to_owned(), unit, count });
    }
}

/// The least of each thread over some runs: timers that fire while it runs only ever add.
fn least(runs: &[Vec<u64>]) -> Vec<u64> {
    let threads = runs.iter().map(Vec::len).min().unwrap_or(0);
    (0..threads).map(|thread| runs.iter().map(|run| run[thread]).min().unwrap_or(0)).collect()
}

/// By how much the thread that serves has counted more: it is the one that more requests give more to do. The others make
/// the configuration, whose cost is not the same twice, and have no part in a request.
fn growth(few: &[u64], more: &[u64]) -> u64 {
    few.iter().zip(more).map(|(few, more)| more.saturating_sub(*few)).max().expect("threads")
}

impl Kind {
    /// Instructions of each thread in a gateway's whole life with so many requests.
    async fn run(&self, gateway: &Path, requests: usize) -> Vec<u64> {
        let address = ports::free();
        let backend = Backend::start("v1").await;
        let run =
            Run::new(&format!("{}-{requests}", self.name.replace('/', "-")), &["--separate-threads=yes"]);
        let (name, value) = Run::env();
        let gate = Launch::new(&gateway.display().to_string())
            .under(run.command())
            .env(name, value)
            .document(&self.document(address, &backend))
            .spawn();
        // Nothing is asked while it starts: an answer that says "wait" is work too.
        let mut conn = connected(&gate, address, self.h2).await;
        idle::wait(gate.pid()).await;
        for turn in 0..requests {
            let answer = self.one(&mut conn, &gate, &backend, turn).await;
            let answer =
                answer.unwrap_or_else(|f| panic!("{}: {f:?}\n{}", self.name, gate.logs().join("\n")));
            assert_eq!(answer.status, 200, "{}: {}", self.name, answer.text());
            idle::wait(gate.pid()).await;
        }
        drop(conn);
        gate.stop().await;
        run.by_thread()
    }

    /// One request in lockstep.
    async fn one(
        &self,
        conn: &mut Conn,
        gate: &Gate,
        backend: &Backend,
        turn: usize,
    ) -> Result<Answer, Failure> {
        let ask = self.ask(turn);
        if !self.forwards {
            return conn.ask(&ask).await;
        }
        let come = backend.requests();
        let release = async {
            until(|| backend.requests() > come).await;
            idle::wait(gate.pid()).await;
            backend.release();
        };
        tokio::join!(conn.ask(&ask), release).0
    }

    fn ask(&self, turn: usize) -> Ask {
        let ask = Ask::get("/articles/2026/11/a-page-as-others?from=start&page=2").field("x-do", "hold");
        let ask = BROWSER.iter().fold(ask, |ask, (name, value)| ask.field(name, value));
        // All over the table, each time another.
        if self.hosts > 0 { ask.host(&host(turn * 7919 % self.hosts)) } else { ask }
    }

    fn document(&self, address: SocketAddr, backend: &Backend) -> Value {
        let action = |mut route: Map<String, Value>| {
            if self.forwards {
                route.insert("forward".to_owned(), json!("api"));
            } else {
                route.insert("respond".to_owned(), json!({ "body": "Hello\n" }));
            }
            Value::Object(route)
        };
        let route = |i: usize| {
            let hosts = json!({ "hosts": [host(i)] });
            (format!("r{i:05}"), action(Map::from_iter([("match".to_owned(), hosts)])))
        };
        let routes: Map<String, Value> = match self.hosts {
            0 => Map::from_iter([("all".to_owned(), action(Map::new()))]),
            hosts => (0..hosts).map(route).collect(),
        };
        json!({
            "workers": 1,
            "listeners": { "web": { "address": address } },
            "upstreams": { "api": { "endpoints": [backend.url()] } },
            "routes": routes,
        })
    }
}

/// Of the same length for all.
fn host(i: usize) -> String {
    format!("host-{i:05}.example.com")
}

/// A connection, once somebody listens.
async fn connected(gate: &Gate, address: SocketAddr, h2: bool) -> Conn {
    let door = if h2 { Door::clear(address).h2() } else { Door::clear(address) };
    let end = Instant::now() + 4 * PATIENCE;
    loop {
        match door.connect().await {
            Ok(conn) => return conn,
            Err(Failure::Refused(_)) if Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(failure) => panic!("{failure:?}\n{}", gate.logs().join("\n")),
        }
    }
}

/// Waits until something holds. Panics if it never does.
async fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it does not come");
        tokio::task::yield_now().await;
        // Leaves the core to who is waited for.
        std::thread::sleep(Duration::from_micros(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_serves_is_counted_at_its_least() {
        let few = least(&[vec![500, 100, 90], vec![510, 101, 90]]);
        let more = least(&[vec![550, 1101, 95], vec![505, 1100, 95, 7]]);
        assert_eq!(
            (few.as_slice(), more.as_slice()),
            ([500, 100, 90].as_slice(), [505, 1100, 95].as_slice())
        );
        assert_eq!(growth(&few, &more), 1000);
    }

    #[test]
    fn requests_of_a_kind_are_of_one_length() {
        for kind in &KINDS {
            let length = |turn| {
                let ask = kind.ask(turn);
                (ask.host.len(), ask.target.len(), ask.fields.0.len())
            };
            assert!((0..50).all(|turn| length(turn) == length(0)), "{}", kind.name);
        }
    }

    #[tokio::test]
    async fn every_host_that_is_asked_has_a_route() {
        let backend = Backend::start("v1").await;
        let kind = KINDS.iter().find(|k| k.hosts > 0).unwrap();
        let document = kind.document(ports::free(), &backend);
        let routes = document["routes"].as_object().unwrap();
        assert_eq!(routes.len(), kind.hosts);
        let asked = kind.ask(FEW + MORE).host;
        assert!(routes.values().any(|r| r["match"]["hosts"][0] == asked), "{asked}");
    }
}
