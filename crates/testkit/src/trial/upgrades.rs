//! The process that serves is replaced again and again, under every kind of load at once: what begins is answered, what
//! is open lives until it ends by itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    Ask, Authority, Backend, Crowd, Door, Launch, Outcome,
    client::{Conn, Exchange},
    gate::Gate,
    load::{Client, Manner},
    ports,
    process::{self, PATIENCE, Signal},
    rng::{hash, noise},
    trial::Doors,
    ws::Socket,
};

/// Upgrades that a WebSocket and a stream live through before their clients end them.
const LIVES: usize = 3;

/// What an open stream says.
const WORD: &[u8] = b"still there";

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Upgrades of the program to itself.
    pub upgrades: usize,
    /// From one to the next, at least.
    pub every: Duration,
    /// Bytes of each upload.
    pub upload: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Found {
    /// Short requests by HTTP/1.1, HTTP/2 and HTTP/3.
    pub requests: Outcome,
    /// Uploads by the same.
    pub uploads: Outcome,
    /// WebSockets and streams that were opened, lived through upgrades, and ended as their clients wished.
    pub lived: usize,
    /// Processes that took over, as the supervisor counts them.
    pub upgrades: u64,
    /// From each order to the first answer of the next process.
    pub took: Vec<Duration>,
    /// Resident memory of the supervisor in KiB after the first upgrades and in the end.
    pub rss_kib: (u64, u64),
    /// Open descriptors of the supervisor at the same times.
    pub descriptors: (usize, usize),
    /// What should not have been.
    pub wrong: Vec<String>,
}

/// Runs it.
pub async fn run(binary: &str, size: Size) -> Found {
    let bed = Bed::new(binary).await;
    let requests = Crowd::start(bed.clients());
    let uploads = Crowd::start(bed.uploads(size.upload));
    requests.more(50).await;
    let mut found = Found::default();
    let (mut sockets, mut streams) = (Vec::new(), Vec::new());
    for n in 0..size.upgrades {
        let begin = Instant::now();
        if let Err(why) = bed.begin_long_ones(&mut sockets, &mut streams).await {
            found.wrong.push(format!("before upgrade {n}: {why}"));
        }
        match upgrade(&bed.gate).await {
            Ok(took) => found.took.push(took),
            Err(why) => {
                found.wrong.push(format!("upgrade {n}: {why}"));
                break;
            }
        }
        speak(&mut sockets, &mut streams, n, &mut found).await;
        requests.more(20).await;
        if n == LIVES.min(size.upgrades - 1) {
            found.rss_kib.0 = process::rss_kib(bed.gate.pid());
            found.descriptors.0 = bed.gate.descriptors();
        }
        tokio::time::sleep(size.every.saturating_sub(begin.elapsed())).await;
    }
    found.requests = requests.stop().await;
    found.uploads = uploads.stop().await;
    end_all(sockets, streams, &mut found).await;
    found.rss_kib.1 = process::rss_kib(bed.gate.pid());
    found.descriptors.1 = bed.gate.descriptors();
    let supervisor = bed.gate.status().await["supervisor"].clone();
    found.upgrades = supervisor["upgrades"].as_u64().unwrap_or_default();
    if supervisor["crashes"] != 0 {
        found.wrong.push(format!("crashes: {supervisor}"));
    }
    let alone = async || bed.gate.status().await["supervisor"]["draining"] == 0;
    bed.gate.until("those that left have ended", alone).await;
    bed.gate.stop().await;
    found
}

/// A gateway that speaks everything, with a backend by HTTP/1.1 and by HTTP/2.
struct Bed {
    gate: Gate,
    doors: Doors,
    _backend: Backend,
}

impl Bed {
    async fn new(binary: &str) -> Bed {
        let (authority, backend) = (Authority::new(), Backend::start("v1").await);
        let (clear, tls) = (ports::free(), ports::free());
        let document = json!({
            "workers": 2,
            // The longest that a process waits for is a WebSocket of its own; its client ends it three upgrades later.
            "process": { "drain": { "spread": "500ms", "processes": 16 } },
            "listeners": {
                "clear": { "address": clear },
                "tls": { "address": tls, "tls": { "certificates": ["leaf"] }, "protocols": ["h3", "h2", "http/1.1"] },
            },
            "certificates": { "leaf": { "cert": "leaf.pem", "key": "leaf.key" } },
            "upstreams": {
                "one": { "endpoints": [backend.url()] },
                "two": { "endpoints": [backend.url()], "protocol": "h2" },
            },
            "routes": {
                "all": { "forward": "one" },
                "calls": { "match": { "path": "/two" }, "forward": "two" },
            },
        });
        let launch = Launch::new(binary).supervised();
        authority.leaf(&["test.local"]).write(launch.path(), "leaf");
        let gate = launch.document(&document).start().await;
        Bed { gate, doors: Doors::new(clear, tls, &authority), _backend: backend }
    }

