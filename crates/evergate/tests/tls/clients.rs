//! Certificates of clients: asked for, verified, and asked for again when the rule changes.

use std::fs;

use evergate_testkit::{Ask, Authority, Door, Stand, handshake};
use serde_json::json;

use crate::{BIN, look, refused, tls};

/// A stand whose `ca.pem` vouches for clients.
async fn stand() -> (Stand, Authority) {
    let (stand, clients) = (Stand::new(BIN).await, Authority::new());
    fs::write(stand.path().join("ca.pem"), clients.pem()).unwrap();
    (stand, clients)
}

#[tokio::test]
async fn a_certificate_is_asked_for_required_and_no_more_asked_for() {
    let (mut stand, clients) = stand().await;
    let crowd = stand.bystanders().await;
    let ours = stand.authority.client_showing(&clients.badge("ops", 1));
    let strange = stand.authority.client_showing(&Authority::new().badge("ops", 1));
    let nobody = stand.authority.client(&["http/1.1"]);
    assert!(look(&stand, &strange).await.is_ok(), "nobody asks");
    stand.apply(tls(json!({ "client": { "mode": "optional", "ca": "ca.pem" } }))).await;
    assert_eq!(look(&stand, &nobody).await.unwrap().status, 200);
    assert_eq!(look(&stand, &ours).await.unwrap().status, 200);
    refused(look(&stand, &strange).await, "DecryptError");
    stand.apply(tls(json!({ "client": { "mode": "required" } }))).await;
    refused(look(&stand, &nobody).await, "CertificateRequired");
    assert_eq!(look(&stand, &ours).await.unwrap().status, 200);
    stand.apply(tls(json!({ "client": null }))).await;
    assert_eq!(look(&stand, &nobody).await.unwrap().status, 200);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn names_and_depth_change() {
    let (mut stand, clients) = stand().await;
    let crowd = stand.bystanders().await;
    let (ops, dev) = (
        stand.authority.client_showing(&clients.badge("ops", 1)),
        stand.authority.client_showing(&clients.leaf(&["dev.test"])),
    );
    let rows = [
        (json!({ "cn": ["ops"] }), true, false),
        (json!({ "cn": ["ops"], "san": ["dev.test"] }), true, true),
        (json!({ "san": ["DEV.test"] }), false, true),
        (json!(null), true, true),
    ];
    for (names, lets_ops, lets_dev) in rows {
        stand.apply(tls(json!({ "client": { "ca": "ca.pem", "names": names } }))).await;
        for (client, is_let) in [(&ops, lets_ops), (&dev, lets_dev)] {
            match look(&stand, client).await {
                Ok(seen) => assert!(is_let && seen.status == 200, "{names}"),
                Err(error) => assert!(!is_let && error.contains("AccessDenied"), "{names} {error}"),
            }
        }
        stand.apply(tls(json!({ "client": null }))).await;
    }
    let deep = stand.authority.client_showing(&clients.below().badge("deep", 1));
    for (depth, lets_deep) in [(0, false), (1, true), (0, false)] {
        stand.apply(tls(json!({ "client": { "ca": "ca.pem", "depth": depth } }))).await;
        assert_eq!(look(&stand, &ops).await.unwrap().status, 200, "no certificate in between");
        match look(&stand, &deep).await {
            Ok(seen) => assert!(lets_deep && seen.status == 200, "{depth}"),
            Err(error) => assert!(!lets_deep && error.contains("AccessDenied"), "{depth} {error}"),
        }
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn authorities_follow_their_file() {
    let (mut stand, clients) = stand().await;
    let crowd = stand.bystanders().await;
    let others = Authority::new();
    let (old, new) = (
        stand.authority.client_showing(&clients.badge("old", 1)),
        stand.authority.client_showing(&others.badge("new", 1)),
    );
    stand.apply(tls(json!({ "client": { "ca": "ca.pem" } }))).await;
    let mut open = Door::tls(stand.tls, old.clone(), "test.local").connect().await.unwrap();
    assert_eq!(open.ask(&Ask::get("/")).await.unwrap().status, 200);
    let write = async |pem: String| {
        let verdict = stand.gate.touch(|home| fs::write(home.path().join("ca.pem"), pem).unwrap()).await;
        assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
    };
    write(clients.pem() + &others.pem()).await;
    for client in [&old, &new] {
        assert_eq!(look(&stand, client).await.unwrap().status, 200);
    }
    open.closed().await.unwrap();
    write(others.pem()).await;
    refused(look(&stand, &old).await, "DecryptError");
    assert_eq!(look(&stand, &new).await.unwrap().status, 200);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn who_is_revoked_is_let_in_no_more_whatever_is_open() {
    let (mut stand, clients) = stand().await;
    let crowd = stand.bystanders().await;
    let (good, bad) = (
        stand.authority.client_showing(&clients.badge("good", 1)),
        stand.authority.client_showing(&clients.badge("bad", 2)),
    );
    fs::write(stand.path().join("list.pem"), clients.revokes(&[])).unwrap();
    stand.apply(tls(json!({ "client": { "ca": "ca.pem", "crl": ["list.pem"] } }))).await;
    for client in [&good, &bad] {
        assert_eq!(look(&stand, client).await.unwrap().status, 200);
        assert!(look(&stand, client).await.unwrap().resumed);
    }
    let mut open = Door::tls(stand.tls, bad.clone(), "test.local").connect().await.unwrap();
    assert_eq!(open.ask(&Ask::get("/")).await.unwrap().status, 200);
    // The file alone changes.
    let verdict = stand
        .gate
        .touch(|home| fs::write(home.path().join("list.pem"), clients.revokes(&[2])).unwrap())
        .await;
    assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
    refused(look(&stand, &bad).await, "CertificateRevoked");
    assert_eq!(look(&stand, &good).await.unwrap().status, 200);
    open.closed().await.unwrap();
    // What is no list is refused, with its place.
    let verdict = stand.gate.touch(|home| fs::write(home.path().join("list.pem"), "words").unwrap()).await;
    assert_eq!(verdict["verdict"], "refused", "{verdict:#}");
    assert_eq!(verdict["report"][0]["path"], "listeners.tls.tls.client.crl.0", "{verdict:#}");
    refused(look(&stand, &bad).await, "CertificateRevoked");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_name_that_asks_is_not_reached_by_a_connection_for_another() {
    let (mut stand, clients) = stand().await;
    let crowd = stand.crowd().await;
    let both = stand.authority.leaf(&["test.local", "admin.local"]);
    both.write(stand.path(), "leaf");
    let door = stand.tls_door();
    stand.gate.until("the new certificate", async || door.shown().await == Ok(both.der.to_vec())).await;
    let (badge, nobody) =
        (stand.authority.client_showing(&clients.badge("ops", 1)), stand.authority.client(&["http/1.1"]));
    let ask = async |stand: &Stand, config, sni, host| {
        handshake::look_at(stand.tls, config, sni, host).await.map(|seen| seen.status)
    };
    let mut h2 = stand.tls_door().h2().connect().await.unwrap();
    let admin = Ask::get("/").host("admin.local");
    assert_eq!(h2.ask(&admin).await.unwrap().status, 200);
    stand.apply(tls(json!({ "names": { "admin.local": { "client": { "ca": "ca.pem" } } } }))).await;
    // As it is meant, then in every way around it.
    assert_eq!(ask(&stand, &badge, "admin.local", "admin.local").await, Ok(200));
    assert!(ask(&stand, &nobody, "admin.local", "admin.local").await.is_err());
    for host in ["admin.local", "ADMIN.local", "admin.local.", "admin.local:443", "admin.local.:443"] {
        assert_eq!(ask(&stand, &nobody, "test.local", host).await, Ok(421), "{host}");
    }
    assert_eq!(ask(&stand, &badge, "test.local", "admin.local").await, Ok(421));
    assert_eq!(
        ask(&stand, &badge, "admin.local", "test.local").await,
        Ok(200),
        "who showed more may ask for less"
    );
    // A connection from before the change: it goes on for what it may ask.
    assert_eq!(h2.ask(&admin).await.unwrap().status, 421);
    assert_eq!(h2.ask(&Ask::get("/")).await.unwrap().status, 200);
    // The listener asks, one name does not.
    stand
        .apply(tls(json!({
            "client": { "ca": "ca.pem" },
            "names": { "admin.local": null, "test.local": { "client": { "mode": "none" } } },
        })))
        .await;
    assert_eq!(ask(&stand, &nobody, "test.local", "test.local").await, Ok(200));
    assert_eq!(ask(&stand, &nobody, "test.local", "admin.local").await, Ok(421));
    assert!(ask(&stand, &nobody, "admin.local", "admin.local").await.is_err());
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_name_has_a_rule_of_its_own() {
    let (mut stand, clients) = stand().await;
    let crowd = stand.bystanders().await;
    let both = stand.authority.leaf(&["test.local", "admin.local"]);
    both.write(stand.path(), "leaf");
    let door = stand.tls_door();
    stand.gate.until("the new certificate", async || door.shown().await == Ok(both.der.to_vec())).await;
    fs::write(stand.path().join("list.pem"), clients.revokes(&[2])).unwrap();
    fs::write(stand.path().join("other.pem"), Authority::new().pem()).unwrap();
    let showing = |badge| stand.authority.client_showing(&badge);
    let who = [
        stand.authority.client(&["http/1.1"]),
        showing(clients.badge("ops", 1)),
        showing(clients.badge("bad", 2)),
        showing(clients.leaf(&["dev.test"])),
        showing(clients.below().badge("deep", 4)),
    ];
    let rows = [
        (json!({ "ca": "ca.pem", "mode": "required" }), [false, true, true, true, true]),
        (json!({ "ca": "ca.pem", "mode": "optional" }), [true; 5]),
        (json!({ "ca": "other.pem" }), [false; 5]),
        // The authority below has no list.
        (json!({ "ca": "ca.pem", "crl": ["list.pem"] }), [false, true, false, true, false]),
        (json!({ "ca": "ca.pem", "names": { "cn": ["ops"] } }), [false, true, false, false, false]),
        (json!({ "ca": "ca.pem", "names": { "san": ["dev.test"] } }), [false, false, false, true, false]),
        (json!({ "ca": "ca.pem", "depth": 0 }), [false, true, true, true, false]),
        (json!({ "mode": "none" }), [true; 5]),
    ];
    for (rule, expected) in rows {
        stand.apply(tls(json!({ "names": { "admin.local": { "client": rule } } }))).await;
        for (i, (client, is_let)) in who.iter().zip(expected).enumerate() {
            let seen = handshake::look(stand.tls, client, "admin.local").await;
            assert_eq!(seen.is_ok_and(|seen| seen.status == 200), is_let, "{rule} {i}");
            assert_eq!(look(&stand, client).await.unwrap().status, 200, "another name");
        }
        stand.apply(tls(json!({ "names": null }))).await;
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn connections_made_under_another_rule_are_closed_politely() {
    let (mut stand, clients) = stand().await;
    let mut open = Vec::new();
    for door in [stand.tls_door(), stand.tls_door().h2()] {
        let mut conn = door.connect().await.unwrap();
        conn.ask(&Ask::get("/")).await.unwrap();
        open.push(conn);
    }
    stand.apply(tls(json!({ "client": { "ca": "ca.pem" } }))).await;
    for mut conn in open {
        conn.closed().await.unwrap();
    }
    let badge = stand.authority.client_showing(&clients.badge("ops", 1));
    let mut kept = Door::tls(stand.tls, badge, "test.local").connect().await.unwrap();
    assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    // Asked for less, or asked the same: it stays.
    stand.apply(tls(json!({ "client": { "mode": "required" } }))).await;
    stand.apply(tls(json!({ "client": null }))).await;
    assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    assert!(!kept.over());
}

#[tokio::test]
async fn http3_asks_for_what_tcp_asks_for() {
    let (mut stand, clients) = stand().await;
    let crowd = stand.bystanders().await;
    let both = stand.authority.leaf(&["test.local", "admin.local"]);
    both.write(stand.path(), "leaf");
    let door = stand.tls_door();
    stand.gate.until("the new certificate", async || door.shown().await == Ok(both.der.to_vec())).await;
    stand.apply(json!({ "listeners": { "tls": { "protocols": ["h3", "h2", "http/1.1"] } } })).await;
    let (badge, nobody) =
        (stand.authority.client_showing(&clients.badge("ops", 1)), stand.authority.client(&["h3"]));
    let door = |config, name| Door::tls(stand.tls, std::sync::Arc::clone(config), name).h3();
    let ask =
        async |door: Door, host: &str| door.ask(&Ask::get("/").host(host)).await.map(|answer| answer.status);
    let doors = [
        door(&nobody, "test.local"),
        door(&nobody, "admin.local"),
        door(&badge, "test.local"),
        door(&badge, "admin.local"),
    ];
    let [plain, admin, badged, badged_admin] = &doors;
    let mut open = plain.connect().await.unwrap();
    assert_eq!(open.ask(&Ask::get("/").host("admin.local")).await.unwrap().status, 200);

    // A name with a rule of its own comes by TCP, and is not reached on a connection for another.
    stand.apply(tls(json!({ "names": { "admin.local": { "client": { "ca": "ca.pem" } } } }))).await;
    assert_eq!(ask(plain.clone(), "test.local").await, Ok(200));
    assert_eq!(ask(plain.clone(), "admin.local").await, Ok(421));
    assert_eq!(open.ask(&Ask::get("/").host("admin.local")).await.unwrap().status, 421);
    assert_eq!(open.ask(&Ask::get("/")).await.unwrap().status, 200);
    for refused in [admin, badged_admin] {
        assert!(ask(refused.clone(), "admin.local").await.is_err());
    }
    // The listener's own rule holds over QUIC as well, for all names.
    stand.apply(tls(json!({ "names": null, "client": { "ca": "ca.pem" } }))).await;
    open.closed().await.unwrap();
    assert!(ask(plain.clone(), "test.local").await.is_err());
    for (let_in, host) in [(badged, "test.local"), (badged_admin, "admin.local"), (badged, "admin.local")] {
        assert_eq!(ask(let_in.clone(), host).await, Ok(200), "{host}");
    }
    stand.apply(tls(json!({ "client": null }))).await;
    assert_eq!(ask(plain.clone(), "admin.local").await, Ok(200));
    crowd.stop().await.assert_unnoticed();
}
