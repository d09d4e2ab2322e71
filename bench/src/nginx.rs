//! CPU time for each request of HTTP/1.1 keep-alive proxying, against Debian's nginx with the same job.
//!
//! Each proxy is pinned to core 0, `wrk` and the backend to core 1. The two are measured in turn, so that
//! whatever else the machine does falls on both.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use evergate_testkit::{
    Ask, Door,
    paced::{Spread, spread},
    ports, process,
};
use serde_json::{Value, json};

use crate::{here, row, table};

const ROUNDS: usize = 5;
const SECONDS: u64 = 5;
const CONNECTIONS: usize = 64;
/// Ticks of `/proc/<pid>/stat` in a second; Linux fixes it for user space.
const TICKS: f64 = 100.0;

/// A child that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // nginx's parent stops its workers on a signal only, so that a plain kill would leave them.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.0.wait();
    }
}

struct Proxy {
    name: &'static str,
    address: SocketAddr,
    process: Running,
    micros: Vec<f64>,
    rates: Vec<f64>,
    cpu: Vec<f64>,
}

pub(crate) async fn run(binary: &Path) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = ports::free();
    let _backend = start(1, &nginx(folder.path(), "backend.conf", &[("LISTEN", backend)]), backend).await;
    let mut proxies = vec![evergate(binary, folder.path(), backend).await];
    let address = ports::free();
    let command = nginx(folder.path(), "nginx.conf", &[("LISTEN", address), ("BACKEND", backend)]);
    proxies.push(Proxy::new("nginx", address, start(0, &command, address).await));
    for proxy in &mut proxies {
        proxy.measure(2, false);
    }
    for _ in 0..ROUNDS {
        for proxy in &mut proxies {
            proxy.measure(SECONDS, true);
        }
    }
    report(&proxies)
}

async fn evergate(binary: &Path, folder: &Path, backend: SocketAddr) -> Proxy {
    let address = ports::free();
    let values = [("LISTEN", address), ("BACKEND", backend), ("ADMIN", ports::free())];
    let file = fill(folder, "evergate.yaml", &values);
    let data = folder.join("data").display().to_string();
    let command = [binary.display().to_string(), "run".into(), file, "--data-dir".into(), data];
    Proxy::new("evergate", address, start(0, &command, address).await)
}

fn nginx(folder: &Path, conf: &str, values: &[(&str, SocketAddr)]) -> Vec<String> {
    let file = fill(folder, conf, values);
    let prefix = folder.display().to_string();
    ["nginx", "-p", &prefix, "-e", "stderr", "-c", &file].map(str::to_owned).to_vec()
}

/// A configuration of this folder with its values in place.
fn fill(folder: &Path, name: &str, values: &[(&str, SocketAddr)]) -> String {
    let mut text = std::fs::read_to_string(here().join(name)).expect("a configuration");
    text = text.replace("@DIR@", &folder.display().to_string());
    for (word, address) in values {
        text = text.replace(&format!("@{word}@"), &address.to_string());
    }
    let file = folder.join(name);
    std::fs::write(&file, text).expect("a configuration");
    file.display().to_string()
}

/// Starts a server on one core and waits until it answers.
async fn start(core: usize, command: &[String], address: SocketAddr) -> Running {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &core.to_string()]).args(command).stdin(Stdio::null()).stdout(Stdio::null());
    let running = Running(pinned.spawn().expect("taskset"));
    let until = Instant::now() + Duration::from_secs(10);
    while !Door::clear(address).ask(&Ask::get("/")).await.is_ok_and(|a| a.status == 200) {
        assert!(Instant::now() < until, "{command:?} does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running
}

impl Proxy {
    fn new(name: &'static str, address: SocketAddr, process: Running) -> Proxy {
        Proxy { name, address, process, micros: vec![], rates: vec![], cpu: vec![] }
    }

    fn measure(&mut self, seconds: u64, counts: bool) {
        let before = process::cpu_ticks(self.process.0.id());
        let output = Command::new("taskset")
            .args(["-c", "1", "wrk", "-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
            .arg(format!("http://{}/", self.address))
            .output()
            .expect("wrk");
        let used = (process::cpu_ticks(self.process.0.id()) - before) as f64 / TICKS;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{}: {text}", self.name);
        let line = text.lines().find(|l| l.contains(" requests in ")).unwrap_or_else(|| panic!("{text}"));
        let requests: f64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
        if counts {
            self.micros.push(used * 1e6 / requests);
            self.rates.push(requests / seconds as f64);
            self.cpu.push(used / seconds as f64 * 100.0);
        }
    }

    fn cost(&self) -> Spread {
        spread(self.micros.clone())
    }
}

fn report(proxies: &[Proxy]) -> Value {
    let mut rows = vec![row!["proxy", "µs CPU/request", "least", "most", "requests/s", "core busy"]];
    for proxy in proxies {
        let cost = proxy.cost();
        rows.push(row![
            proxy.name,
            format!("{:.2}", cost.median),
            format!("{:.2}", cost.min),
            format!("{:.2}", cost.max),
            format!("{:.0}", spread(proxy.rates.clone()).median),
            format!("{:.0} %", spread(proxy.cpu.clone()).median),
        ]);
    }
    let title = format!(
        "HTTP/1.1 keep-alive proxying, {CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS} s in turn"
    );
    table::print(&title, &rows);
    let [ours, theirs] = proxies else { panic!("two proxies") };
    let ratio = ours.cost().median / theirs.cost().median;
    println!("  evergate / nginx: {ratio:.3}");
    let of =
        |p: &Proxy| json!({ "name": p.name, "micros": p.micros, "rates": p.rates, "cpu_percent": p.cpu });
    json!({
        "proxies": proxies.iter().map(of).collect::<Vec<_>>(),
        "ratio": ratio,
        "rounds": ROUNDS, "seconds": SECONDS, "connections": CONNECTIONS,
    })
}
