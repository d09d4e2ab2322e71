//! Settings of the process: workers, the admin address and its socket, the log, the engine.

use evergate_testkit::{Ask, Door, Stand, ports, process, ws::Socket};
use serde_json::json;

use crate::BIN;

#[tokio::test]
async fn workers_come_and_go() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let mut sockets = Vec::new();
    for workers in [4, 1, 3, 1, 8, 2] {
        stand.apply(json!({ "workers": workers })).await;
        crowd.more(50).await;
        stand.gate.until("so many workers", async || stand.gate.status().await["workers"] == workers).await;
        for _ in 0..4 {
            sockets.push(Socket::open(&stand.door(), "test.local", "/socket").await.unwrap());
        }
        for socket in &mut sockets {
            socket.echo("still there").await.unwrap();
        }
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn workers_are_let_in_sooner_than_who_builds() {
    let mut stand = Stand::new(BIN).await;
    for workers in [1, 3, 2, 4] {
        stand.apply(json!({ "workers": workers })).await;
        let threads = process::threads(stand.gate.pid());
        let own = threads.iter().find(|thread| thread.name == "evergate").unwrap();
        let serving: Vec<_> = threads.iter().filter(|thread| thread.name.starts_with("worker-")).collect();
        assert!(serving.len() >= workers, "{threads:#?}");
        for worker in serving {
            assert!(!worker.batch && worker.nice == own.nice, "{worker:?}");
            assert!(worker.slice_ns.is_none_or(|slice| slice == 100_000), "{worker:?}");
        }
        for name in ["change", "reaper"] {
            let builder = threads.iter().find(|thread| thread.name == name).unwrap();
            assert!(builder.batch && builder.nice >= 10 && builder.slice_ns == own.slice_ns, "{builder:?}");
        }
    }
}

#[tokio::test]
async fn the_admin_address_moves() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    for _ in 0..3 {
        let (old, new) = (stand.gate.admin, ports::free());
        let mut document = stand.document.clone();
        document["admin"]["address"] = json!(new.to_string());
        stand.gate.write(&document);
        stand
            .gate
            .until("it answers there", async || Door::clear(new).ask(&Ask::get("/readyz")).await.is_ok())
            .await;
        stand
            .gate
            .until("and there no more", async || Door::clear(old).ask(&Ask::get("/readyz")).await.is_err())
            .await;
        stand.gate.admin_moved(new).await;
        assert_eq!(stand.gate.status().await["phase"], "serving");
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn an_admin_address_in_use_is_refused() {
    let mut stand = Stand::new(BIN).await;
    let verdict = stand.refused(json!({ "admin": { "address": stand.v1.address.to_string() } })).await;
    assert_eq!(verdict["report"][0]["path"], "admin.address", "{verdict:#}");
}

#[tokio::test]
async fn the_admin_token_and_socket_change() {
    let mut stand = Stand::new(BIN).await;
    let socket = stand.path().join("other.sock");
    stand.apply(json!({ "admin": { "socket": socket.display().to_string() } })).await;
    stand.gate.until("the socket", async || socket.exists()).await;
    std::fs::write(stand.path().join("token"), "s3cret\n").unwrap();
    let mut document = stand.document.clone();
    document["admin"]["token"] = json!({ "file": "token" });
    // The streams of those who had no token end with the change.
    stand.gate.write(&document);
    let get = async |token: &str| {
        let mut ask = Ask::get("/api/v1/status").host("localhost");
        if !token.is_empty() {
            ask = ask.field("authorization", &format!("Bearer {token}"));
        }
        // While the token changes, connections that came with none are closed.
        Door::clear(stand.gate.admin).ask(&ask).await.map_or(0, |a| a.status)
    };
    stand.gate.until("the token", async || get("s3cret").await == 200 && get("").await == 401).await;
    assert_eq!([get("").await, get("wrong").await, get("s3cret").await], [401, 401, 200]);
    assert_eq!(stand.gate.api(&Ask::get("/healthz")).await.status, 200);
    // The secret is a file: an edit of it counts.
    std::fs::write(stand.path().join("token"), "another\n").unwrap();
    stand.gate.until("the new token", async || get("another").await == 200).await;
    assert_eq!(get("s3cret").await, 401);
    assert!(!stand.gate.logs().join("\n").contains("s3cret"), "secrets never show");
}

#[tokio::test]
async fn the_log_changes_level_and_format() {
    let mut stand = Stand::with(BIN, json!({ "log": { "level": "info", "format": "json" } })).await;
    let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    stand.apply(json!({ "routes": { "all": { "timeout": "11s" } } })).await;
    let line = stand.gate.log_line(|l| l.contains("routes.all.timeout")).await;
    assert!(is_json(&line), "{line}");
    stand.apply(json!({ "log": { "format": "human" } })).await;
    stand.apply(json!({ "routes": { "all": { "timeout": "12s" } } })).await;
    let line = stand.gate.log_line(|l| l.contains("routes.all.timeout") && l.contains("12s")).await;
    assert!(!is_json(&line) && line.contains("11s"), "old and new value: {line}");
    stand.apply(json!({ "log": { "format": "json", "level": "error" } })).await;
    stand.apply(json!({ "routes": { "all": { "timeout": "13s" } } })).await;
    stand.apply(json!({ "log": { "level": "info" } })).await;
    stand.apply(json!({ "routes": { "all": { "timeout": "14s" } } })).await;
    let line = stand.gate.log_line(|l| l.contains("routes.all.timeout") && l.contains("14s")).await;
    assert!(is_json(&line), "{line}");
    let changed_to_13 = |l: &String| l.contains("routes.all.timeout 12s");
    assert!(!stand.gate.logs().iter().any(changed_to_13), "an info line at level error");
}

#[tokio::test]
async fn watching_and_debounce_change() {
    let mut stand = Stand::new(BIN).await;
    stand.apply(json!({ "reload": { "debounce": "0ms" } })).await;
    stand.apply(json!({ "reload": { "watch": false } })).await;
    assert_eq!(stand.gate.status().await["watching"], "off");
    // What was told of that file before is looked at before this.
    stand.gate.call("POST", "/reload", &json!({})).await;
    let mut document = stand.document.clone();
    document["reload"]["watch"] = json!(true);
    document["workers"] = json!(1);
    stand.gate.write(&document);
    assert_eq!(stand.gate.status().await["workers"], 2, "nobody looks");
    let verdict = stand.gate.call("POST", "/reload", &json!({})).await.json();
    assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
    stand.document = document;
    stand.apply(json!({ "workers": 3 })).await;
    assert_eq!(stand.gate.status().await["workers"], 3);
}

#[tokio::test]
async fn history_and_generations_are_bounded() {
    let mut stand = Stand::with(BIN, json!({ "reload": { "history": 5, "generations": 4 } })).await;
    let hold = Ask::get("/held").field("x-do", "hold");
    let mut asking = Vec::new();
    let mark = stand.gate.events().mark();
    for n in 0..8 {
        let (door, hold) = (stand.door(), hold.clone());
        let before = stand.v1.requests();
        asking.push(tokio::spawn(async move { door.ask(&hold).await }));
        stand.gate.until("it is there", async || stand.v1.requests() > before).await;
        stand.apply(json!({ "routes": { "all": { "timeout": format!("{}s", 20 + n) } } })).await;
    }
    let revisions = stand.gate.get("/revisions").await;
    assert_eq!(revisions["revisions"].as_array().map(Vec::len), Some(5), "{revisions:#}");
    stand.gate.events().wait(mark, |e| e["event"] == "draining").await;
    stand.v1.release();
    let mut closed = 0;
    for task in asking {
        let answer = task.await.unwrap().unwrap();
        assert_eq!(answer.status, 200, "told to drain, not cut");
        closed += usize::from(answer.fields.lists("connection", "close"));
    }
    assert!((1..8).contains(&closed), "the oldest are told to go, not all: {closed}");
    stand.gate.settle().await;
    let count = stand.gate.metric("gateway_config_reload_total{status=\"success\"}").await;
    assert!(count.is_some_and(|n| n >= 8.0), "{}", stand.gate.metrics().await);
}
