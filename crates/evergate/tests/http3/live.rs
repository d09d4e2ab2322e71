//! What changes while connections live: what is meant changes, and no connection ends that need not.

use std::{net::UdpSocket, time::Duration};

use evergate_testkit::{
    Ask, Conn, Crowd, Failure, Stand, load::Client, load::Manner, ports, process::Signal,
};
use serde_json::{Value, json};

use crate::{alt_svc, door, stand, status};

const ALL: [&str; 3] = ["h3", "h2", "http/1.1"];

fn protocols(list: &[&str]) -> Value {
    json!({ "listeners": { "tls": { "protocols": list } } })
}

/// Clients over HTTP/3, who must not notice anything.
fn crowd(stand: &Stand) -> Crowd {
    let client = |manner| Client {
        pause: Duration::from_millis(3),
        ..Client::new(door(stand), manner, Ask::get("/"))
    };
    Crowd::start([Manner::KeepAlive, Manner::KeepAlive, Manner::KeepAlive, Manner::PerRequest].map(client))
}

/// A request that is under way until the backend is told to go on.
async fn held(stand: &Stand, mut conn: Conn) -> tokio::task::JoinHandle<Result<u16, Failure>> {
    let before = stand.v1.requests();
    let ask = Ask::get("/").field("x-do", "hold");
    let held = tokio::spawn(async move { conn.ask(&ask).await.map(|a| a.status) });
    stand.gate.until("it is under way", async || stand.v1.requests() > before).await;
    held
}

