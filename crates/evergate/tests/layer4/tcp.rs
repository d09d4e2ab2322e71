//! `tcp` of a listener: what it does, and each of its fields changed live.

use std::time::{Duration, Instant};

use evergate_testkit::{
    Ask, Backend, Crowd, Door, Echo, Failure, Manner, Talk, backend::Silent, load::Client, ports,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::stand::Stand;

fn cut(result: &Result<(), Failure>) -> bool {
    matches!(result, Err(Failure::Reset(_) | Failure::Cut(_)))
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    let stand = Stand::new().await;
    let all: Vec<u8> = (0..5_000_000_u32).map(|n| (n * 7 + n / 256) as u8).collect();
    let talk = stand.open().await.unwrap();
    assert_eq!(talk.name, "a");
    let heard = talk.rest(&all).await.unwrap();
    assert!(heard == all, "{} of {} bytes", heard.len(), all.len());
    let metric = async |name: &str| stand.gate.metric(name).await.unwrap();
    stand
        .gate
        .until("it is counted", async || {
            metric("gateway_streams_total{listener=\"db\",end=\"whole\"}").await == 1.0
        })
        .await;
    assert_eq!(metric("gateway_stream_received_bytes_total{listener=\"db\"}").await, 5_000_000.0);
    assert_eq!(metric("gateway_stream_sent_bytes_total{listener=\"db\"}").await, 5_000_002.0);
    assert_eq!(stand.a.broken(), 0);
    stand.end().await;
}

/// A client that does not read must not make the gateway keep what comes.
#[tokio::test]
async fn who_does_not_read_is_waited_for() {
    let stand = Stand::new().await;
    let mut talk = stand.open().await.unwrap();
    let before = stand.gate.rss_kib();
    let piece = vec![7; 64 << 10];
    // The kernel's buffers take some; then nothing more goes.
    let mut sent = 0;
    while let Ok(n) = tokio::time::timeout(Duration::from_millis(500), talk.io.write(&piece)).await {
        sent += n.unwrap();
        assert!(sent < 512 << 20, "it is kept somewhere");
    }
    let grown = stand.gate.rss_kib().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more for {sent} bytes");
    drop(talk);
    stand.end().await;
}

#[tokio::test]
async fn streams_live_through_changes_of_everything_else() {
    let mut stand = Stand::new().await;
    let mut streams = Vec::new();
    for turn in 0..40_u32 {
        for _ in 0..3 {
            streams.push(stand.open().await.unwrap());
        }
        let (a, b) = (stand.a.url(), stand.b.url());
        let endpoints = if turn % 3 == 0 { json!([b]) } else { json!([a, b]) };
        let balance = ["round_robin", "least_requests", "p2c", "random"][turn as usize % 4];
        stand
            .apply(json!({
                "workers": 1 + turn % 3,
                "listeners": { "db": {
                    "tcp": { "forward": "a", "idle": format!("{}s", 60 + turn), "connect": format!("{}s", 10 + turn) },
                    "limits": { "connections": 1000 + turn },
                } },
                "upstreams": { "a": { "endpoints": endpoints, "balance": balance } },
                "routes": { "web": { "respond": { "body": format!("{turn}") } } },
            }))
            .await;
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.echo(&format!("turn {turn} of stream {n}")).await.unwrap();
        }
    }
    assert_eq!(stand.a.broken() + stand.b.broken(), 0);
    let names: std::collections::BTreeSet<_> = streams.iter().map(|s| s.name.clone()).collect();
    assert_eq!(names.len(), 2, "both were asked");
    for stream in streams {
        assert_eq!(stream.rest(b"goodbye").await.unwrap(), b"goodbye");
    }
    stand.gate.calm().await;
    stand.gate.settle().await;
    stand.gate.stop().await;
}

