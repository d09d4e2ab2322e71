//! What becomes of connections whose listener is removed, and of those beside them.

use evergate_testkit::{Ask, Conn, Door, Stand, ports, ws::Socket};
use serde_json::json;

use crate::BIN;

/// A stand with one more listener, which goes away.
async fn with_leaving() -> (Stand, Door) {
    let address = ports::free();
    let stand = Stand::with(
        BIN,
        json!({
            "listeners": { "leaving": { "address": address } },
            "routes": { "leaving": { "listeners": ["leaving"], "match": { "path": "/" }, "forward": "v1" } },
        }),
    )
    .await;
    (stand, Door::clear(address))
}

async fn leave(stand: &mut Stand) {
    stand.apply(json!({ "listeners": { "leaving": null }, "routes": { "leaving": null } })).await;
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_connections_closed_politely() {
    let (mut stand, door) = with_leaving().await;
    let crowd = stand.bystanders().await;
    let others = stand.crowd().await;
    let hold = Ask::get("/held").field("x-do", "hold");
    let mut asking = Vec::new();
    for door in [door.clone(), door.clone().h2()] {
        let mut conn = door.connect().await.unwrap();
        conn.ask(&Ask::get("/")).await.unwrap();
        let hold = hold.clone();
        asking.push(tokio::spawn(async move { (conn.ask(&hold).await, conn) }));
    }
    let mut held = 0;
    while held < 2 {
        tokio::task::yield_now().await;
        held += stand.v1.take_seen().iter().filter(|s| s["target"] == "/held").count();
    }
    leave(&mut stand).await;
    stand.v1.release();
    for task in asking {
        let (answer, mut conn) = task.await.unwrap();
        assert_eq!(answer.unwrap().status, 200);
        assert!(conn.over(), "`Connection: close` or GOAWAY");
        conn.closed().await.unwrap();
    }
    others.stop().await.assert_unnoticed();
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn idle_connections_are_closed_without_losing_a_request() {
    let (mut stand, door) = with_leaving().await;
    let mut idle: Vec<Conn> = Vec::new();
    for door in [door.clone(), door.clone().h2()] {
        let mut conn = door.connect().await.unwrap();
        conn.ask(&Ask::get("/")).await.unwrap();
        idle.push(conn);
    }
    leave(&mut stand).await;
    for mut conn in idle {
        conn.closed().await.unwrap();
    }
    stand.gate.until("only one generation", async || stand.gate.generations().await == 1).await;
}

#[tokio::test]
async fn a_websocket_notices_neither_other_routes_nor_limits_nor_workers() {
    let mut stand = Stand::new(BIN).await;
    let mut sockets = Vec::new();
    for door in [stand.door(), stand.tls_door(), stand.door(), stand.tls_door()] {
        sockets.push(Socket::open(&door, "test.local", "/socket").await.unwrap());
    }
    let patches = [
        json!({ "routes": { "other": { "match": { "path": "/other" }, "respond": { "body": "new" } } } }),
        json!({ "listeners": { "clear": { "limits": { "headers": 50 } }, "tls": { "timeouts": { "idle": "10s" } } } }),
        json!({ "workers": 4 }),
        json!({ "workers": 1 }),
        json!({ "upstreams": { "v1": { "balance": "p2c", "pool": { "idle": 1 } } } }),
        json!({ "routes": { "all": { "timeout": "1s" } } }),
        json!({ "log": { "level": "debug" } }),
        json!({ "listeners": { "quiet": null }, "routes": { "quiet": null }, "upstreams": { "quiet": null } }),
    ];
    for patch in patches {
        stand.apply(patch.clone()).await;
        for socket in &mut sockets {
            socket.echo(&patch.to_string()).await.unwrap_or_else(|e| panic!("{patch}: {e}"));
        }
    }
    stand.gate.settle().await;
    for socket in sockets {
        socket.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_sees_one_revision_to_its_end() {
    let mut stand = Stand::with(
        BIN,
        json!({ "routes": { "all": { "headers": { "response": { "set": { "x-rev": "1" } } } } } }),
    )
    .await;
    let mut asking = Vec::new();
    for door in stand.doors() {
        let hold = Ask::get("/held").field("x-do", "hold");
        asking.push(tokio::spawn(async move { door.ask(&hold).await }));
    }
    while stand.v1.requests() < 4 {
        tokio::task::yield_now().await;
    }
    stand.apply(json!({
        "routes": { "all": { "headers": { "response": { "set": { "x-rev": "2" } } }, "forward": null, "respond": { "body": "new" } } },
        "upstreams": { "v1": null },
    }))
    .await;
    assert_eq!(stand.door().ask(&Ask::get("/")).await.unwrap().fields.get("x-rev"), Some("2"));
    assert!(stand.gate.generations().await > 1, "what is held is counted");
    stand.v1.release();
    for task in asking {
        let answer = task.await.unwrap().unwrap();
        assert_eq!((answer.status, answer.fields.get("x-rev")), (200, Some("1")));
    }
    stand.gate.settle().await;
}

#[tokio::test]
async fn a_stopped_gateway_finishes_what_it_began() {
    let mut stand = Stand::new(BIN).await;
    let mut asking = Vec::new();
    for door in stand.doors() {
        let hold = Ask::get("/held").field("x-do", "hold");
        asking.push(tokio::spawn(async move { door.ask(&hold).await }));
    }
    while stand.v1.requests() < 4 {
        tokio::task::yield_now().await;
    }
    stand.gate.signal(evergate_testkit::process::Signal::Terminate);
    let door = stand.door();
    stand.gate.until("nobody listens", async || door.connect().await.is_err()).await;
    stand.v1.release();
    for task in asking {
        assert_eq!(task.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(stand.gate.ended().await, Some(0));
}
