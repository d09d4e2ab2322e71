//! A request over HTTP/3 is what it is over the other versions.

use evergate_testkit::{Ask, Failure, rng};
use serde_json::json;

use crate::{door, stand};

#[tokio::test]
async fn a_request_says_where_it_came_from() {
    let stand = stand(json!({})).await;
    let answer = door(&stand).ask(&Ask::get("/a?b=c").field("cookie", "x=1").field("cookie", "y=2")).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.fields.get("alt-svc")), (200, None));
    assert!(answer.fields.get("x-request-id").is_some());
    let echo = answer.json();
    assert_eq!(echo["target"], "/a?b=c");
    let fields = &echo["fields"];
    assert_eq!(fields["x-forwarded-proto"], json!(["https"]));
    assert_eq!(fields["x-forwarded-for"], json!(["127.0.0.1"]));
    assert_eq!(fields["host"], json!(["test.local"]));
    assert_eq!(fields["cookie"], json!(["x=1; y=2"]));
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways() {
    let stand = stand(json!({})).await;
    let mut conn = door(&stand).connect().await.unwrap();
    for size in [0, 1, 100_000, 5_000_000] {
        let body = rng::noise(size);
        let answer = conn.ask(&Ask::post("/", body.clone()).field("x-do", "return")).await.unwrap();
        assert_eq!((answer.body.len(), rng::hash(&answer.body)), (size, rng::hash(&body)));
    }
    let ask = Ask::post("/", "x").trailer("x-sum", "1").field("x-do", "trailers").field("te", "trailers");
    let answer = conn.ask(&ask).await.unwrap();
    assert_eq!(answer.json()["trailers"]["x-sum"], "1", "{}", answer.text());
    assert!(!answer.trailers.0.is_empty());
    let told = conn.ask(&Ask::post("/", "four").field("content-length", "4")).await.unwrap();
    assert_eq!(told.json()["body_length"], 4);
    let head = conn.ask(&Ask::get("/").method("HEAD").field("x-do", "bytes 1000")).await.unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    let hints = conn.ask(&Ask::get("/").field("x-do", "hints")).await.unwrap();
    assert_eq!((hints.early[0].0, hints.status), (103, 200));
}

#[tokio::test]
async fn events_arrive_as_they_are_made() {
    let stand = stand(json!({})).await;
    let conn = door(&stand).connect().await.unwrap();
    let mut coming = conn.begin(&Ask::get("/").field("x-do", "events")).await.unwrap();
    for _ in 0..2 {
        assert!(coming.piece().await.unwrap().is_some());
        stand.v1.release();
    }
    assert!(coming.piece().await.unwrap().is_some());
    assert_eq!(coming.piece().await.unwrap(), None);
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let stand = stand(json!({})).await;
    let conn = door(&stand).connect().await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..500 {
        let mut twin = conn.twin().unwrap();
        asking.spawn(async move {
            let answer = twin.ask(&Ask::post(&format!("/{n}"), rng::noise(n))).await.unwrap();
            assert_eq!(answer.json()["body_length"], n);
            assert_eq!(answer.json()["target"], format!("/{n}"));
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    assert_eq!(stand.gate.metric("gateway_active_requests").await, Some(0.0));
}

#[tokio::test]
async fn limits_and_timeouts_are_those_of_the_listener() {
    let mut stand = stand(json!({ "listeners": { "tls": {
        "limits": { "headers": 10, "body": 1000, "connections": 2 },
        "timeouts": { "body": "200ms" },
    } } }))
    .await;
    let mut conn = door(&stand).connect().await.unwrap();
    let many = (0..11).fold(Ask::get("/"), |ask, n| ask.field(&format!("x-{n}"), "1"));
    assert_eq!(conn.ask(&many).await.unwrap().status, 431);
    assert_eq!(conn.ask(&Ask::post("/", rng::noise(1001))).await.unwrap().status, 413);
    assert_eq!(conn.ask(&Ask::post("/", rng::noise(1000))).await.unwrap().status, 200);
    let second = door(&stand).connect().await.unwrap();
    assert!(matches!(door(&stand).connect().await.err(), Some(Failure::Refused(_))));
    drop(second);
    // A client that takes nothing is cut off, and the others go on.
    let stalled = conn.twin().unwrap().begin(&Ask::get("/").field("x-do", "bytes 20000000")).await.unwrap();
    stand
        .gate
        .until("it is cut off", async || stand.gate.metric("gateway_active_requests").await == Some(0.0))
        .await;
    drop(stalled);
    assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);

    stand.apply(json!({ "listeners": { "tls": { "limits": { "body": 10, "connections": null } } } })).await;
    assert_eq!(conn.ask(&Ask::post("/", rng::noise(1000))).await.unwrap().status, 413);
    assert!(door(&stand).connect().await.is_ok());
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_requests_along() {
    let stand = stand(json!({})).await;
    let before = stand.v1.requests();
    let conn = door(&stand).connect().await.unwrap();
    let coming = conn.begin(&Ask::get("/").field("x-do", "events")).await.unwrap();
    stand.gate.until("it is under way", async || stand.v1.requests() > before).await;
    drop(coming);
    stand
        .gate
        .until("nothing is under way", async || {
            stand.gate.metric("gateway_active_requests").await == Some(0.0)
        })
        .await;
}
