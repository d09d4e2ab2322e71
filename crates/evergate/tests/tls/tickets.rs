//! Resumption: survives what has nothing to do with it, on every worker.

use std::sync::Arc;

use evergate_testkit::{Stand, handshake, ports};
use rustls::version::{TLS12, TLS13};
use serde_json::json;

use crate::{BIN, look, tls};

#[tokio::test]
async fn sessions_survive_changes_on_every_worker() {
    let mut stand = Stand::with(BIN, json!({ "workers": 3 })).await;
    let mut old = stand.authority.client_of(&[&TLS12]);
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let clients =
        [stand.authority.client(&["http/1.1"]), old.into(), handshake::by_id_only(&stand.authority)];
    for client in &clients {
        assert!(!look(&stand, client).await.unwrap().resumed);
    }
    let leaf = stand.authority.leaf(&["test.local"]);
    let changes = [
        json!({ "routes": { "more": { "match": { "path": "/more" }, "forward": "v1" } } }),
        json!({ "workers": 1 }),
        json!({ "workers": 3 }),
        tls(json!({ "cipher_suites": ["TLS_AES_256_GCM_SHA384"] })),
        tls(json!({ "tickets": { "rotate": "1h" } })),
        tls(json!({ "names": { "a.test": { "min_version": "1.3" } } })),
        tls(json!({ "names": null, "strict": true })),
        json!({ "listeners": { "tls": { "limits": { "headers": 50 } } } }),
    ];
    for change in changes {
        stand.apply(change.clone()).await;
        for client in &clients {
            // More often than there are workers.
            for _ in 0..6 {
                assert!(look(&stand, client).await.unwrap().resumed, "{change}");
            }
        }
    }
    // A new certificate does not end them either.
    leaf.write(stand.path(), "leaf");
    let door = stand.tls_door();
    stand.gate.until("the new certificate", async || door.shown().await == Ok(leaf.der.to_vec())).await;
    for client in &clients {
        assert!(look(&stand, client).await.unwrap().resumed);
    }
}

#[tokio::test]
async fn tickets_are_switched_off_and_on() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    for version in [&TLS12, &TLS13] {
        let client = || {
            let mut config = stand.authority.client_of(&[version]);
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(config)
        };
        let (before, during) = (client(), client());
        assert!(!look(&stand, &before).await.unwrap().resumed);
        stand.apply(tls(json!({ "tickets": { "enabled": false } }))).await;
        assert!(!look(&stand, &before).await.unwrap().resumed, "what was given before is worth nothing");
        for _ in 0..3 {
            assert!(!look(&stand, &during).await.unwrap().resumed, "nothing is given");
        }
        stand.apply(tls(json!({ "tickets": null }))).await;
        assert!(!look(&stand, &during).await.unwrap().resumed);
        assert!(look(&stand, &during).await.unwrap().resumed);
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn keys_change_in_the_time_that_is_set() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let first = handshake::first_ticket_only(&stand.authority);
    assert!(!look(&stand, &first).await.unwrap().resumed);
    assert!(look(&stand, &first).await.unwrap().resumed);
    stand.apply(tls(json!({ "tickets": { "rotate": "1s" } }))).await;
    // The key that made its ticket opens for two seconds.
    let is_old = async || !look(&stand, &first).await.unwrap().resumed;
    stand.gate.until("the ticket is worth nothing", is_old).await;
    stand.apply(tls(json!({ "tickets": null }))).await;
    let client = stand.authority.client(&["http/1.1"]);
    assert!(!look(&stand, &client).await.unwrap().resumed);
    assert!(look(&stand, &client).await.unwrap().resumed);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn another_listener_knows_nothing_of_them() {
    let other = ports::free();
    let stand = Stand::with(
        BIN,
        json!({
            "listeners": { "other": { "address": other, "tls": { "certificates": ["leaf"] } } },
            "routes": { "all": { "listeners": ["clear", "tls", "other"] } },
        }),
    )
    .await;
    let client = stand.authority.client(&["http/1.1"]);
    assert!(!look(&stand, &client).await.unwrap().resumed);
    for resumed in [false, true] {
        assert_eq!(handshake::look(other, &client, "test.local").await.unwrap().resumed, resumed);
    }
}
