//! Each setting of `http3`: what it does, and that a change of it holds for new connections and harms no old one.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use evergate_testkit::Stand;
use quinn::ConnectionError;
use serde_json::json;

use crate::{alt_svc, door, http3, raw::Raw, stand, status};

fn now<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// Streams that may be opened at once.
fn streams(raw: &Raw) -> usize {
    let mut open = Vec::new();
    while let Some(Ok(stream)) = now(raw.0.open_bi()) {
        open.push(stream);
    }
    open.len()
}

/// Bytes that may be sent on one stream before anything was read.
fn window(raw: &Raw) -> usize {
    let (mut send, _recv) = now(raw.0.open_bi()).unwrap().unwrap();
    let bytes = vec![0; 10 << 20];
    let mut sent = 0;
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(n)) = Pin::new(&mut send).poll_write(&mut cx, &bytes[sent..]) {
        sent += n;
    }
    sent
}

/// Changes a setting; the connection from before goes on.
async fn check(stand: &mut Stand, patch: serde_json::Value) -> Raw {
    let mut kept = door(stand).connect().await.unwrap();
    assert_eq!(status(&mut kept).await, 200);
    stand.apply(http3(patch)).await;
    assert_eq!((status(&mut kept).await, kept.over()), (200, false));
    Raw::to(stand).await
}

#[tokio::test]
async fn streams_and_windows() {
    let mut stand = stand(http3(json!({ "streams": 3 }))).await;
    let bystanders = stand.bystanders().await;
    assert_eq!(streams(&Raw::to(&stand).await), 3);
    assert_eq!(streams(&check(&mut stand, json!({ "streams": 7 })).await), 7);
    assert_eq!(streams(&check(&mut stand, json!({ "streams": null })).await), 200);
    assert_eq!(window(&Raw::to(&stand).await), 256 << 10);
    assert_eq!(window(&check(&mut stand, json!({ "stream_window": "64KiB" })).await), 64 << 10);
    assert_eq!(window(&check(&mut stand, json!({ "connection_window": "32KiB" })).await), 32 << 10);
    let wide = json!({ "stream_window": "4MiB", "connection_window": "5MiB" });
    assert_eq!(window(&check(&mut stand, wide).await), 4 << 20);
    bystanders.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_silent_connection_is_given_up_or_kept() {
    let mut stand = stand(http3(json!({ "idle": "1s" }))).await;
    let raw = Raw::to(&stand).await;
    assert_eq!(raw.0.closed().await, ConnectionError::TimedOut);
    // The client is silent too; the gateway asks for a sign of life and keeps the connection.
    let raw = check(&mut stand, json!({ "idle": "30s", "keep_alive": "1s" })).await;
    stand.gate.until("two signs of life", async || raw.0.stats().frame_rx.ping >= 2).await;
    assert!(raw.0.close_reason().is_none());
    let raw = check(&mut stand, json!({ "idle": "1s", "keep_alive": null })).await;
    assert_eq!(raw.0.closed().await, ConnectionError::TimedOut);
}

#[tokio::test]
async fn clients_are_told_where_it_is() {
    let mut stand = stand(json!({})).await;
    let bystanders = stand.bystanders().await;
    let port = stand.tls.port();
    assert_eq!(alt_svc(&stand).await, Some(format!("h3=\":{port}\"; ma=86400")));
    stand.apply(http3(json!({ "alt_svc": { "max_age": "10m" } }))).await;
    assert_eq!(alt_svc(&stand).await, Some(format!("h3=\":{port}\"; ma=600")));
    stand.apply(http3(json!({ "alt_svc": { "port": 443 } }))).await;
    assert_eq!(alt_svc(&stand).await, Some("h3=\":443\"; ma=600".to_owned()));
    stand.apply(http3(json!({ "alt_svc": { "max_age": "0s" } }))).await;
    assert_eq!(alt_svc(&stand).await, None);
    stand.apply(http3(json!({ "alt_svc": null }))).await;
    assert_eq!(alt_svc(&stand).await, Some(format!("h3=\":{port}\"; ma=86400")));
    // What an upstream says of itself does not stand in the way.
    let answer = stand.tls_door().h2().ask(&evergate_testkit::Ask::get("/")).await.unwrap();
    assert_eq!(answer.fields.all("alt-svc").count(), 1);
    bystanders.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let mut stand = stand(json!({})).await;
    let rows = [
        (json!({ "tls": { "protocols": ["h3"] } }), "h3_alone"),
        (json!({ "clear": { "protocols": ["h3", "h2"] } }), "h3_without_tls"),
        (json!({ "tls": { "address": "unix:/tmp/none.sock" } }), "h3_without_udp"),
        (json!({ "clear": { "http3": { "streams": 5 } } }), "no_effect"),
        (json!({ "tls": { "http3": { "idle": "1ms" } } }), "out_of_range"),
        (json!({ "tls": { "http3": { "keep_alive": "1h" } } }), "out_of_range"),
        (json!({ "tls": { "http3": { "stream_window": "1KiB" } } }), "out_of_range"),
        (json!({ "tls": { "http3": { "connection_window": "1GiB" } } }), "out_of_range"),
        (json!({ "tls": { "http3": { "alt_svc": { "max_age": "365d" } } } }), "out_of_range"),
    ];
    for (listeners, code) in rows {
        let verdict = stand.refused(json!({ "listeners": listeners })).await;
        assert_eq!(verdict["report"][0]["code"], code, "{verdict:#}");
    }
    for listeners in [
        json!({ "tls": { "http3": { "streams": 0 } } }),
        json!({ "tls": { "http3": { "alt_svc": { "port": 0 } } } }),
        json!({ "tls": { "http3": { "stream": 5 } } }),
    ] {
        stand.refused(json!({ "listeners": listeners })).await;
    }
    assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
}