#[tokio::test]
async fn forward_changes() {
    let mut stand = Stand::new().await;
    let mut old = stand.open().await.unwrap();
    stand.db(json!({ "tcp": "b" })).await;
    assert_eq!(stand.by().await, "b");
    let to = |a: u32, b: u32| {
        let to = json!([{ "upstream": "a", "weight": a }, { "upstream": "b", "weight": b }]);
        json!({ "tcp": { "forward": { "to": to } } })
    };
    for (a, b, expected) in [(1, 0, "a"), (0, 1, "b")] {
        stand.db(to(a, b)).await;
        for _ in 0..5 {
            assert_eq!(stand.by().await, expected);
        }
    }
    stand.db(to(1, 1)).await;
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..60 {
        *seen.entry(stand.by().await).or_default() += 1;
    }
    assert!(seen.len() == 2 && seen.values().all(|n| *n > 10), "{seen:?}");
    old.echo("still the one that it was").await.unwrap();
    assert_eq!(old.name, "a");
    stand.end().await;
}

#[tokio::test]
async fn idle_changes() {
    let mut stand = Stand::new().await;
    let mut kept = stand.open().await.unwrap();
    stand.db(json!({ "tcp": { "forward": "a", "idle": "300ms" } })).await;
    let mut short = stand.open().await.unwrap();
    // A stream that is used goes on for longer than that.
    let busy = Instant::now();
    while busy.elapsed() < Duration::from_millis(900) {
        short.echo("used").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    short.closed().await.unwrap();
    let ended = "gateway_streams_total{listener=\"db\",end=\"idle\"}";
    stand.gate.until("it is counted", async || stand.gate.metric(ended).await == Some(1.0)).await;
    stand.db(json!({ "tcp": "a" })).await;
    kept.echo("as long as it was said when it began").await.unwrap();
    stand.end().await;
}

#[tokio::test]
async fn the_time_to_connect_changes() {
    let silent = Silent::start().await;
    let url = format!("tcp://{}", silent.address);
    let upstream = json!({ "endpoints": [url], "timeouts": { "connect": "24h" } });
    let mut stand = Stand::with(json!({
        "listeners": { "db": { "tcp": { "forward": "silent", "connect": "50ms" } } },
        "upstreams": { "silent": upstream },
    }))
    .await;
    assert!(cut(&stand.open().await.map(drop)));
    let ended = "gateway_streams_total{listener=\"db\",end=\"unreachable\"}";
    stand.gate.until("it is counted", async || stand.gate.metric(ended).await == Some(1.0)).await;
    stand.db(json!({ "tcp": { "connect": "20h" } })).await;
    let mut waits = Box::pin(stand.open());
    let soon = tokio::time::timeout(Duration::from_millis(500), &mut waits).await;
    assert!(soon.is_err(), "it waits longer now");
    drop(waits);
    // The upstream's own time is for one try.
    stand.apply(json!({ "upstreams": { "silent": { "timeouts": { "connect": "50ms" } } } })).await;
    assert!(cut(&stand.open().await.map(drop)));
    stand.end().await;
}

#[tokio::test]
async fn the_number_of_connections_changes() {
    let mut stand = Stand::new().await;
    let mut kept = stand.open().await.unwrap();
    stand.db(json!({ "limits": { "connections": 1 } })).await;
    assert!(stand.open().await.is_err(), "one is there already");
    kept.echo("it").await.unwrap();
    stand.db(json!({ "limits": { "connections": 2 } })).await;
    assert_eq!(stand.by().await, "a");
    stand.end().await;
}

#[tokio::test]
async fn dead_endpoints_are_passed_over() {
    let mut stand = Stand::new().await;
    let (a, b) = (stand.a.url(), stand.b.url());
    stand.apply(json!({ "upstreams": { "a": { "endpoints": [a, b] } } })).await;
    let mut old = Talk::open(&stand.door()).await.unwrap();
    while old.name != "a" {
        old = Talk::open(&stand.door()).await.unwrap();
    }
    stand.a.stop().await;
    let upstreams = async |stand: &Stand| stand.gate.get("/upstreams").await;
    for _ in 0..10 {
        assert_eq!(stand.by().await, "b", "another endpoint is tried");
    }
    let seen = upstreams(&stand).await;
    assert!(seen.to_string().contains("\"failures\":"), "{seen}");
    stand.apply(json!({ "upstreams": { "a": { "retries": { "connect": 0 } } } })).await;
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(stand.open().await.is_err());
    }
    assert!(failed > 5, "no other one is tried: {failed}");
    stand.apply(json!({ "upstreams": { "a": { "ejection": { "failures": 1, "duration": "1h" } } } })).await;
    stand
        .gate
        .until("it is set aside", async || {
            let _ = stand.open().await;
            upstreams(&stand).await.to_string().contains("\"ejected\":true")
        })
        .await;
    for _ in 0..10 {
        assert_eq!(stand.by().await, "b");
    }
    stand
        .apply(json!({ "upstreams": { "a": { "ejection": null, "health": { "interval": "20ms", "unhealthy": 1 } } } }))
        .await;
    stand.gate.until("it is dead", async || upstreams(&stand).await.to_string().contains("unhealthy")).await;
    for _ in 0..10 {
        assert_eq!(stand.by().await, "b");
    }
    stand.a.open().await;
    stand.gate.until("it is back", async || stand.by().await == "a").await;
    old.echo("nobody told me").await.unwrap();
    stand.end().await;
}

