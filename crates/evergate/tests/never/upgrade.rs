//! Another process takes over: by command, by signal, or not at all.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use evergate_testkit::{Ask, Door, Stand, handshake, ports, process::Signal, ws::Socket};
use serde_json::json;

use crate::{BIN, succeeded};

#[tokio::test]
async fn every_way_to_ask_for_an_upgrade_loses_nothing() {
    let mut stand = Stand::supervised(BIN, json!({ "process": { "drain": { "spread": "200ms" } } })).await;
    let (supervisor, revision) = (stand.gate.pid(), stand.gate.revision().await);
    let crowd = stand.crowd().await;
    let mut sockets = Vec::new();
    for way in ["command", "command with a file", "signal", "api"] {
        sockets.push(Socket::open(&stand.door(), "test.local", "/socket").await.unwrap());
        let old = stand.gate.serving().await.unwrap();
        match way {
            "command" => {
                let said = stand.gate.cli(&["upgrade"]).await;
                assert!(said.out.contains("upgraded: version"), "{said:?}");
            }
            "command with a file" => assert_eq!(stand.gate.cli(&["upgrade", BIN]).await.code, Some(0)),
            "signal" => stand.gate.signal(Signal::Upgrade),
            _ => {
                let answer = stand.gate.call("POST", "/upgrade", &json!({})).await;
                assert_eq!(answer.json()["verdict"], "upgraded", "{}", answer.text());
            }
        }
        succeeded(&stand, old).await;
        crowd.more(100).await;
        for socket in &mut sockets {
            socket.echo("still there").await.unwrap();
        }
    }
    let outcome = crowd.stop().await;
    assert_eq!((outcome.failed, outcome.resets), (0, 0), "{outcome:#?}");
    assert!(outcome.answered > 400);

    let status = stand.gate.status().await;
    assert_eq!(status["supervisor"]["pid"], supervisor, "in place");
    assert_eq!((&status["supervisor"]["upgrades"], &status["supervisor"]["crashes"]), (&json!(4), &json!(0)));
    assert_eq!(stand.gate.revision().await, revision, "the same revision, not a new one");
    assert_eq!(status["supervisor"]["draining"], 4, "each has a WebSocket");
    drop(sockets);
    let alone = async || stand.gate.status().await["supervisor"]["draining"] == 0;
    stand.gate.until("those that left have ended", alone).await;

    // And it changes as ever.
    stand.gate.follow_again().await;
    stand.apply(json!({ "workers": 3 })).await;
    assert_eq!(stand.gate.status().await["workers"], 3);
}

