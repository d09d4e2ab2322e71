//! The sockets of listeners: Unix sockets, IPv6 alone, the queue, keep-alive, one socket for each worker.

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::{fs::PermissionsExt, net::UnixListener},
};

use evergate_testkit::{Ask, Door, Failure, Gate, Stand, net, ports, process, process::Signal};
use serde_json::{Value, json};

use crate::BIN;

fn socket(options: &Value) -> Value {
    json!({ "listeners": { "clear": { "socket": options } } })
}

/// A listener `local` by a Unix socket in the folder of the document.
fn local(stand: &Stand) -> (Value, Door) {
    let path = stand.path().join("run/web.sock");
    let listener = json!({ "address": format!("unix:{}", path.display()) });
    (
        json!({ "listeners": { "local": listener }, "routes": { "all": { "listeners": null } } }),
        Door::unix(path),
    )
}

fn file(door: &Door) -> &std::path::Path {
    door.unix.as_deref().unwrap_or(std::path::Path::new(""))
}

#[tokio::test]
async fn a_unix_socket_comes_and_goes_with_its_file() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let (on, door) = local(&stand);
    for _ in 0..3 {
        stand.apply(on.clone()).await;
        for door in [door.clone(), door.clone().h2()] {
            let answer = door.ask(&Ask::get("/").field("x-a", "1")).await.unwrap();
            assert_eq!(answer.status, 200);
            assert!(
                answer.json()["fields"]["x-forwarded-for"].is_null(),
                "it has no address: {}",
                answer.text()
            );
        }
        let mut kept = door.connect().await.unwrap();
        assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
        stand.apply(json!({ "listeners": { "local": null } })).await;
        kept.closed().await.unwrap();
        stand.gate.until("the file is gone", async || !file(&door).exists()).await;
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let mut stand = Stand::new(BIN).await;
    let (on, door) = local(&stand);
    let path = file(&door).to_owned();
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let stranger = UnixListener::bind(&path).unwrap();
    let verdict = stand.refused(on.clone()).await;
    let message = verdict["report"][0]["message"].as_str().unwrap();
    assert!(message.contains("another process answers"), "{verdict:#}");
    assert_eq!(verdict["report"][0]["path"], "listeners.local.address", "{verdict:#}");
    drop(stranger);
    assert!(path.exists(), "as a crash leaves it");
    stand.apply(on).await;
    assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_mode_of_a_unix_socket_changes() {
    let mut stand = Stand::new(BIN).await;
    let (on, door) = local(&stand);
    stand.apply(on).await;
    let mode = || std::fs::metadata(file(&door)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o660);
    let mut kept = door.connect().await.unwrap();
    for (text, bits) in [("0600", 0o600), ("0666", 0o666)] {
        stand.apply(json!({ "listeners": { "local": { "socket": { "mode": text } } } })).await;
        assert_eq!(mode(), bits);
        assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
        assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    }
}

/// How many connections the kernel keeps for a process that accepts none.
async fn queued(gate: &Gate, door: &Door) -> usize {
    gate.signal(Signal::Pause);
    gate.until("it stands still", async || process::is_stopped(gate.pid())).await;
    let mut open = Vec::new();
    while let Ok(stream) = tokio::net::UnixStream::connect(file(door)).await {
        open.push(stream);
    }
    gate.signal(Signal::Resume);
    open.len()
}

#[tokio::test]
async fn the_length_of_the_queue_changes() {
    let mut stand = Stand::new(BIN).await;
    let (on, door) = local(&stand);
    stand.apply(on).await;
    let mut kept = door.connect().await.unwrap();
    for backlog in [3, 30, 7] {
        stand.apply(json!({ "listeners": { "local": { "socket": { "backlog": backlog } } } })).await;
        assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
        assert_eq!(queued(&stand.gate, &door).await, backlog + 1, "Linux takes one more");
    }
}

#[tokio::test]
async fn keep_alive_changes_for_new_connections() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut kept = Vec::new();
    let mut expected = Vec::new();
    for (value, seconds) in [(json!(null), Some(60)), (json!("1h"), Some(3600)), (json!("off"), None)] {
        stand.apply(socket(&json!({ "keep_alive": value }))).await;
        kept.push(stand.door().connect().await.unwrap());
        expected.push(seconds);
        for conn in &mut kept {
            assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
        }
        let mut found = net::keep_alives(stand.clear.port());
        found.retain(|f| f.is_some() || expected.contains(&None));
        let near = |found: u64, wanted: u64| found <= wanted && found + 30 > wanted;
        for wanted in &expected {
            let fits = |f: &Option<u64>| match (f, wanted) {
                (Some(f), Some(wanted)) => near(*f, *wanted),
                (f, wanted) => f == wanted,
            };
            assert!(found.iter().any(fits), "{wanted:?} in {found:?}");
        }
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_socket_for_each_worker_comes_live_and_nothing_is_lost() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let sockets = |stand: &Stand| net::listening(stand.clear.port());
    assert_eq!(sockets(&stand), 1);
    // A socket that was opened stays: who waits in its queue would be lost.
    let steps = [(true, 2, 2), (true, 4, 4), (false, 4, 4), (false, 1, 4), (true, 1, 4), (true, 3, 4)];
    for (reuse_port, workers, expected) in steps {
        let both = json!({ "socket": { "reuse_port": reuse_port } });
        stand.apply(json!({ "workers": workers, "listeners": { "clear": both, "tls": both } })).await;
        assert_eq!(sockets(&stand), expected, "{reuse_port} {workers}");
        crowd.more(100).await;
        for _ in 0..20 {
            assert_eq!(stand.door().ask(&Ask::get("/")).await.unwrap().status, 200);
        }
    }
    let taken = stand.refused(json!({ "listeners": { "clear": { "address": stand.v1.address } } })).await;
    assert_eq!(taken["report"][0]["code"], "bind", "{taken:#}");
    crowd.stop().await.assert_unnoticed();
    stand
        .apply(json!({ "listeners": { "clear": null }, "routes": { "all": { "listeners": ["tls"] } } }))
        .await;
    stand.gate.until("all are closed", async || sockets(&stand) == 0).await;
}

#[tokio::test]
async fn ipv6_alone_leaves_ipv4_to_another() {
    let port = ports::free().port();
    let with = |v6_only: bool| {
        let address = format!("[::]:{port}");
        json!({ "listeners": { "six": { "address": address, "socket": { "v6_only": v6_only } } } })
    };
    let mut stand = Stand::with(BIN, json!({ "routes": { "all": { "listeners": null } } })).await;
    let crowd = stand.bystanders().await;
    let ask = async |ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        Door::clear(SocketAddr::new(ip, port)).ask(&Ask::get("/")).await.map(|a| a.status)
    };
    let refused = |r: Result<u16, Failure>| matches!(r, Err(Failure::Refused(_)));
    for _ in 0..2 {
        stand.apply(with(false)).await;
        assert_eq!((ask("127.0.0.1").await, ask("::1").await), (Ok(200), Ok(200)));
        stand.apply(with(true)).await;
        assert_eq!(ask("::1").await, Ok(200));
        stand.gate.until("IPv4 is left", async || refused(ask("127.0.0.1").await)).await;
    }
    let four = json!({ "listeners": { "four": { "address": format!("0.0.0.0:{port}") } } });
    stand.apply(four).await;
    assert_eq!((ask("127.0.0.1").await, ask("::1").await), (Ok(200), Ok(200)));
    let clash = stand.refused(with(false)).await;
    assert_eq!(clash["report"][0]["code"], "address_clash", "{clash:#}");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn what_has_no_effect_on_a_socket_is_refused() {
    let mut stand = Stand::new(BIN).await;
    for (listener, field) in [
        (json!({ "address": "unix:/nowhere/a", "socket": { "reuse_port": true } }), "reuse_port"),
        (json!({ "address": "unix:/nowhere/a", "socket": { "keep_alive": "5s" } }), "keep_alive"),
        (json!({ "address": "unix:/nowhere/a", "socket": { "v6_only": true } }), "v6_only"),
        (json!({ "address": "127.0.0.1:1", "socket": { "mode": "0600" } }), "mode"),
        (json!({ "address": "127.0.0.1:1", "socket": { "v6_only": true } }), "v6_only"),
    ] {
        let verdict = stand.refused(json!({ "listeners": { "bad": listener } })).await;
        let problem = &verdict["report"][0];
        assert_eq!(problem["code"], "no_effect", "{verdict:#}");
        assert_eq!(problem["path"], format!("listeners.bad.socket.{field}"), "{verdict:#}");
    }
}