#[tokio::test]
async fn a_removed_endpoint_drains() {
    let mut stand = Stand::new().await;
    let mut old = stand.open().await.unwrap();
    let b = stand.b.url();
    stand.apply(json!({ "upstreams": { "a": { "endpoints": [b] } } })).await;
    assert_eq!(stand.by().await, "b");
    old.echo("goes on").await.unwrap();
    assert_eq!(old.rest(b"until it ends").await.unwrap(), b"until it ends");
    stand.gate.until("it has drained", async || stand.a.open_streams() == 0).await;
    assert_eq!(stand.a.broken(), 0);
    stand.end().await;
}

#[tokio::test]
async fn streams_of_a_removed_listener_go_on() {
    let mut stand = Stand::new().await;
    let mut old = stand.open().await.unwrap();
    let plan =
        stand.gate.call("PATCH", "/config?dry_run=true", &json!({ "listeners": { "db": null } })).await;
    let touches = plan.json()["plan"]["touches"].clone();
    assert_eq!(touches[0]["object"], "listeners.db", "{touches}");
    assert_eq!(touches[0]["effect"], "1 streams go on until they end by themselves");
    let address = stand.address;
    stand.apply(json!({ "listeners": { "db": null } })).await;
    let refused = async || matches!(stand.open().await, Err(Failure::Refused(_)));
    stand.gate.until("nobody listens", refused).await;
    old.echo("still here").await.unwrap();
    let listener = stand.listener("db").await;
    assert_eq!((&listener["draining"], &listener["carries"]), (&json!(true), &json!("tcp")), "{listener}");
    stand.apply(json!({ "listeners": { "db": { "address": address, "tcp": "b" } } })).await;
    assert_eq!(stand.by().await, "b");
    old.echo("and here").await.unwrap();
    drop(old);
    stand.gate.until("it has drained", async || stand.a.open_streams() == 0).await;
    stand.end().await;
}

