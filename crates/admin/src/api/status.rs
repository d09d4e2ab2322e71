//! What the gateway says of itself.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{Api, tagged};
use crate::{metrics, process, server::Phase};

pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

pub(super) async fn ready(State(api): State<Api>) -> Response {
    let revision = api.engine.running().id;
    match *api.phase.borrow() {
        Phase::Serving => Json(json!({ "status": "ready", "revision": revision })).into_response(),
        Phase::Draining => {
            let body = json!({ "status": "draining", "revision": revision });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let page = metrics::page(&api.engine, api.running.as_ref(), api.started.elapsed()).await;
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}

pub(super) async fn status(State(api): State<Api>) -> Response {
    let engine = api.engine.status();
    let revision = engine.running.revision;
    let traffic = api.running.traffic().await;
    let process = process::look();
    let mut body = json!(engine);
    let more = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": (api.started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
        "phase": *api.phase.borrow(),
        "supervisor": api.process.supervisor(),
        "admin": api.admin.whereabouts(),
        "workers": api.running.workers(),
        "listeners": api.running.listeners(),
        "traffic": {
            "requests": traffic.requests.iter().map(|r| r.count).sum::<u64>(),
            "refused": traffic.refused.iter().map(|(_, n)| n).sum::<u64>(),
            "active": traffic.active,
            "connections": traffic.connections.iter().map(|(_, n)| n).sum::<u64>(),
            "tunnels": traffic.tunnels,
            "bytes_in": traffic.bytes_in,
            "bytes_out": traffic.bytes_out,
        },
        "memory_bytes": process.resident_bytes,
        "open_files": process.open_files,
    });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    tagged(revision, Json(body))
}

pub(super) async fn upstreams(State(api): State<Api>) -> Response {
    let revision = api.engine.running().id;
    tagged(revision, Json(json!({ "revision": revision, "upstreams": api.running.upstreams() })))
}