/// A program that is none of ours.
#[expect(clippy::expect_used, reason = "a helper of tests, outside of test functions")]
fn script(stand: &Stand, name: &str, text: &str) -> PathBuf {
    let path = stand.path().join(name);
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

#[tokio::test]
async fn an_upgrade_that_fails_is_as_if_nothing_had_been() {
    let mut stand = Stand::supervised(BIN, json!({})).await;
    let crowd = stand.crowd().await;
    let mut socket = Socket::open(&stand.door(), "test.local", "/socket").await.unwrap();
    let serving = stand.gate.serving().await;
    let behind = format!("#!/bin/sh\n\"{BIN}\" \"$@\"\n");
    for (name, text, says) in [
        ("refuses", "#!/bin/sh\nexit 64\n", "ended with code 64"),
        ("behind", behind.as_str(), "has to `exec` it"),
        ("text", "no program", "ended with code 127"),
    ] {
        let program = script(&stand, name, text);
        let said = stand.gate.cli(&["upgrade", &program.display().to_string()]).await;
        assert_eq!(said.code, Some(1), "{name}: {said:?}");
        assert!(said.err.contains(says), "{name}: {said:?}");
        let failed = stand.gate.status().await["supervisor"]["last_failed_upgrade"].clone();
        assert!(failed.as_str().is_some_and(|f| f.contains(says)), "{failed}");
        assert_eq!(stand.gate.serving().await, serving, "{name}");
        stand.apply(json!({ "routes": { "all": { "timeout": format!("{}s", 10 + name.len()) } } })).await;
        socket.echo("still there").await.unwrap();
    }
    let said = stand.gate.cli(&["upgrade", "/no/such/program"]).await;
    assert_eq!(said.code, Some(66), "{said:?}");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn only_a_supervised_gateway_is_upgraded() {
    let stand = Stand::new(BIN).await;
    let said = stand.gate.cli(&["upgrade"]).await;
    assert_eq!((said.code, said.err.contains("without a supervisor")), (Some(1), true), "{said:?}");
    assert!(stand.gate.status().await["supervisor"].is_null());
}

#[tokio::test]
async fn what_is_known_goes_along() {
    let mut stand = Stand::supervised(BIN, json!({})).await;
    // Unhealthy by a check that will not be made again for an hour, in any process.
    let dead = format!("http://{}", ports::free());
    let health = json!({ "path": "/", "interval": "1h", "unhealthy": 1 });
    stand
        .apply(json!({ "upstreams": { "pair": {
            "endpoints": [stand.v1.url(), dead], "health": health,
        } } }))
        .await;
    let health_of = async |stand: &Stand| {
        let upstreams = stand.gate.get("/upstreams").await;
        let found = upstreams["upstreams"].as_array().unwrap().iter().find(|u| u["name"] == "pair").cloned();
        found.unwrap()["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["health"].clone())
            .collect::<Vec<_>>()
    };
    let judged = async || health_of(&stand).await == ["healthy", "unhealthy"];
    stand.gate.until("both are judged", judged).await;
    let patch = json!({ "routes": { "all": { "timeout": "17s" } } });
    assert_eq!(stand.gate.patch(&patch).await["verdict"], "applied");
    let (revision, history) = (stand.gate.revision().await, stand.gate.get("/revisions").await);

    let old = stand.gate.serving().await.unwrap();
    stand.gate.signal(Signal::Upgrade);
    succeeded(&stand, old).await;
    assert_eq!(health_of(&stand).await[1], "unhealthy", "known before any check of its own");
    assert_eq!(stand.gate.revision().await, revision);
    assert_eq!(stand.gate.get("/revisions").await, history);
    assert_eq!(stand.gate.get("/config").await["routes"]["all"]["timeout"], "17s", "the overlay");
}

/// How ticket keys that are handed on begin.
const TICKET_KEYS: &str = "45565401";

/// True if a file below that folder holds the text.
fn is_written(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => is_written(&entry.path(), text),
        Ok(kind) if kind.is_file() => {
            std::fs::read(entry.path()).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        }
        _ => false,
    })
}

#[tokio::test]
async fn tls_sessions_are_resumed_by_the_next_process() {
    let mut stand = Stand::supervised(BIN, json!({ "process": { "drain": { "spread": "0s" } } })).await;
    // A ticket of the first process alone, so that none of a later one helps; tickets of TLS 1.3; none at all.
    let clients = [
        handshake::first_ticket_only(&stand.authority),
        stand.authority.client(&["http/1.1"]),
        handshake::by_id_only(&stand.authority),
    ];
    let resumed = async |stand: &Stand, client| {
        let seen = handshake::look(stand.tls, client, "test.local").await.unwrap();
        assert_eq!(seen.status, 200);
        seen.resumed
    };
    for client in &clients {
        assert!(!resumed(&stand, client).await);
    }
    for _ in 0..2 {
        let old = stand.gate.serving().await.unwrap();
        stand.gate.signal(Signal::Upgrade);
        succeeded(&stand, old).await;
        // More often than there are workers.
        for client in clients.iter().cycle().take(12) {
            assert!(resumed(&stand, client).await);
        }
    }
    // What they are resumed by has gone from process to process, and nowhere else.
    assert!(!stand.gate.logs().iter().any(|line| line.contains(TICKET_KEYS)));
    assert!(!is_written(stand.path(), TICKET_KEYS));
    // It is the keys that went along: without tickets and ids nothing is resumed.
    stand.gate.follow_again().await;
    stand.apply(json!({ "listeners": { "tls": { "tls": { "tickets": { "enabled": false } } } } })).await;
    for client in &clients {
        assert!(!resumed(&stand, client).await);
    }
}

#[tokio::test]
async fn changes_wait_for_the_process_that_can_make_them() {
    let stand = Stand::supervised(BIN, json!({ "process": { "drain": { "spread": "0s" } } })).await;
    for n in 0..5 {
        let old = stand.gate.serving().await.unwrap();
        stand.gate.signal(Signal::Upgrade);
        // Whoever is asked, before, between and after: applied, or told to ask again.
        let mut applied = false;
        for _ in 0..50 {
            let patch = json!({ "routes": { "all": { "timeout": format!("{}s", 20 + n) } } });
            let ask = Ask::post("/api/v1/config", patch.to_string()).method("PATCH").host("localhost");
            let ask = ask.field("content-type", "application/merge-patch+json");
            let Ok(answer) = Door::clear(stand.gate.admin).ask(&ask).await else { continue };
            applied = matches!(answer.json()["verdict"].as_str(), Some("applied" | "unchanged"));
            if applied {
                break;
            }
            assert!(answer.text().contains("ask again"), "{}", answer.text());
        }
        assert!(applied, "never taken");
        succeeded(&stand, old).await;
        let timeout = stand.gate.get("/config").await["routes"]["all"]["timeout"].clone();
        assert_eq!(timeout, format!("{}s", 20 + n), "what was applied is what runs");
    }
}

#[tokio::test]
async fn sockets_are_neither_leaked_nor_kept_for_nobody() {
    let mut stand = Stand::supervised(BIN, json!({ "process": { "drain": { "spread": "0s" } } })).await;
    let mut first = None;
    for n in 0..4 {
        let extra = ports::free();
        stand.apply(json!({ "listeners": { "extra": { "address": extra } } })).await;
        assert_eq!(Door::clear(extra).ask(&Ask::get("/")).await.unwrap().status, 404);
        let old = stand.gate.serving().await.unwrap();
        stand.gate.signal(Signal::Upgrade);
        succeeded(&stand, old).await;
        stand.gate.follow_again().await;
        assert_eq!(Door::clear(extra).ask(&Ask::get("/")).await.unwrap().status, 404, "round {n}");
        stand.apply(json!({ "listeners": { "extra": null } })).await;
        let refused = async || Door::clear(extra).ask(&Ask::get("/")).await.is_err();
        stand.gate.until("nobody listens there", refused).await;
        let alone = async || stand.gate.status().await["supervisor"]["draining"] == 0;
        stand.gate.until("the one before has ended", alone).await;
        // What leaked in each round would be more than one in the end.
        let most = *first.get_or_insert(stand.gate.descriptors()) + 1;
        stand.gate.until("the supervisor has what it had", async || stand.gate.descriptors() <= most).await;
    }
}
