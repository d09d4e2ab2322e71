//! As much as a proxy can on its core, and what each request costs it there.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    rc::Rc,
    time::{Duration, Instant},
};

use evergate_testkit::{handshakes, unary};

use super::{Suite, scenario};
use crate::{
    bed::{BODIES, Instance, NAME, Used, limited},
    load::{self, Ran},
    peers::Job,
    results::{Figure, Row, Scenario},
};

/// A load, and what is counted.
pub(crate) struct Throughput {
    pub id: &'static str,
    title: &'static str,
    about: &'static str,
    job: Job,
    load: Load,
    counts: Counts,
}

#[derive(Clone, Copy)]
enum Load {
    /// HTTP/1.1 by `wrk`.
    Wrk { tls: bool, path: &'static str, connections: usize, close: bool, idle: usize },
    /// HTTP/2 over TLS by `h2load`; a gRPC call or a plain request.
    H2 { grpc: bool },
    /// A connection with a TLS handshake for each request.
    Handshakes { resumed: bool },
}

/// What the figures are about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Requests,
    Bytes,
    Connections,
}

const SMALL: Load = Load::Wrk { tls: false, path: "/", connections: 64, close: false, idle: 0 };

const fn body(path: &'static str, connections: usize) -> Load {
    Load::Wrk { tls: false, path, connections, close: false, idle: 0 }
}

macro_rules! all {
    ($($id:literal $title:literal $job:ident $load:expr, $counts:ident, $about:literal;)*) => {
        &[$(Throughput {
            id: $id, title: $title, about: $about, job: Job::$job, load: $load, counts: Counts::$counts,
        }),*]
    };
}

/// The list.
pub(crate) const ALL: &[Throughput] = all! {
    "http1" "HTTP/1.1, kept alive, small body" Plain SMALL, Requests,
        "64 connections that are kept, 78 bytes of body, an HTTP/1.1 backend.";
    "http1-100k" "HTTP/1.1, 100 KB bodies" Plain body("/100k", 64), Bytes,
        "64 connections that are kept. Bytes are those that reach the client.";
    "http1-10m" "HTTP/1.1, 10 MB bodies" Plain body("/10m", 16), Bytes,
        "16 connections that are kept. Bytes are those that reach the client.";
    "connect" "HTTP/1.1, a connection for each request" Plain
        Load::Wrk { tls: false, path: "/", connections: 64, close: true, idle: 0 }, Connections,
        "64 at once; those to the backend are kept.";
    "idle" "HTTP/1.1, 1,000 idle connections beside 64 busy ones" Plain
        Load::Wrk { tls: false, path: "/", connections: 64, close: false, idle: 1000 }, Requests,
        "The idle ones have had an answer each and wait.";
    "https" "HTTPS, kept alive, small body" Plain
        Load::Wrk { tls: true, path: "/", connections: 64, close: false, idle: 0 }, Requests,
        "HTTP/1.1 over TLS 1.3, 64 connections that are kept.";
    "tls-new" "TLS 1.3, new sessions" Plain Load::Handshakes { resumed: false }, Connections,
        "A connection with a full handshake (ECDSA P-256) for each request, 32 at once.";
    "tls-resumed" "TLS 1.3, resumed sessions" Plain Load::Handshakes { resumed: true }, Connections,
        "A connection with a session of an earlier one for each request, 32 at once.";
    "h2" "HTTP/2 in, HTTP/1.1 out" Plain Load::H2 { grpc: false }, Requests,
        "Over TLS, 16 connections with 16 requests at once on each; an HTTP/1.1 backend.";
    "h2-both" "HTTP/2 in and out" H2 Load::H2 { grpc: false }, Requests,
        "Over TLS, 16 connections with 16 requests at once on each; an HTTP/2 backend in clear text. nginx speaks HTTP/2 \
         to a backend by `grpc_pass` only.";
    "grpc" "gRPC, unary calls" H2 Load::H2 { grpc: true }, Requests,
        "Over TLS, 16 connections with 16 calls at once on each; a message of 8 bytes each way, trailers behind it.";
    "files-1k" "Static file, 1 KB" Files body("/1k", 64), Requests, "64 connections that are kept.";
    "files-1m" "Static file, 1 MB" Files body("/1m", 16), Bytes, "16 connections that are kept.";
};

