//! Every field of an upstream, changed under load.

use evergate_testkit::{Answer, Ask, Backend, Door, Failure, Stand, backend::Silent};
use serde_json::{Value, json};

use crate::BIN;

async fn by(door: &Door) -> Result<String, Failure> {
    let answer = door.ask(&Ask::get("/")).await?;
    Ok(answer.fields.get("x-backend").map_or(format!("status {}", answer.status), str::to_owned))
}

#[expect(clippy::needless_pass_by_value, reason = "always given what `json!` just made")]
fn v1(patch: Value) -> Value {
    json!({ "upstreams": { "v1": patch } })
}

#[tokio::test]
async fn endpoints_and_weights() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let (a, b) = (stand.v1.url(), stand.v2.url());
    assert_eq!(by(&stand.door()).await.unwrap(), "v1");
    stand.apply(v1(json!({ "endpoints": [b] }))).await;
    assert_eq!(by(&stand.door()).await.unwrap(), "v2");
    stand.apply(v1(json!({ "endpoints": [{ "url": a, "weight": 1 }, { "url": b, "weight": 0 }] }))).await;
    assert_eq!(by(&stand.door()).await.unwrap(), "v1");
    stand.apply(v1(json!({ "endpoints": [{ "url": a, "weight": 0 }, { "url": b, "weight": 1 }] }))).await;
    assert_eq!(by(&stand.door()).await.unwrap(), "v2");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn every_balance() {
    let mut stand =
        Stand::made(BIN, |v1, v2| json!({ "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()] } } }))
            .await;
    let crowd = stand.crowd().await;
    for balance in ["least_requests", "p2c", "random", "round_robin"] {
        stand.apply(v1(json!({ "balance": balance }))).await;
        let before = (stand.v1.requests(), stand.v2.requests());
        crowd.more(200).await;
        let (one, two) = (stand.v1.requests() - before.0, stand.v2.requests() - before.1);
        assert!(one > 20 && two > 20, "{balance}: {one} and {two}");
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn who_counts_requests_spares_the_busy_one() {
    let mut stand = Stand::made(
        BIN,
        |v1, v2| json!({ "workers": 1, "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()] } } }),
    )
    .await;
    for balance in ["least_requests", "p2c"] {
        stand.apply(v1(json!({ "balance": balance }))).await;
        let before = (stand.v1.requests(), stand.v2.requests());
        let door = stand.door();
        let held = tokio::spawn(async move { door.ask(&Ask::get("/").field("x-do", "hold")).await });
        let came = async || (stand.v1.requests(), stand.v2.requests()) != before;
        stand.gate.until("it is there", came).await;
        let free = if stand.v1.requests() > before.0 { "v2" } else { "v1" };
        for _ in 0..20 {
            assert_eq!(by(&stand.door()).await.unwrap(), free, "{balance}");
        }
        stand.v1.release();
        stand.v2.release();
        assert_eq!(held.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test]
async fn protocol() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let version =
        async |stand: &Stand| stand.door().ask(&Ask::get("/")).await.unwrap().json()["version"].clone();
    for (protocol, want) in
        [("auto", "HTTP/1.1"), ("h2", "HTTP/2"), ("http/1.1", "HTTP/1.1"), ("h2", "HTTP/2")]
    {
        stand.apply(v1(json!({ "protocol": protocol }))).await;
        assert_eq!(version(&stand).await, want, "{protocol}");
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn tls_to_endpoints() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let ours = stand.authority.leaf(&["inner.test"]);
    let secret = Backend::start_tls("secret", ours.server(&["h2", "http/1.1"])).await;
    let picky = Backend::start_tls("picky", ours.server_for(&stand.authority)).await;
    std::fs::write(stand.path().join("ca.pem"), stand.authority.pem()).unwrap();
    let other = evergate_testkit::Authority::new();
    std::fs::write(stand.path().join("other.pem"), other.pem()).unwrap();
    let door = stand.door();
    let status =
        async || door.ask(&Ask::get("/")).await.map(|a: Answer| (a.status, a.json()["version"].clone()));
    let ok = |version: &str| Ok((200, json!(version)));
    let failed = Ok((502, Value::Null));

    stand.apply(v1(json!({ "endpoints": [secret.url()], "tls": { "ca": "ca.pem" } }))).await;
    assert_eq!(status().await, failed, "the name does not fit");
    stand.apply(v1(json!({ "tls": { "server_name": "inner.test" } }))).await;
    assert_eq!(status().await, ok("HTTP/2"), "by ALPN");
    stand.apply(v1(json!({ "protocol": "http/1.1" }))).await;
    assert_eq!(status().await, ok("HTTP/1.1"));
    stand.apply(v1(json!({ "tls": { "ca": "other.pem" } }))).await;
    assert_eq!(status().await, failed, "an authority that did not sign it");
    stand.apply(v1(json!({ "tls": { "ca": null, "insecure_skip_verify": true } }))).await;
    assert_eq!(status().await, ok("HTTP/1.1"));
    stand.apply(v1(json!({ "tls": { "ca": "ca.pem", "insecure_skip_verify": false } }))).await;
    assert_eq!(status().await, ok("HTTP/1.1"));
    // The file of the authority is watched.
    std::fs::write(stand.path().join("ca.pem"), other.pem()).unwrap();
    stand.gate.until("not trusted any more", async || status().await == failed).await;
    std::fs::write(stand.path().join("ca.pem"), stand.authority.pem()).unwrap();
    stand.gate.until("trusted again", async || status().await == ok("HTTP/1.1")).await;

    stand.apply(v1(json!({ "endpoints": [picky.url()] }))).await;
    assert_eq!(status().await.unwrap().0, 502, "no certificate of our own");
    stand.apply(v1(json!({ "tls": { "certificate": "leaf" } }))).await;
    assert_eq!(status().await, ok("HTTP/1.1"));
    stand.apply(v1(json!({ "endpoints": [stand.v1.url()], "tls": null }))).await;
    assert_eq!(by(&stand.door()).await.unwrap(), "v1");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn health_is_added_changed_and_removed() {
    let mut stand =
        Stand::made(BIN, |v1, v2| json!({ "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()] } } }))
            .await;
    let crowd = stand.crowd().await;
    let health =
        json!({ "path": "/health", "interval": "20ms", "timeout": "1s", "healthy": 1, "unhealthy": 1 });
    stand.v2.health(500);
    stand.apply(v1(json!({ "health": health }))).await;
    let of = async |stand: &Stand| {
        let all = stand.gate.get("/upstreams").await;
        let upstream =
            all["upstreams"].as_array().unwrap().iter().find(|u| u["name"] == "v1").unwrap().clone();
        let endpoint = |url: String| {
            upstream["endpoints"]
                .as_array()
                .unwrap()
                .iter()
                .find(|e| e["url"].as_str().unwrap().trim_end_matches('/') == url)
                .unwrap()["health"]
                .clone()
        };
        [endpoint(stand.v1.url()), endpoint(stand.v2.url())]
    };
    stand.gate.until("the sick one is seen", async || of(&stand).await == ["healthy", "unhealthy"]).await;
    // Those that were on their way to it come in first.
    crowd.more(100).await;
    let before = stand.v2.requests();
    crowd.more(100).await;
    assert_eq!(stand.v2.requests(), before, "no requests to the sick one");
    // Another path that it answers well.
    stand.apply(v1(json!({ "health": { "path": "/well" } }))).await;
    stand.gate.until("it is well", async || of(&stand).await == ["healthy", "healthy"]).await;
    crowd.more(100).await;
    assert!(stand.v2.requests() > before);
    stand.v2.health(500);
    stand.apply(v1(json!({ "health": { "path": "/health" } }))).await;
    stand.gate.until("it is sick again", async || of(&stand).await[1] == "unhealthy").await;
    stand.apply(v1(json!({ "health": null }))).await;
    let before = stand.v2.requests();
    crowd.more(100).await;
    assert!(stand.v2.requests() > before, "without checks all are taken to live");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn ejection_is_added_and_removed() {
    let mut stand =
        Stand::made(BIN, |v1, v2| json!({ "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()] } } }))
            .await;
    let crowd = stand.bystanders().await;
    let door = stand.door();
    // `v2` answers 503 to whoever says so; `v1` does too, but not so often in a row.
    let fail = async || {
        door.ask(&Ask::get("/").field("x-do", "status 503"))
            .await
            .unwrap()
            .fields
            .get("x-backend")
            .map(str::to_owned)
    };
    stand.apply(v1(json!({ "ejection": { "failures": 2, "duration": "60s", "max_percent": 50 } }))).await;
    for _ in 0..40 {
        fail().await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10 {
        seen.insert(by(&stand.door()).await.unwrap());
    }
    assert_eq!(seen.len(), 1, "one is set aside, and never more than half: {seen:?}");
    stand.apply(v1(json!({ "ejection": null }))).await;
    for _ in 0..10 {
        seen.insert(by(&stand.door()).await.unwrap());
    }
    assert_eq!(seen.len(), 2, "nobody is set aside any more: {seen:?}");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn timeouts() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let door = stand.door();
    let status = async |act: &str| door.ask(&Ask::get("/").field("x-do", act)).await.map(|a| a.status);
    assert_eq!(status("slow 150").await, Ok(200));
    stand.apply(v1(json!({ "timeouts": { "response": "50ms" } }))).await;
    assert_eq!(status("slow 5000").await, Ok(504));
    stand.apply(v1(json!({ "timeouts": { "response": "10s", "body": "50ms" } }))).await;
    assert_eq!(status("slow 150").await, Ok(200));
    assert!(status("stall").await.is_err(), "silence within a body ends the answer");
    let silent = Silent::start().await;
    stand.apply(v1(json!({ "endpoints": [format!("http://{}", silent.address)], "timeouts": { "connect": "100ms" }, "retries": { "connect": 0 } }))).await;
    assert_eq!(status("echo").await, Ok(504));
    // What is idle would be kept for a minute.
    stand.apply(v1(json!({ "endpoints": [stand.v2.url()] }))).await;
    assert_eq!(status("echo").await, Ok(200));
    assert_eq!(stand.v2.open_connections(), 1);
    stand.apply(v1(json!({ "timeouts": { "idle": "50ms" } }))).await;
    assert_eq!(status("echo").await, Ok(200));
    stand.gate.until("idle connections are closed", async || stand.v2.open_connections() == 0).await;
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn pool_and_retries() {
    // An endpoint of its own: the bystanders' connections are not counted.
    let mut stand =
        Stand::made(BIN, |_, v2| json!({ "workers": 1, "upstreams": { "v1": { "endpoints": [v2.url()] } } }))
            .await;
    let crowd = stand.bystanders().await;
    let mut conn = stand.door().connect().await.unwrap();
    conn.ask(&Ask::get("/")).await.unwrap();
    let before = stand.v2.connections();
    for _ in 0..10 {
        conn.ask(&Ask::get("/")).await.unwrap();
    }
    assert_eq!(stand.v2.connections(), before, "one connection is kept");
    stand.apply(v1(json!({ "pool": { "idle": 0 } }))).await;
    conn.ask(&Ask::get("/")).await.unwrap();
    let before = stand.v2.connections();
    for _ in 0..10 {
        conn.ask(&Ask::get("/")).await.unwrap();
    }
    assert_eq!(stand.v2.connections(), before + 10, "none is kept");

    let dead = format!("http://{}", evergate_testkit::ports::free());
    stand.apply(v1(json!({ "endpoints": [dead, stand.v2.url()], "retries": { "connect": 0 } }))).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(conn.ask(&Ask::get("/")).await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    stand.apply(v1(json!({ "retries": { "connect": 1 } }))).await;
    for _ in 0..4 {
        assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
    }
    crowd.stop().await.assert_unnoticed();
}
