//! Settings by the name that a client asks for, and names that are refused.

use evergate_testkit::{Ask, Stand, handshake};
use rustls::{CipherSuite, ProtocolVersion, version::TLS12};
use serde_json::json;

use crate::{BIN, look, refused, tls};

#[tokio::test]
async fn strict_refuses_names_that_nobody_knows() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    // What the default certificate is for is not looked at here.
    let anyone = std::sync::Arc::new(handshake::Stapled::default()).client();
    let ask = async |stand: &Stand, name: &str| handshake::look(stand.tls, &anyone, name).await;
    for name in ["test.local", "other.local", "127.0.0.1"] {
        assert_eq!(ask(&stand, name).await.unwrap().status, 200, "{name}");
    }
    stand.apply(tls(json!({ "strict": true, "names": { "*.known.test": { "min_version": "1.3" } } }))).await;
    for name in ["test.local", "a.known.test"] {
        assert_eq!(ask(&stand, name).await.unwrap().status, 200, "{name}");
    }
    for name in ["other.local", "127.0.0.1", "known.test"] {
        refused(ask(&stand, name).await, "UnrecognisedName");
    }
    stand.apply(tls(json!({ "strict": false }))).await;
    assert_eq!(ask(&stand, "other.local").await.unwrap().status, 200);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn the_default_is_the_first_and_changes() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let anyone = std::sync::Arc::new(handshake::Stapled::default()).client();
    let ask = async |stand: &Stand, name: &str| handshake::look(stand.tls, &anyone, name).await.unwrap().leaf;
    let leaf = ask(&stand, "test.local").await;
    let [first, second] = ["first", "second"].map(|name| {
        let leaf = stand.authority.leaf(&["default.test"]);
        leaf.write(stand.path(), name);
        leaf.der.to_vec()
    });
    let files = |name: &str| json!({ "cert": format!("{name}.pem"), "key": format!("{name}.key") });
    let mut patch = tls(json!({ "certificates": ["leaf", "more"] }));
    patch["certificates"] = json!({ "more": files("first") });
    stand.apply(patch).await;
    assert_eq!(
        (ask(&stand, "other.local").await, ask(&stand, "default.test").await),
        (leaf.clone(), first.clone())
    );
    stand.apply(tls(json!({ "certificates": ["more", "leaf"] }))).await;
    assert_eq!((ask(&stand, "other.local").await, ask(&stand, "test.local").await), (first, leaf));
    // Other files for the same name.
    stand.apply(json!({ "certificates": { "more": files("second") } })).await;
    assert_eq!(ask(&stand, "other.local").await, second);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn names_have_settings_of_their_own() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let (exact, wild) = (stand.authority.leaf(&["a.named.test"]), stand.authority.leaf(&["*.named.test"]));
    exact.write(stand.path(), "exact");
    wild.write(stand.path(), "wild");
    let client = stand.authority.client(&["http/1.1"]);
    let ask = async |stand: &Stand, name: &str| handshake::look(stand.tls, &client, name).await;
    refused(ask(&stand, "a.named.test").await, "not valid for name");
    let settings = json!({
        "certificates": {
            "exact": { "cert": "exact.pem", "key": "exact.key" },
            "wild": { "cert": "wild.pem", "key": "wild.key" },
        },
        "listeners": { "tls": { "tls": { "names": {
            "a.named.test": { "certificates": ["exact"], "cipher_suites": ["TLS_CHACHA20_POLY1305_SHA256"] },
            "*.named.test": { "certificates": ["wild"], "max_version": "1.2" },
        } } } },
    });
    stand.apply(settings).await;
    let seen = ask(&stand, "a.named.test").await.unwrap();
    assert_eq!((&seen.leaf[..], seen.suite), (&exact.der[..], CipherSuite::TLS13_CHACHA20_POLY1305_SHA256));
    let seen = ask(&stand, "b.named.test").await.unwrap();
    assert_eq!((&seen.leaf[..], seen.version), (&wild.der[..], ProtocolVersion::TLSv1_2));
    let seen = look(&stand, &client).await.unwrap();
    assert_eq!((seen.suite, seen.version), (CipherSuite::TLS13_AES_256_GCM_SHA384, ProtocolVersion::TLSv1_3));

    // One name changes, and no other.
    stand.apply(tls(json!({ "names": { "a.named.test": { "min_version": "1.3" } } }))).await;
    let mut old = stand.authority.client_of(&[&TLS12]);
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let old = std::sync::Arc::new(old);
    refused(handshake::look(stand.tls, &old, "a.named.test").await, "ProtocolVersion");
    assert!(handshake::look(stand.tls, &old, "b.named.test").await.is_ok());
    stand.apply(tls(json!({ "names": { "a.named.test": null } }))).await;
    assert_eq!(ask(&stand, "a.named.test").await.unwrap().leaf, wild.der.to_vec());
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn connections_of_other_names_stay_when_one_changes() {
    let mut stand = Stand::new(BIN).await;
    let mut open = Vec::new();
    for door in [stand.tls_door(), stand.tls_door().h2()] {
        let mut conn = door.connect().await.unwrap();
        conn.ask(&Ask::get("/")).await.unwrap();
        open.push(conn);
    }
    fs_write(&stand, "ca.pem", &stand.authority.pem());
    let changes = [
        tls(json!({ "names": { "a.test": { "min_version": "1.3" } } })),
        tls(json!({ "names": { "a.test": { "client": { "ca": "ca.pem" } } } })),
        tls(json!({ "strict": true })),
        tls(json!({ "curves": ["X25519"] })),
        tls(json!({ "names": null, "min_version": "1.3" })),
    ];
    for change in changes {
        stand.apply(change.clone()).await;
        for conn in &mut open {
            assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200, "{change}");
            assert!(!conn.over(), "{change}");
        }
    }
}

fn fs_write(stand: &Stand, name: &str, text: &str) {
    std::fs::write(stand.path().join(name), text).unwrap();
}
