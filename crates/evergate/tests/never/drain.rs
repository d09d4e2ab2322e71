//! How connections of a process end: each setting of `process.drain`, changed live before it counts.

use evergate_testkit::{
    Ask, Door, Echo, Stand, Talk, ports,
    process::{self, PATIENCE, Signal},
    ws::Socket,
};
use serde_json::{Value, json};

use crate::{BIN, succeeded};

/// Far beyond what a test waits for.
const NEVER: &str = "1h";

/// A gateway whose drain settings are changed live: nothing is cut but what the patch says.
async fn stand(drain: Value) -> Stand {
    let mut stand = Stand::supervised(BIN, json!({})).await;
    let patient = json!({
        "spread": "0s", "requests": NEVER, "streams": NEVER, "websockets": NEVER, "tunnels": NEVER,
    });
    stand.apply(json!({ "process": { "drain": patient } })).await;
    stand.apply(json!({ "process": { "drain": drain } })).await;
    stand
}

/// Replaces the process, and waits until it takes no connections any more.
async fn upgrade(stand: &mut Stand) {
    let (old, taker) = (stand.gate.serving().await, taken_by(stand).await);
    assert!(taker.is_some(), "it says who it is");
    stand.gate.signal(Signal::Upgrade);
    succeeded(stand, old.unwrap_or_default()).await;
    stand.gate.follow_again().await;
    let others = async || {
        // Workers stop one after the other, and which one takes a connection is chance.
        for _ in 0..20 {
            if taken_by(stand).await == taker {
                return false;
            }
        }
        true
    };
    stand.gate.until("only the new one takes connections", others).await;
}

/// How the process that takes a connection calls itself.
async fn taken_by(stand: &Stand) -> Option<String> {
    let answer = stand.door().ask(&Ask::get("/")).await.ok()?;
    Some(answer.json()["fields"]["via"][0].as_str()?.to_owned())
}

async fn drained(stand: &Stand, left: u64) {
    let so_many = async || stand.gate.status().await["supervisor"]["draining"] == left;
    stand.gate.until("so many drain", so_many).await;
}

#[tokio::test]
async fn each_kind_of_connection_has_a_time_of_its_own() {
    for kind in ["requests", "streams", "websockets", "tunnels"] {
        let mut stand = stand(json!({ kind: "100ms" })).await;
        let (echo, raw) = (Echo::start("echo").await, ports::free());
        stand
            .apply(json!({
                "upstreams": { "echo": { "endpoints": [echo.url()] } },
                "listeners": { "raw": { "address": raw, "tcp": { "forward": "echo" } } },
            }))
            .await;
        let mut socket = Socket::open(&stand.door(), "test.local", "/socket").await.unwrap();
        let mut tunnel = Talk::open(&Door::clear(raw)).await.unwrap();
        let before = stand.v1.requests();
        let ask = |what: &str| {
            let (door, ask) = (stand.door(), Ask::get("/").field("x-do", what));
            tokio::spawn(async move { door.ask(&ask).await.is_ok_and(|a| a.status == 200) })
        };
        let (request, stream) = (ask("hold"), ask("events"));
        stand.gate.until("both are under way", async || stand.v1.requests() >= before + 2).await;

        upgrade(&mut stand).await;
        match kind {
            "requests" => stand.gate.until("cut", async || request.is_finished()).await,
            "streams" => stand.gate.until("cut", async || stream.is_finished()).await,
            "websockets" => assert_eq!(socket.receive().await.unwrap_or(None), None),
            _ => drop(tunnel.closed().await),
        }
        // The others do not notice.
        if kind != "websockets" {
            socket.echo("still there").await.unwrap();
        }
        if kind != "tunnels" {
            tunnel.echo("still there").await.unwrap();
        }
        assert_eq!((request.is_finished(), stream.is_finished()), (kind == "requests", kind == "streams"));
        for _ in 0..3 {
            stand.v1.release();
            tokio::task::yield_now().await;
        }
        assert_eq!(request.await.unwrap(), kind != "requests", "{kind}");
        stand.v1.release();
        stand.v1.release();
        assert_eq!(stream.await.unwrap(), kind != "streams", "{kind}");
        drop((socket, tunnel));
        drained(&stand, 0).await;
    }
}