#[tokio::test]
async fn it_is_switched_off_and_on() {
    let mut stand = stand(json!({})).await;
    let bystanders = stand.bystanders().await;
    let mut kept_by_tcp = stand.tls_door().connect().await.unwrap();
    let address = stand.tls;
    for _ in 0..3 {
        assert_eq!(alt_svc(&stand).await, Some(format!("h3=\":{}\"; ma=86400", address.port())));
        let mut conn = door(&stand).connect().await.unwrap();
        assert_eq!(status(&mut conn).await, 200);
        let under_way = held(&stand, conn.twin().unwrap()).await;

        stand.apply(protocols(&ALL[1..])).await;
        assert_eq!(alt_svc(&stand).await, None);
        let answer = kept_by_tcp.ask(&Ask::get("/")).await.unwrap();
        assert_eq!((answer.status, answer.fields.get("alt-svc")), (200, None));
        stand.gate.until("it is told to go", async || conn.over()).await;
        assert!(matches!(door(&stand).connect().await.err(), Some(Failure::Refused(_))));
        stand.v1.release();
        assert_eq!(under_way.await.unwrap(), Ok(200));
        conn.closed().await.unwrap();
        stand.gate.until("the socket is closed", async || UdpSocket::bind(address).is_ok()).await;

        stand.apply(protocols(&ALL)).await;
        assert!(kept_by_tcp.ask(&Ask::get("/")).await.unwrap().fields.get("alt-svc").is_some());
    }
    // On again while the last connection finishes what it does: by the same socket.
    let under_way = held(&stand, door(&stand).connect().await.unwrap()).await;
    stand.apply(protocols(&ALL[1..])).await;
    stand.apply(protocols(&ALL)).await;
    let mut conn = door(&stand).connect().await.unwrap();
    assert_eq!(status(&mut conn).await, 200);
    stand.v1.release();
    assert_eq!(under_way.await.unwrap(), Ok(200));
    assert_eq!((status(&mut conn).await, conn.over(), kept_by_tcp.over()), (200, false, false));
    bystanders.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn connections_go_on_while_the_document_changes() {
    let mut stand = stand(json!({})).await;
    let crowd = crowd(&stand);
    let mut conn = door(&stand).connect().await.unwrap();
    let ask = Ask::get("/").field("x-do", "events");
    let mut events = conn.twin().unwrap().begin(&ask).await.unwrap();
    assert!(events.piece().await.unwrap().is_some());
    stand.gate.churn(Duration::from_millis(3));
    crowd.more(300).await;
    for workers in [4, 1, 3, 1, 2] {
        stand.apply(json!({ "workers": workers })).await;
        assert_eq!(status(&mut conn).await, 200);
        crowd.more(50).await;
    }
    let changes = [
        json!({ "listeners": { "tls": { "http3": { "streams": 50 } } } }),
        json!({ "listeners": { "tls": { "limits": { "headers": 50 } } } }),
        json!({ "listeners": { "tls": { "tls": { "min_version": "1.3" } } } }),
        json!({ "listeners": { "other": { "address": ports::free() } } }),
        json!({ "listeners": { "other": null } }),
    ];
    for change in changes {
        stand.apply(change).await;
        assert_eq!(status(&mut conn).await, 200);
        crowd.more(50).await;
    }
    assert!(!conn.over());
    for _ in 0..2 {
        stand.v1.release();
        assert!(events.piece().await.unwrap().is_some());
    }
    assert_eq!(events.piece().await.unwrap(), None);
    assert!(stand.gate.calm().await > 10);
    crowd.stop().await.assert_unnoticed();
    stand.gate.settle().await;
}

#[tokio::test]
async fn a_certificate_is_replaced() {
    let stand = stand(json!({})).await;
    let crowd = crowd(&stand);
    let mut kept = door(&stand).connect().await.unwrap();
    for _ in 0..3 {
        let leaf = stand.authority.leaf(&["test.local"]);
        leaf.write(stand.path(), "leaf");
        let shown = async || door(&stand).shown().await == Ok(leaf.der.to_vec());
        stand.gate.until("the new certificate", shown).await;
        assert_eq!(status(&mut kept).await, 200);
    }
    assert!(!kept.over());
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_removed_listener_finishes_its_requests() {
    let all = json!({ "routes": { "all": { "listeners": null } } });
    let mut stand = stand(all).await;
    let bystanders = stand.bystanders().await;
    let (address, spec) = (stand.tls, stand.document["listeners"]["tls"].clone());
    for _ in 0..2 {
        let conn = door(&stand).connect().await.unwrap();
        let mut idle = door(&stand).connect().await.unwrap();
        assert_eq!(status(&mut idle).await, 200);
        let under_way = held(&stand, conn).await;
        stand.apply(json!({ "listeners": { "tls": null } })).await;
        idle.closed().await.unwrap();
        assert!(idle.over(), "it was told to go");
        stand.v1.release();
        assert_eq!(under_way.await.unwrap(), Ok(200));
        stand.gate.until("the socket is closed", async || UdpSocket::bind(address).is_ok()).await;
        stand.apply(json!({ "listeners": { "tls": spec } })).await;
        assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
    }
    bystanders.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_listener_moves_and_is_renamed() {
    let mut stand = stand(json!({ "routes": { "all": { "listeners": null } } })).await;
    let old = door(&stand);
    let mut conn = old.connect().await.unwrap();
    let under_way = held(&stand, conn.twin().unwrap()).await;
    stand.tls = ports::free();
    stand.apply(json!({ "listeners": { "tls": { "address": stand.tls } } })).await;
    assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
    stand.gate.until("it is told to go", async || conn.over()).await;
    stand.v1.release();
    assert_eq!(under_way.await.unwrap(), Ok(200));
    conn.closed().await.unwrap();

    // Another name at the same address: the same socket goes on.
    let mut conn = door(&stand).connect().await.unwrap();
    let under_way = held(&stand, conn.twin().unwrap()).await;
    let spec = stand.document["listeners"]["tls"].clone();
    stand.apply(json!({ "listeners": { "tls": null, "renamed": spec } })).await;
    assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
    stand.gate.until("it is told to go", async || conn.over()).await;
    stand.v1.release();
    assert_eq!(under_way.await.unwrap(), Ok(200));
    conn.closed().await.unwrap();
}

#[tokio::test]
async fn a_stop_waits_for_requests() {
    let mut stand = stand(json!({})).await;
    let mut idle = door(&stand).connect().await.unwrap();
    assert_eq!(status(&mut idle).await, 200);
    let under_way = held(&stand, door(&stand).connect().await.unwrap()).await;
    stand.gate.signal(Signal::Terminate);
    idle.closed().await.unwrap();
    assert!(idle.over(), "it was told to go");
    stand.v1.release();
    assert_eq!(under_way.await.unwrap(), Ok(200));
    assert_eq!(stand.gate.ended().await, Some(0));
}

#[tokio::test]
async fn a_udp_address_in_use_refuses_the_change() {
    let mut stand = Stand::new(crate::BIN).await;
    let taken = UdpSocket::bind(stand.tls).unwrap();
    let crowd = stand.crowd().await;
    let verdict = stand.refused(protocols(&ALL)).await;
    let message = verdict["report"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("UDP") && message.contains(&stand.tls.to_string()), "{verdict:#}");
    drop(taken);
    stand.apply(protocols(&ALL)).await;
    assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
    crowd.stop().await.assert_unnoticed();
}