/// No further round begins after so many seconds.
const SECONDS: u64 = 100;

/// One round.
struct Taken {
    ran: Ran,
    used: Used,
    resumed: Option<f64>,
}

pub(crate) async fn run(suite: &Suite, what: &Throughput) -> Scenario {
    let start = Instant::now();
    let cost = if what.counts == Counts::Connections { "µs CPU/connection" } else { "µs CPU/request" };
    let mut columns = vec![("cpu_us", cost, 2), ("per_s", "per second", 0)];
    if what.counts == Counts::Bytes {
        columns.insert(0, ("mb_per_cpu_s", "MB per CPU second", 0));
    }
    columns.push(("busy", "core busy, %", 0));
    let mut found = scenario(what.id, what.title, what.about, &columns);
    let (there, mut rows) = suite.there("");
    let mut ready: Vec<(Rc<Instance>, Vec<Taken>)> = Vec::new();
    for peer in there {
        let instance = suite.bed.get(peer, what.job).await;
        let probed = match instance {
            Ok(instance) => probe(suite, what, &instance).await.map(|()| instance),
            Err(why) => Err(why),
        };
        match probed.and_then(|i| warm(what, &i).map(|()| i)) {
            Ok(instance) => ready.push((instance, Vec::new())),
            Err(why) => rows.push(Row::absent(peer.peer.name(), "", why)),
        }
    }
    let rounds = suite.size.rounds[usize::from(what.id != "http1")];
    for round in 0..rounds {
        if round > 0 && Suite::in_time(start, SECONDS).is_err() {
            break;
        }
        ready.retain_mut(|(instance, rounds)| match measure(what, instance, suite.size.seconds) {
            Ok(taken) => {
                rounds.push(taken);
                true
            }
            Err(why) => {
                rows.push(Row::absent(instance.peer.name(), "", why));
                false
            }
        });
    }
    for (instance, rounds) in ready {
        // A proxy that broke under load must not pass for a fast one.
        rows.push(match probe(suite, what, &instance).await {
            Ok(()) => row(what, &instance, &rounds),
            Err(why) => Row::absent(instance.peer.name(), "", format!("afterwards: {why}")),
        });
    }
    found.rows = suite.sorted(rows);
    found
}

async fn probe(suite: &Suite, what: &Throughput, instance: &Instance) -> Result<(), String> {
    suite.bed.probe(instance).await?;
    match what.load {
        Load::Wrk { path, .. } => suite.bed.probe_body(instance, path).await,
        _ => Ok(()),
    }
}

/// The first load of a proxy does not count.
fn warm(what: &Throughput, instance: &Instance) -> Result<(), String> {
    if !instance.warm.replace(true) {
        measure(what, instance, 1)?;
    }
    Ok(())
}

fn row(what: &Throughput, instance: &Instance, rounds: &[Taken]) -> Row {
    let figure = |of: &dyn Fn(&Taken) -> f64| Figure::of(&rounds.iter().map(of).collect::<Vec<_>>());
    let mut row = Row::new(instance.peer.name(), "")
        .with("cpu_us", figure(&|t| t.used.cpu * 1e6 / t.ran.requests))
        .with("per_s", figure(&|t| t.ran.requests / t.ran.seconds))
        .with("busy", figure(&|t| t.used.busy * 100.0));
    if what.counts == Counts::Bytes {
        row = row.with("mb_per_cpu_s", figure(&|t| t.ran.bytes / t.used.cpu / 1e6));
    }
    row.remarks.extend(limited(&rounds.iter().map(|t| t.used).collect::<Vec<_>>()));
    let shares: Vec<f64> = rounds.iter().filter_map(|t| t.resumed).collect();
    let resumed = Figure::of(&shares).median;
    let wants = matches!(what.load, Load::Handshakes { resumed: true });
    if !shares.is_empty() && (wants && resumed < 0.95 || !wants && resumed > 0.0) {
        row.remarks.push(format!("{:.0} % of the sessions were resumed", resumed * 100.0));
    }
    row
}

