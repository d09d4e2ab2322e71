//! Looked after by others: a service manager, a container, and whoever wants to know what was said to them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use evergate_testkit::{
    Ask, Backend, Door, Launch, Stand, ports,
    process::{self, PATIENCE, Signal},
};
use serde_json::{Value, json};
use tokio::{net::UnixDatagram, time::timeout};

use crate::{BIN, succeeded};

/// A service manager's ear (`sd_notify(3)`).
struct Ear {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Ear {
    #[expect(clippy::expect_used, reason = "a helper of tests, outside of test functions")]
    fn open(folder: &Path) -> Ear {
        let path = folder.join("notify");
        Ear { socket: UnixDatagram::bind(&path).expect("a socket"), path }
    }

    /// Waits for a message that says this; other ones are passed over.
    #[expect(clippy::expect_used, reason = "a helper of tests, outside of test functions")]
    async fn hear(&self, word: &str) -> String {
        let heard = async {
            loop {
                let mut text = vec![0; 4096];
                let length = self.socket.recv(&mut text).await.expect("a message");
                let text = String::from_utf8_lossy(&text[..length]).into_owned();
                if text.lines().any(|line| line == word) {
                    return text;
                }
            }
        };
        timeout(PATIENCE, heard).await.expect(word)
    }

    /// What has been said and not heard.
    fn pass_over(&self) {
        while self.socket.try_recv(&mut [0; 4096]).is_ok() {}
    }
}

#[tokio::test]
async fn a_service_manager_is_told_what_it_needs_to_know() {
    for supervised in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let ear = Ear::open(folder.path());
        let mut launch = Launch::new(BIN).env("NOTIFY_SOCKET", &ear.path.display().to_string());
        if supervised {
            launch = launch.supervised();
        }
        let mut stand = Stand::launched(launch, |_, _| json!({ "process": { "watchdog": "1s" } })).await;
        let ready = ear.hear("READY=1").await;
        assert!(ready.lines().any(|line| line == format!("MAINPID={}", stand.gate.pid())), "{ready}");
        ear.hear("WATCHDOG=1").await;

        ear.pass_over();
        stand.apply(json!({ "routes": { "all": { "timeout": "17s" } } })).await;
        let reloading = ear.hear("RELOADING=1").await;
        assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
        ear.hear("READY=1").await;
        // A reload that changes nothing has an end too: who asked for it waits for that.
        ear.pass_over();
        stand.gate.signal(Signal::Hangup);
        ear.hear("RELOADING=1").await;
        ear.hear("READY=1").await;

        if supervised {
            ear.pass_over();
            let old = stand.gate.serving().await.unwrap();
            stand.gate.signal(Signal::Upgrade);
            let ready = ear.hear("READY=1").await;
            assert!(ready.lines().any(|line| line == format!("MAINPID={}", stand.gate.pid())), "{ready}");
            succeeded(&stand, old).await;
        }
        stand.gate.stop().await;
        ear.hear("STOPPING=1").await;
    }
}

/// A document whose listeners are at these addresses.
fn document(backend: &Backend, addresses: &[String]) -> Value {
    let listener = |(n, address): (usize, &String)| (format!("l{n}"), json!({ "address": address }));
    json!({
        "workers": 2,
        "listeners": addresses.iter().enumerate().map(listener).collect::<serde_json::Map<_, _>>(),
        "upstreams": { "v1": { "endpoints": [backend.url()] } },
        "routes": { "all": { "forward": "v1" } },
    })
}

#[tokio::test]
async fn sockets_that_a_service_manager_opened_are_taken() {
    let (backend, tcp) = (Backend::start("v1").await, ports::free());
    let launch = Launch::new(BIN).supervised();
    let unix = launch.path().join("web.sock");
    let addresses = [tcp.to_string(), format!("unix:{}", unix.display())];
    // It opens them, and starts the program when the first client comes, who waits in the queue.
    let words =
        ["systemd-socket-activate", "--listen", &tcp.to_string(), "--listen", &unix.display().to_string()]
            .map(OsString::from);
    let launch = launch.under(words.to_vec()).document(&document(&backend, &addresses));
    let early = async {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            match Door::clear(tcp).ask(&Ask::get("/")).await {
                Ok(answer) => return answer.status,
                Err(error) if std::time::Instant::now() > until => panic!("{error:?}"),
                // It does not listen yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let (gate, early) = tokio::join!(launch.start(), early);
    assert_eq!(early, 200, "it waited");
    assert_eq!(Door::unix(&unix).ask(&Ask::get("/")).await.unwrap().status, 200);
    // They are the same after a crash and an upgrade: who opened them still has them, and nobody else can.
    let dead = gate.signal_serving(Signal::Kill).await;
    let other = async || gate.serving().await.is_some_and(|pid| pid != dead);
    gate.until("another process serves", other).await;
    for door in [Door::clear(tcp), Door::unix(&unix)] {
        assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
    }
    let log = gate.logs().join("\n");
    assert!(!log.contains("ERROR"), "{log}");
}

/// Runs this as the first process of a container does.
fn first_process() -> Vec<OsString> {
    let mut words = vec!["unshare"];
    if !rustix::process::getuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    words.into_iter().map(OsString::from).collect()
}

#[tokio::test]
async fn the_first_process_of_a_container_looks_after_orphans_and_passes_signals_on() {
    for supervised in [true, false] {
        let mut launch = Launch::new(BIN).under(first_process());
        if supervised {
            launch = launch.supervised();
        }
        let mut stand = Stand::launched(launch, |_, _| json!({})).await;
        let first = process::family(stand.gate.pid())[1];
        let door = stand.door();
        assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
        // A process whose parent ends belongs to the first one, and stays a zombie until that one asks.
        let orphan = "(exec sleep 0.05 &) ; sleep 0.01";
        let enter = ["--target", &first.to_string(), "--pid", "--mount", "sh", "-c", orphan];
        let status = Command::new("nsenter").args(enter).status().unwrap();
        assert!(status.success(), "{status}");
        let family = || process::family(first).len();
        let most = if supervised { 2 } else { 1 };
        stand.gate.until("no orphan is left", async || family() <= most).await;

        process::signal(first, Signal::Terminate);
        assert_eq!(stand.gate.ended().await, Some(0));
        assert!(door.connect().await.is_err());
    }
}

#[test]
fn the_unit_files_are_good() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let folder = tempfile::tempdir().unwrap();
    let names = ["evergate.service", "evergate.socket"];
    for name in names {
        let text = std::fs::read_to_string(packaging.join(name)).unwrap();
        // The program has to be there.
        std::fs::write(folder.path().join(name), text.replace("/usr/local/bin/evergate", BIN)).unwrap();
    }
    let analyze = |args: &[&str]| {
        let said = Command::new("systemd-analyze").args(args).current_dir(folder.path()).output().unwrap();
        (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned())
    };
    let (good, said) = analyze(&["verify", "./evergate.service", "./evergate.socket"]);
    // Systemd 252 reports what came with 253.
    let other = said.lines().find(|line| !line.is_empty() && !line.contains("notify-reload"));
    assert!(good && other.is_none(), "{said}");
    // Of 100 for a service that may do everything.
    let (good, said) = analyze(&["security", "--offline=yes", "--threshold=20", "./evergate.service"]);
    assert!(good, "{said}");
}