#[tokio::test]
async fn goodbyes_are_spread() {
    let mut stand = stand(json!({ "spread": NEVER })).await;
    let mut kept = stand.door().connect().await.unwrap();
    assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    upgrade(&mut stand).await;
    assert_eq!(
        (kept.ask(&Ask::get("/")).await.unwrap().status, kept.over()),
        (200, false),
        "not yet its turn"
    );
    drained(&stand, 1).await;
    // What left keeps the settings that it left with.
    stand.apply(json!({ "process": { "drain": { "spread": "0s" } } })).await;
    let _second = stand.door().connect().await.unwrap();
    upgrade(&mut stand).await;
    drained(&stand, 1).await;
    assert_eq!((kept.ask(&Ask::get("/")).await.unwrap().status, kept.over()), (200, false));
}

#[tokio::test]
async fn only_so_many_processes_drain() {
    let mut stand = stand(json!({ "processes": 1, "timeout": "100ms" })).await;
    let mut first = Socket::open(&stand.door(), "test.local", "/socket").await.unwrap();
    upgrade(&mut stand).await;
    let mut second = Socket::open(&stand.door(), "test.local", "/socket").await.unwrap();
    first.echo("one may").await.unwrap();
    upgrade(&mut stand).await;
    assert_eq!(first.receive().await.unwrap_or(None), None, "the oldest is cut");
    second.echo("one may").await.unwrap();
    drained(&stand, 1).await;
}

#[tokio::test]
async fn who_stops_is_not_ready_before_it_takes_no_more() {
    let mut stand = stand(json!({ "delay": "10m" })).await;
    stand.gate.signal(Signal::Terminate);
    let ready = Ask::get("/readyz").host("localhost");
    let says_so = async || Door::clear(stand.gate.admin).ask(&ready).await.is_ok_and(|a| a.status == 503);
    stand.gate.until("it is not ready", says_so).await;
    assert_eq!(stand.door().ask(&Ask::get("/")).await.unwrap().status, 200, "it still takes connections");
    stand.gate.signal(Signal::Terminate);
    assert_eq!(stand.gate.ended().await, Some(130), "the second ends it at once");
}

#[tokio::test]
async fn what_takes_too_long_at_a_stop_is_cut() {
    let mut stand = stand(json!({ "timeout": "100ms" })).await;
    let before = stand.v1.requests();
    let (door, ask) = (stand.door(), Ask::get("/").field("x-do", "hold"));
    let held = tokio::spawn(async move { door.ask(&ask).await });
    stand.gate.until("it is under way", async || stand.v1.requests() > before).await;
    stand.gate.signal(Signal::Terminate);
    assert_eq!(stand.gate.ended().await, Some(0));
    assert!(held.await.unwrap().is_err());
}

#[tokio::test]
async fn http3_connections_find_the_process_that_they_belong_to() {
    let mut stand = stand(json!({ "spread": NEVER })).await;
    stand.apply(json!({ "listeners": { "tls": { "protocols": ["h3", "h2", "http/1.1"] } } })).await;
    let door = stand.tls_door().h3();
    let mut kept = Vec::new();
    for generation in 0..3 {
        let mut conn = door.connect().await.unwrap();
        assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
        kept.push(conn);
        upgrade(&mut stand).await;
        drained(&stand, generation + 1).await;
        for conn in &mut kept {
            assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
        }
        for _ in 0..20 {
            // Each process reads some of these packets; none of those that left takes or refuses them.
            assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
        }
    }
    assert_eq!(stand.gate.status().await["supervisor"]["draining"], 3);
}

#[tokio::test]
async fn who_drains_does_not_outlive_the_supervisor_for_long() {
    let mut stand = stand(json!({ "timeout": "100ms" })).await;
    let old = stand.gate.serving().await.unwrap();
    let mut socket = Socket::open(&stand.door(), "test.local", "/socket").await.unwrap();
    upgrade(&mut stand).await;
    socket.echo("still there").await.unwrap();
    let new = stand.gate.serving().await.unwrap();
    let _home = stand.gate.kill9().await;
    assert_eq!(socket.receive().await.unwrap_or(None), None, "cut");
    let until = std::time::Instant::now() + PATIENCE;
    while process::runs(old) || process::runs(new) {
        assert!(std::time::Instant::now() < until, "one of {old} and {new} still runs");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
