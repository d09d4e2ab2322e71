//! State follows identity (law 7): what was learnt about an endpoint outlives every change but its own.

use evergate_testkit::{Ask, Stand};
use serde_json::{Value, json};

use crate::BIN;

#[tokio::test]
async fn a_changed_interval_keeps_the_verdicts() {
    let mut stand = Stand::made(BIN, |v1, v2| {
        let health =
            json!({ "path": "/health", "interval": "20ms", "timeout": "1s", "healthy": 1, "unhealthy": 1 });
        json!({ "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()], "health": health } } })
    })
    .await;
    stand.v2.health(500);
    let unhealthy =
        async |stand: &Stand| stand.gate.get("/upstreams").await.to_string().contains("\"unhealthy\"");
    stand.gate.until("the sick one is seen", async || unhealthy(&stand).await).await;
    // From now on nobody would find out for a long time.
    for patch in [
        json!({ "upstreams": { "v1": { "health": { "interval": "600s" } } } }),
        json!({ "upstreams": { "v1": { "health": { "timeout": "2s" }, "balance": "p2c" } } }),
        json!({ "routes": { "all": { "match": { "path": "/" } } }, "workers": 3 }),
    ] {
        stand.apply(patch).await;
        assert!(unhealthy(&stand).await);
        let before = stand.v2.requests();
        for _ in 0..10 {
            assert_eq!(stand.door().ask(&Ask::get("/")).await.unwrap().status, 200);
        }
        assert_eq!(stand.v2.requests(), before);
    }
}

#[tokio::test]
async fn a_moved_route_keeps_the_pool() {
    let mut stand = Stand::with(BIN, json!({ "workers": 1 })).await;
    let mut conn = stand.door().connect().await.unwrap();
    conn.ask(&Ask::get("/")).await.unwrap();
    let before = stand.v1.connections();
    for patch in [
        json!({ "routes": { "all": null, "renamed": { "listeners": ["clear", "tls"], "match": { "path": "/" }, "forward": "v1" } } }),
        json!({ "upstreams": { "v1": { "balance": "random", "timeouts": { "response": "9s" } } } }),
        json!({ "upstreams": { "v1": { "health": { "interval": "600s" } } } }),
        json!({ "listeners": { "clear": { "limits": { "headers": 90 } } } }),
    ] {
        stand.apply(patch.clone()).await;
        assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
        // A health check by TCP is a connection of its own.
        let checks = usize::from(!stand.document["upstreams"]["v1"]["health"].is_null());
        assert!(stand.v1.connections() <= before + checks, "{patch}: the pool was lost");
    }
}

#[tokio::test]
async fn an_endpoint_set_aside_stays_so() {
    let mut stand = Stand::made(BIN, |v1, v2| {
        let ejection = json!({ "failures": 2, "duration": "600s", "max_percent": 50 });
        json!({ "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()], "ejection": ejection } } })
    })
    .await;
    for _ in 0..20 {
        let _ = stand.door().ask(&Ask::get("/").field("x-do", "status 503")).await;
    }
    let aside = async |stand: &Stand| -> Vec<Value> {
        let all = stand.gate.get("/upstreams").await;
        let endpoints = all["upstreams"].as_array().into_iter().flatten().filter(|u| u["name"] == "v1");
        endpoints
            .flat_map(|u| u["endpoints"].as_array().cloned().unwrap_or_default())
            .filter(|e| e["ejected"] == true)
            .map(|e| e["url"].clone())
            .collect()
    };
    stand.gate.until("one is set aside", async || aside(&stand).await.len() == 1).await;
    let before = aside(&stand).await;
    stand
        .apply(json!({ "upstreams": { "v1": { "balance": "p2c", "ejection": { "duration": "500s" } } } }))
        .await;
    assert_eq!(aside(&stand).await, before);
}

#[tokio::test]
async fn counters_and_balance_go_on() {
    let mut stand = Stand::made(
        BIN,
        |v1, v2| json!({ "workers": 1, "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()] } } }),
    )
    .await;
    let mut conn = stand.door().connect().await.unwrap();
    let mut order = Vec::new();
    for turn in 0..10 {
        let answer = conn.ask(&Ask::get("/")).await.unwrap();
        order.push(answer.fields.get("x-backend").unwrap_or_default().to_owned());
        stand.apply(json!({ "routes": { "all": { "timeout": format!("{}s", 20 + turn) } } })).await;
    }
    assert!(order.windows(2).all(|w| w[0] != w[1]), "a change starts the turn anew: {order:?}");
    let requests = stand.gate.status().await["traffic"]["requests"].as_u64();
    assert!(requests >= Some(10), "{requests:?}");
}
