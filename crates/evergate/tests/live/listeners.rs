//! Listeners: added, removed, moved, switched to TLS, protocols and limits changed; certificates replaced.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc};

use evergate_testkit::{
    Ask, Crowd, Door, Failure, Stand,
    load::{Client, Manner},
    ports,
};
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::BIN;

async fn status(door: &Door) -> Result<u16, Failure> {
    door.ask(&Ask::get("/")).await.map(|a| a.status)
}

fn refused(result: &Result<u16, Failure>) -> bool {
    matches!(result, Err(Failure::Refused(_)))
}

#[tokio::test]
async fn a_listener_is_added_and_removed() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let address = ports::free();
    let door = Door::clear(address);
    assert!(refused(&status(&door).await));
    for _ in 0..5 {
        stand
            .apply(json!({
                "listeners": { "more": { "address": address } },
                "routes": { "all": { "listeners": ["clear", "tls", "more"] } },
            }))
            .await;
        assert_eq!(status(&door).await, Ok(200));
        assert_eq!(status(&door.clone().h2()).await, Ok(200));
        stand
            .apply(json!({
                "listeners": { "more": null },
                "routes": { "all": { "listeners": ["clear", "tls"] } },
            }))
            .await;
        stand.gate.until("nobody listens", async || refused(&status(&door).await)).await;
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_listener_comes_back_faster_than_workers_see_it_go() {
    let mut stand = Stand::with(BIN, json!({ "routes": { "all": { "listeners": null } } })).await;
    let crowd = stand.bystanders().await;
    let tcp = Door::clear(ports::free());
    let unix = Door::unix(stand.path().join("web.sock"));
    let path = format!("unix:{}", stand.path().join("web.sock").display());
    for _ in 0..20 {
        let more = json!({ "tcp": { "address": tcp.address }, "unix": { "address": path } });
        stand.apply(json!({ "listeners": more })).await;
        assert_eq!((status(&tcp).await, status(&unix).await), (Ok(200), Ok(200)));
        stand.apply(json!({ "listeners": { "tcp": null, "unix": null } })).await;
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_removed_listener_refuses_while_its_requests_go_on() {
    let address = ports::free();
    let more = json!({ "listeners": { "more": { "address": address } } });
    let mut stand = Stand::with(BIN, json!({ "routes": { "all": { "listeners": null } } })).await;
    stand.apply(more.clone()).await;
    let door = Door::clear(address);
    let before = stand.v1.requests();
    let held = tokio::spawn({
        let door = door.clone();
        async move { door.ask(&Ask::get("/").field("x-do", "hold")).await.map(|a| a.status) }
    });
    stand.gate.until("it is under way", async || stand.v1.requests() > before).await;
    stand.apply(json!({ "listeners": { "more": null } })).await;
    stand.gate.until("nobody listens", async || refused(&status(&door).await)).await;
    stand.apply(more).await;
    assert_eq!(status(&door).await, Ok(200), "the address is free again");
    stand.v1.release();
    assert_eq!(held.await.unwrap(), Ok(200));
}

#[tokio::test]
async fn a_listener_moves() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let (old, new) = (stand.clear, ports::free());
    stand.apply(json!({ "listeners": { "clear": { "address": new } } })).await;
    assert_eq!(status(&Door::clear(new)).await, Ok(200));
    stand.gate.until("nobody listens", async || refused(&status(&Door::clear(old)).await)).await;
    // To an address that covers its own, and back.
    for address in [format!("0.0.0.0:{}", new.port()), new.to_string()] {
        stand.apply(json!({ "listeners": { "clear": { "address": address } } })).await;
        assert_eq!(status(&Door::clear(new)).await, Ok(200), "{address}");
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn two_listeners_swap_their_addresses() {
    let mut stand = Stand::with(
        BIN,
        json!({
            "routes": {
                "all": { "headers": { "response": { "set": { "x-by": "all" } } } },
                "other": { "listeners": ["other"], "forward": "v1" },
            },
            "listeners": { "other": { "address": ports::free() } },
        }),
    )
    .await;
    let crowd = stand.bystanders().await;
    let (a, b) = (
        stand.document["listeners"]["clear"]["address"].clone(),
        stand.document["listeners"]["other"]["address"].clone(),
    );
    let door = stand.door();
    let by = async || door.ask(&Ask::get("/")).await.map(|a| a.fields.get("x-by").map(str::to_owned));
    assert_eq!(by().await, Ok(Some("all".to_owned())));
    stand.apply(json!({ "listeners": { "clear": { "address": b }, "other": { "address": a } } })).await;
    assert_eq!(by().await, Ok(None));
    stand.apply(json!({ "listeners": { "clear": { "address": a }, "other": { "address": b } } })).await;
    assert_eq!(by().await, Ok(Some("all".to_owned())));
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn an_address_in_use_refuses_the_change() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let taken = stand.v1.address;
    let verdict = stand.refused(json!({ "listeners": { "clear": { "address": taken } } })).await;
    assert!(
        verdict["report"][0]["message"].as_str().is_some_and(|m| m.contains(&taken.to_string())),
        "{verdict:#}"
    );
    assert_eq!(verdict["stage"], "build", "{verdict:#}");
    crowd.more(50).await;
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_listener_switches_to_tls_and_back() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let tls = Door::tls(stand.clear, stand.authority.client(&["http/1.1"]), "test.local");
    stand.apply(json!({ "listeners": { "clear": { "tls": { "certificates": ["leaf"] } } } })).await;
    stand.gate.until("clear text is over", async || status(&stand.door()).await != Ok(200)).await;
    for door in [tls.clone(), tls.clone().h2()] {
        assert_eq!(status(&door).await, Ok(200));
    }
    stand.apply(json!({ "listeners": { "clear": { "tls": null } } })).await;
    stand.gate.until("TLS is over", async || status(&tls).await != Ok(200)).await;
    for door in [stand.door(), stand.door().h2()] {
        assert_eq!(status(&door).await, Ok(200));
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn protocols_change() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let protocols = |list: serde_json::Value| json!({ "listeners": { "clear": { "protocols": list }, "tls": { "protocols": list } } });
    let check = async |stand: &Stand, http1: bool, http2: bool| {
        for door in [stand.door(), stand.tls_door()] {
            assert_eq!(status(&door).await == Ok(200), http1, "HTTP/1.1");
            assert_eq!(status(&door.h2()).await == Ok(200), http2, "HTTP/2");
        }
    };
    check(&stand, true, true).await;
    stand.apply(protocols(json!(["h2"]))).await;
    check(&stand, false, true).await;
    stand.apply(protocols(json!(["http/1.1"]))).await;
    check(&stand, true, false).await;
    stand.apply(protocols(json!(["http/1.1", "h2"]))).await;
    check(&stand, true, true).await;
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn the_lowest_tls_version_changes() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let mut old = rustls_1_2(&stand);
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let old = Door::tls(stand.tls, Arc::new(old), "test.local");
    assert_eq!(status(&old).await, Ok(200));
    stand.apply(json!({ "listeners": { "tls": { "tls": { "min_version": "1.3" } } } })).await;
    assert!(status(&old).await.is_err());
    stand.apply(json!({ "listeners": { "tls": { "tls": { "min_version": "1.2" } } } })).await;
    assert_eq!(status(&old).await, Ok(200));
    crowd.stop().await.assert_unnoticed();
}

fn rustls_1_2(stand: &Stand) -> rustls::ClientConfig {
    stand.authority.client_of(&[&rustls::version::TLS12])
}

#[tokio::test]
async fn a_certificate_is_replaced_where_it_is() {
    let stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let door = stand.tls_door();
    let mut kept = door.connect().await.unwrap();
    for _ in 0..3 {
        let leaf = stand.authority.leaf(&["test.local"]);
        // Both files change; between the two they do not belong together, and nothing may break.
        leaf.write(stand.path(), "leaf");
        stand.gate.until("the new certificate", async || door.shown().await == Ok(leaf.der.to_vec())).await;
        assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    }
    assert!(!kept.over());
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_certificate_is_replaced_by_a_symlink_as_kubernetes_does() {
    let (home, authority) = (tempfile::tempdir().unwrap(), evergate_testkit::Authority::new());
    let fill = |name: &str| {
        let leaf = authority.leaf(&["test.local"]);
        fs::create_dir(home.path().join(name)).unwrap();
        leaf.write(&home.path().join(name), "tls");
        leaf
    };
    // `tls.pem` → `..data/tls.pem`, and `..data` → a folder that is exchanged as a whole.
    let swap = |name: &str| {
        let draft = home.path().join("..data_tmp");
        symlink(name, &draft).unwrap();
        fs::rename(&draft, home.path().join("..data")).unwrap();
    };
    fill("..1");
    swap("..1");
    for file in ["tls.pem", "tls.key"] {
        symlink(Path::new("..data").join(file), home.path().join(file)).unwrap();
    }
    let at = |file: &str| home.path().join(file).display().to_string();
    let address = ports::free();
    let stand = Stand::with(
        BIN,
        json!({
            "certificates": { "mounted": { "cert": at("tls.pem"), "key": at("tls.key") } },
            "listeners": { "mounted": { "address": address, "tls": { "certificates": ["mounted"] } } },
            "routes": { "mounted": { "listeners": ["mounted"], "forward": "v1" } },
        }),
    )
    .await;
    let door = Door::tls(address, authority.client(&["http/1.1"]), "test.local");
    let clients =
        [Manner::KeepAlive, Manner::PerRequest].map(|m| Client::new(door.clone(), m, Ask::get("/")));
    let crowd = Crowd::start(clients);
    for n in 2..5 {
        let leaf = fill(&format!("..{n}"));
        swap(&format!("..{n}"));
        stand.gate.until("the new certificate", async || door.shown().await == Ok(leaf.der.to_vec())).await;
        fs::remove_dir_all(home.path().join(format!("..{}", n - 1))).unwrap();
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn certificates_are_chosen_by_name_and_a_broken_one_is_refused() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let wild = stand.authority.leaf(&["*.example.com"]);
    let exact = stand.authority.leaf(&["a.example.com"]);
    wild.write(stand.path(), "wild");
    exact.write(stand.path(), "exact");
    stand
        .apply(json!({
            "certificates": {
                "wild": { "cert": "wild.pem", "key": "wild.key" },
                "exact": { "cert": "exact.pem", "key": "exact.key" },
            },
            "listeners": { "tls": { "tls": { "certificates": ["leaf", "wild", "exact"] } } },
        }))
        .await;
    let named = |name: &str| Door::tls(stand.tls, stand.authority.client(&["http/1.1"]), name);
    assert_eq!(named("a.example.com").shown().await, Ok(exact.der.to_vec()));
    assert_eq!(named("b.example.com").shown().await, Ok(wild.der.to_vec()));
    stand.apply(json!({ "listeners": { "tls": { "tls": { "certificates": ["leaf", "wild"] } } }, "certificates": { "exact": null } })).await;
    let fallen = Door::tls(stand.tls, stand.authority.client(&["http/1.1"]), "b.example.com");
    assert_eq!(fallen.shown().await, Ok(wild.der.to_vec()));

    fs::write(stand.path().join("bad.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    for (cert, key) in [
        ("bad.pem", "wild.key"),
        ("wild.pem", "leaf.key"),
        ("none.pem", "wild.key"),
        ("wild.pem", "wild.pem"),
    ] {
        let verdict =
            stand.refused(json!({ "certificates": { "wild": { "cert": cert, "key": key } } })).await;
        let problem = &verdict["report"][0];
        assert!(problem["path"].as_str().is_some_and(|p| p.starts_with("certificates.wild")), "{verdict:#}");
        assert!(problem["at"]["line"].as_u64() > Some(0), "{verdict:#}");
    }
    assert_eq!(fallen.shown().await, Ok(wild.der.to_vec()));
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn limits_of_a_listener_change() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut conn = stand.door().connect().await.unwrap();
    let limits = |limits: serde_json::Value| json!({ "listeners": { "clear": { "limits": limits } } });
    let big = Ask::get("/").field("x-a", &"a".repeat(3000));
    let many = (0..30).fold(Ask::get("/"), |ask, n| ask.field(&format!("x-{n}"), "a"));
    assert_eq!(stand.door().ask(&big).await.unwrap().status, 200);
    stand.apply(limits(json!({ "header_bytes": "2KiB" }))).await;
    assert_eq!(stand.door().ask(&big).await.unwrap().status, 431);
    stand.apply(limits(json!({ "header_bytes": "64KiB", "headers": 20 }))).await;
    assert_eq!(stand.door().ask(&big).await.unwrap().status, 200);
    assert_eq!(stand.door().ask(&many).await.unwrap().status, 431);
    stand.apply(limits(json!({ "headers": 100, "body": "10B" }))).await;
    assert_eq!(stand.door().ask(&many).await.unwrap().status, 200);
    // What holds of a request holds on connections that are open already.
    assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
    assert_eq!(conn.ask(&Ask::post("/", "eleven byte")).await.unwrap().status, 413);
    stand.apply(limits(json!({ "body": null }))).await;
    assert_eq!(stand.door().ask(&Ask::post("/", "eleven byte")).await.unwrap().status, 200);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn the_number_of_connections_and_streams_changes() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut kept = stand.door().connect().await.unwrap();
    kept.ask(&Ask::get("/")).await.unwrap();
    stand.apply(json!({ "listeners": { "clear": { "limits": { "connections": 1 } } } })).await;
    assert!(status(&stand.door()).await.is_err(), "one is there already");
    assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    stand
        .apply(json!({ "listeners": { "clear": { "limits": { "connections": null, "streams": 1 } } } }))
        .await;
    let conn = stand.door().h2().connect().await.unwrap();
    let (mut one, mut two) = (conn.twin().unwrap(), conn.twin().unwrap());
    // Let the settings arrive before two streams are opened at once.
    assert_eq!(one.ask(&Ask::get("/")).await.unwrap().status, 200);
    let before = stand.v1.take_seen().len();
    assert!(before > 0);
    let hold = Ask::get("/held").field("x-do", "hold");
    let held = |asks: Vec<serde_json::Value>| asks.iter().filter(|a| a["target"] == "/held").count();
    let first = {
        let hold = hold.clone();
        tokio::spawn(async move { one.ask(&hold).await })
    };
    let second = tokio::spawn(async move { two.ask(&hold).await });
    let mut came = 0;
    while came == 0 {
        tokio::task::yield_now().await;
        came += held(stand.v1.take_seen());
    }
    stand.v1.release();
    while came == 1 {
        tokio::task::yield_now().await;
        came += held(stand.v1.take_seen());
    }
    stand.v1.release();
    for task in [first, second] {
        assert_eq!(task.await.unwrap().unwrap().status, 200);
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn timeouts_of_a_listener_change() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    stand.apply(json!({ "listeners": { "clear": { "timeouts": { "header": "100ms", "idle": "200ms", "body": "100ms" } } } })).await;
    let said = stand.door().shout(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    assert!(said.starts_with("HTTP/1.1 408 "), "{said:?}");
    let said =
        stand.door().shout(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    assert!(said.starts_with("HTTP/1.1 408 "), "{said:?}");
    let mut conn = stand.door().connect().await.unwrap();
    conn.ask(&Ask::get("/")).await.unwrap();
    conn.closed().await.unwrap();
    let mut conn = stand.door().h2().connect().await.unwrap();
    conn.ask(&Ask::get("/")).await.unwrap();
    conn.closed().await.unwrap();
    assert!(conn.over(), "GOAWAY before the end");
    crowd.stop().await.assert_unnoticed();
}

/// Also those that wait already, without another request.
#[tokio::test]
async fn a_changed_idle_timeout_reaches_who_is_idle() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let protocols = json!({ "listeners": { "tls": { "protocols": ["h3", "h2", "http/1.1"] } } });
    stand.apply(protocols).await;
    let idle = |idle: &str| {
        let timeouts = json!({ "timeouts": { "idle": idle } });
        json!({ "listeners": { "clear": timeouts, "tls": timeouts } })
    };
    let doors =
        [stand.door(), stand.door().h2(), stand.tls_door(), stand.tls_door().h2(), stand.tls_door().h3()];
    let open = async || {
        let mut open = Vec::new();
        for door in &doors {
            let mut conn = door.connect().await.unwrap();
            assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
            open.push(conn);
        }
        open
    };
    stand.apply(idle("1h")).await;
    let conns = open().await;
    // One that has said nothing so far.
    let (mut silent, _) = stand.door().dial().await.unwrap();
    stand.apply(idle("200ms")).await;
    for mut conn in conns {
        conn.closed().await.unwrap();
    }
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);

    stand.apply(idle("2s")).await;
    let conns = open().await;
    stand.apply(idle("1h")).await;
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    for mut conn in conns {
        assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200, "longer, too");
    }
    crowd.stop().await.assert_unnoticed();
}