    fn clients(&self) -> Vec<Client> {
        let pause = Duration::from_millis(5);
        let mut clients = self.doors.crowd(10, &Ask::get("/"), pause);
        clients.extend(self.doors.crowd(5, &Ask::get("/two"), pause));
        for manner in [Manner::KeepAlive, Manner::KeepAlive, Manner::PerRequest] {
            let client = Client::new(self.doors.tls.clone().h3(), manner, Ask::get("/"));
            clients.push(Client { pause, ..client });
        }
        clients
    }

    fn uploads(&self, size: usize) -> Vec<Client> {
        let body = noise(size);
        let (length, sum) = (json!(size), json!(hash(&body).to_string()));
        let ask = Ask::post("/", body);
        let arrived = move |answer: &crate::Answer| {
            let seen = answer.json();
            let whole = (&seen["body_length"], &seen["body_hash"]) == (&length, &sum);
            if whole { Ok(()) } else { Err(format!("status {}: {}", answer.status, answer.text())) }
        };
        let Doors { clear, tls } = &self.doors;
        [clear.clone(), tls.clone().h2(), tls.clone().h3()]
            .map(|door| {
                let client = Client::new(door, Manner::KeepAlive, ask.clone()).checking(arrived.clone());
                Client { pause: Duration::from_millis(20), ..client }
            })
            .to_vec()
    }

    /// A WebSocket and a stream that live through the next upgrades.
    async fn begin_long_ones(
        &self,
        sockets: &mut Vec<Socket>,
        streams: &mut Vec<(Conn, Exchange)>,
    ) -> Result<(), String> {
        let words = |what: &str, failure| format!("{what}: {failure:?}");
        let door = if sockets.len().is_multiple_of(2) { &self.doors.clear } else { &self.doors.tls };
        sockets
            .push(Socket::open(door, "test.local", "/socket").await.map_err(|f| words("no WebSocket", f))?);
        let conn = self.doors.tls.clone().h2().connect().await.map_err(|f| words("no connection", f))?;
        let ask = Ask::post("/two", "").field("x-do", "return");
        let stream = conn.exchange(&ask).await.map_err(|f| words("no stream", f))?;
        streams.push((conn, stream));
        Ok(())
    }
}

/// All that is open has to answer; the oldest have lived long enough.
async fn speak(sockets: &mut Vec<Socket>, streams: &mut Vec<(Conn, Exchange)>, n: usize, found: &mut Found) {
    for socket in &mut *sockets {
        if let Err(why) = socket.echo("still there").await {
            found.wrong.push(format!("a WebSocket after upgrade {n}: {why}"));
        }
    }
    for (_, stream) in &mut *streams {
        if let Err(why) = stream.echo(WORD).await {
            found.wrong.push(format!("a stream after upgrade {n}: {why:?}"));
        }
    }
    if sockets.len() > LIVES {
        end_all(vec![sockets.remove(0)], vec![streams.remove(0)], found).await;
    }
}

async fn end_all(sockets: Vec<Socket>, streams: Vec<(Conn, Exchange)>, found: &mut Found) {
    for socket in sockets {
        match socket.close().await {
            Ok(()) => found.lived += 1,
            Err(why) => found.wrong.push(format!("the end of a WebSocket: {why}")),
        }
    }
    for (_conn, stream) in streams {
        match stream.finish().await {
            Ok(()) => found.lived += 1,
            Err(why) => found.wrong.push(format!("the end of a stream: {why:?}")),
        }
    }
}

/// Replaces the process that serves, and waits until the next one is all that answers.
pub(super) async fn upgrade(gate: &Gate) -> Result<Duration, String> {
    let old = gate.serving().await.ok_or("nobody served")?;
    let done = upgrades(gate).await + 1;
    gate.signal(Signal::Upgrade);
    let (begin, mut took) = (Instant::now(), None);
    loop {
        if took.is_none() && gate.serving().await.is_some_and(|pid| pid != old) {
            took = Some(begin.elapsed());
        }
        if let Some(took) = took
            && upgrades(gate).await == done
        {
            return Ok(took);
        }
        if begin.elapsed() > PATIENCE {
            return Err(format!("not done: {}", status(gate).await.unwrap_or_default()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn upgrades(gate: &Gate) -> u64 {
    status(gate).await.and_then(|s| s["upgrades"].as_u64()).unwrap_or_default()
}

async fn status(gate: &Gate) -> Option<Value> {
    let ask = Ask::get("/api/v1/status").host("localhost");
    let answer = Door::clear(gate.admin).ask(&ask).await.ok()?;
    Some(answer.json()["supervisor"].clone())
}