#[tokio::test]
async fn tls_ends_at_the_listener_or_begins_at_the_endpoint() {
    let mut stand = Stand::new().await;
    let leaf = stand.authority.leaf(&["127.0.0.1"]);
    let secure = Echo::start_tls("secure", leaf.server(&[])).await;
    stand
        .apply(
            json!({ "upstreams": { "secure": { "endpoints": [secure.url()], "tls": { "ca": "ca.pem" } } } }),
        )
        .await;
    let mut clear = stand.open().await.unwrap();
    stand.db(json!({ "tls": { "certificates": ["leaf"] } })).await;
    for alpn in [&[][..], &["postgresql"]] {
        let mut talk = Talk::open(&stand.tls_door(alpn)).await.unwrap();
        talk.echo("in TLS, and in clear text behind").await.unwrap();
        let all = vec![5; 1 << 20];
        assert!(talk.rest(&all).await.unwrap() == all);
    }
    clear.echo("the one before").await.unwrap();
    let mut talk = Talk::open(&stand.tls_door(&[])).await.unwrap();
    stand.db(json!({ "tcp": "secure" })).await;
    let mut both = Talk::open(&stand.tls_door(&[])).await.unwrap();
    assert_eq!((&*both.name, &*talk.name), ("secure", "a"));
    stand.db(json!({ "tls": null })).await;
    stand.gate.until("clear text again", async || stand.by().await == "secure").await;
    for stream in [&mut clear, &mut talk, &mut both] {
        stream.echo("each as it began").await.unwrap();
    }
    let all = vec![9; 1 << 20];
    assert!(stand.open().await.unwrap().rest(&all).await.unwrap() == all);
    assert_eq!(secure.broken(), 0);
    stand.end().await;
}

/// A stream that is cut must not look like one that is whole.
#[tokio::test]
async fn a_stream_that_is_cut_is_cut_on_the_other_side() {
    let stand = Stand::new().await;
    let talk = stand.open().await.unwrap();
    stand.gate.until("it is there", async || stand.a.open_streams() == 1).await;
    // With something unread, the kernel resets a connection that is closed.
    let mut talk = talk;
    talk.io.write_all(b"comes back, and nobody reads it").await.unwrap();
    let back = "gateway_stream_sent_bytes_total{listener=\"db\"}";
    stand.gate.until("it is back", async || stand.gate.metric(back).await == Some(33.0)).await;
    drop(talk);
    stand.gate.until("it is over", async || stand.a.open_streams() == 0).await;
    assert_eq!(stand.a.broken(), 1, "the backend saw a fault");
    let ended = "gateway_streams_total{listener=\"db\",end=\"reset\"}";
    stand.gate.until("it is counted", async || stand.gate.metric(ended).await == Some(1.0)).await;
    stand.end().await;
}

/// What waits in the accept queue while a listener turns from HTTP to TCP and back is served, by either.
#[tokio::test]
async fn a_listener_turns_from_http_to_tcp_and_back() {
    let backend = Backend::start("v1").await;
    let mut stand = Stand::with(json!({
        "listeners": { "db": { "tcp": null } },
        "upstreams": {
            "http": { "endpoints": [backend.url()] },
            "raw": { "endpoints": [format!("tcp://{}", backend.address)] },
        },
        "routes": { "web": { "respond": null, "forward": "http" } },
    }))
    .await;
    let door = Door::clear(stand.address);
    let crowd = Crowd::start((0..8).map(|_| Client::new(door.clone(), Manner::PerRequest, Ask::get("/"))));
    crowd.more(50).await;
    for turn in 0..30 {
        let tcp = if turn % 2 == 0 { json!("raw") } else { json!(null) };
        stand.db(json!({ "tcp": tcp })).await;
        crowd.more(30).await;
    }
    crowd.stop().await.assert_unnoticed();
    stand.end().await;
}

#[tokio::test]
async fn tcp_listeners_take_no_address_that_is_taken() {
    let mut stand = Stand::new().await;
    let (address, taken) = (ports::free(), stand.a.address);
    stand.apply(json!({ "listeners": { "more": { "address": address, "tcp": "b" } } })).await;
    assert_eq!(Talk::open(&Door::clear(address)).await.unwrap().name, "b");
    let mut bad = stand.document.clone();
    bad["listeners"]["more"]["address"] = json!(taken);
    let verdict = stand.gate.change(&bad).await;
    assert_eq!((&verdict["verdict"], &verdict["stage"]), (&json!("refused"), &json!("build")), "{verdict:#}");
    stand.end().await;
}