fn measure(what: &Throughput, instance: &Instance, seconds: u64) -> Result<Taken, String> {
    let idle = match what.load {
        Load::Wrk { idle, .. } => {
            connections(instance.site.listen, idle).map_err(|e| format!("idle: {e}"))?
        }
        _ => Vec::new(),
    };
    let before = instance.clock();
    let (ran, resumed) = match what.load {
        Load::Wrk { tls, path, connections, close, .. } => {
            let ran = load::wrk(&wrk_args(instance, tls, path, connections, close, seconds))?;
            (ran, None)
        }
        Load::H2 { grpc } => (load::h2load(&h2_args(instance, grpc, seconds))?, None),
        Load::Handshakes { resumed } => handshakes(instance, resumed, seconds)?,
    };
    let used = before.used(instance);
    drop(idle);
    ran.sound()?;
    if let Load::Wrk { path, .. } = what.load
        && let Some((_, size)) = BODIES.iter().find(|(name, _)| path.strip_prefix('/') == Some(name))
        // wrk rounds what it has read to two digits behind the point.
        && ran.bytes < ran.requests * *size as f64 * 0.99
    {
        return Err(format!("bodies are too short: {} bytes in {} answers", ran.bytes, ran.requests));
    }
    Ok(Taken { ran, used, resumed })
}

fn wrk_args(
    instance: &Instance,
    tls: bool,
    path: &str,
    connections: usize,
    close: bool,
    seconds: u64,
) -> Vec<String> {
    let (scheme, address) = if tls { ("https", instance.site.tls) } else { ("http", instance.site.listen) };
    let mut args = vec!["-t1".to_owned(), format!("-c{connections}"), format!("-d{seconds}s")];
    if close {
        args.extend(["-H".to_owned(), "Connection: close".to_owned()]);
    }
    args.push(format!("{scheme}://{NAME}:{}{path}", address.port()));
    args
}

fn h2_args(instance: &Instance, grpc: bool, seconds: u64) -> Vec<String> {
    let mut args = vec!["-t1".to_owned(), "-c16".to_owned(), "-m16".to_owned(), format!("-D{seconds}")];
    args.push(format!("--connect-to={}", instance.site.tls));
    let path = if grpc {
        let file = instance.site.folder.join("message");
        std::fs::write(&file, unary::MESSAGE).expect("a message");
        args.extend([format!("--data={}", file.display()), "-Hcontent-type: application/grpc".to_owned()]);
        args.push("-Hte: trailers".to_owned());
        unary::CALL
    } else {
        "/"
    };
    args.push(format!("https://{NAME}{path}"));
    args
}

fn handshakes(instance: &Instance, resumed: bool, seconds: u64) -> Result<(Ran, Option<f64>), String> {
    let plan = handshakes::Plan {
        address: instance.site.tls,
        name: NAME.to_owned(),
        lines: 32,
        takes: Duration::from_secs(seconds),
        resumes: resumed,
    };
    // A runtime of its own cannot stand inside another one.
    let outcome = std::thread::spawn(move || handshakes::run(&plan)).join();
    let outcome = outcome.map_err(|_| "handshakes: panic")?.map_err(|e| e.to_string())?;
    if let Some(why) = outcome.failed.first() {
        return Err(format!("{} connections failed: {why}", outcome.failed.len()));
    }
    let requests = outcome.answered as f64;
    let ran = Ran { requests, seconds: outcome.took.as_secs_f64(), bytes: 0.0, failed: 0 };
    Ok((ran, Some(outcome.resumed as f64 / requests)))
}

/// Connections that have had an answer each.
fn connections(address: SocketAddr, count: usize) -> std::io::Result<Vec<TcpStream>> {
    let open = |_| {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").as_bytes())?;
        let mut answer = [0; 1024];
        if stream.read(&mut answer)? == 0 || !answer.starts_with(b"HTTP/1.1 200") {
            return Err(std::io::Error::other("no answer"));
        }
        Ok(stream)
    };
    (0..count).map(open).collect()
}
