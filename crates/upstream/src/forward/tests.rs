use std::time::Duration;

use evergate_contract::FaultKind;
use evergate_wire::{BodyError, proxy_protocol::Said};
use serde_json::json;

use crate::testing::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A port where nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_connection_that_died_idle_is_not_used() {
    run(async {
        let check = async |last_words: &'static str| {
            let server = Server::start(move |mut peer, number| async move {
                peer.head().await;
                peer.say(OK).await;
                if number == 0 {
                    settle().await;
                    peer.say(last_words).await;
                } else {
                    peer.stay().await;
                }
            })
            .await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            rig.whole(&cluster, ask("GET /")).await.unwrap();
            assert_eq!(rig.local.idle_connections(), 1);
            settle().await;
            settle().await;
            // A POST is never sent twice, so it must not even be tried on the dead one.
            assert_eq!(rig.whole(&cluster, ask("POST /")).await.unwrap().0, 200);
            assert_eq!((server.connections(), server.heads().len()), (2, 2));
        };
        check("").await;
        check("HTTP/1.1 408 Request Timeout\r\n\r\n").await;
    });
}

/// The first connection answers once and closes at the second request; later ones answer, having taken `n` bytes
/// of body, which they send back.
async fn closes_at_the_second(n: usize) -> Server {
    Server::start(move |mut peer, number| async move {
        while peer.head().await.is_some() {
            if number == 0 && peer.requests() > 1 {
                return;
            }
            let body = if number == 0 { String::new() } else { peer.take(n).await };
            peer.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        }
    })
    .await
}

#[test]
fn a_stale_connection_is_forgiven_once_and_only_where_it_is_safe() {
    run(async {
        let check = async |ask_again: Ask, n: usize, expected: Result<&str, FaultKind>, requests: usize| {
            let server = closes_at_the_second(n).await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            rig.whole(&cluster, ask("GET /first")).await.unwrap();
            let line = ask_again.parts.method.clone();
            let got = rig.whole(&cluster, ask_again).await;
            assert_eq!(got.map(|(_, body)| body).map_err(|f| f.kind), expected.map(str::to_owned), "{line}");
            assert_eq!(server.heads().len(), requests, "{line}");
        };
        check(ask("GET /"), 0, Ok(""), 3).await;
        check(ask("PUT /").body(bytes::Bytes::from("again")), 5, Ok("again"), 3).await;
        check(ask("POST /"), 0, Err(FaultKind::UpstreamReset), 2).await;
        check(ask("POST /").body(bytes::Bytes::from("x")), 1, Err(FaultKind::UpstreamReset), 2).await;
        let (pieces, body) = piped_of(1);
        pieces.push("x");
        check(ask("PUT /").body(body), 1, Err(FaultKind::UpstreamReset), 2).await;
        // A body of which nothing had come is still whole.
        let (pieces, body) = piped_of(4);
        let late = tokio::task::spawn_local(async move {
            settle().await;
            pieces.push("late");
        });
        check(ask("PUT /").body(body), 4, Ok("late"), 3).await;
        late.await.unwrap();
    });
}

#[test]
fn a_new_connection_that_closes_is_a_fault() {
    run(async {
        let server = Server::start(|mut peer, _| async move {
            peer.head().await;
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        let fault = rig.whole(&cluster, ask("GET /")).await.unwrap_err();
        assert_eq!((fault.kind, server.connections()), (FaultKind::UpstreamReset, 1));
    });
}

#[test]
fn another_endpoint_is_tried_when_there_is_no_connection() {
    run(async {
        let server = Server::always(OK).await;
        let dead = nobody().await;
        let rig = Rig::new();
        let check = async |endpoints: serde_json::Value, retries: u8, expected: Result<u16, FaultKind>| {
            let cluster = rig.cluster(json!({ "endpoints": endpoints, "retries": { "connect": retries } }));
            rig.local.adopt(|_| None);
            let (pieces, body) = piped_of(2);
            pieces.push("ab");
            let got = rig.whole(&cluster, ask("POST /").body(body)).await;
            assert_eq!(got.map(|g| g.0).map_err(|f| f.kind), expected, "{cluster:?}");
        };
        let heavy = |url: &str| json!({ "url": url, "weight": 9 });
        check(json!([heavy(&dead), server.url]), 1, Ok(200)).await;
        check(json!([heavy(&dead), server.url]), 0, Err(FaultKind::UpstreamConnect)).await;
        check(json!([dead]), 5, Err(FaultKind::UpstreamConnect)).await;
        let fault = rig.whole(&rig.cluster(json!({ "endpoints": [dead] })), ask("GET /")).await.unwrap_err();
        assert!(fault.cause.unwrap().to_string().starts_with(&format!("{dead}: no connection: ")));
        check(json!([{ "url": server.url, "weight": 0 }]), 5, Err(FaultKind::NoEndpoint)).await;
    });
}

#[test]
fn times_run_out() {
    run(async {
        let silent = Server::start(|peer, _| peer.stay()).await;
        let rig = Rig::new();
        let fault = async |spec: serde_json::Value, ask: Ask| {
            rig.whole(&rig.cluster(spec), ask).await.unwrap_err().kind
        };
        let url = &silent.url;
        let late = FaultKind::UpstreamTimeout;
        assert_eq!(
            fault(json!({ "endpoints": [url], "timeouts": { "response": "20ms" } }), ask("GET /")).await,
            late
        );
        assert_eq!(fault(json!({ "endpoints": [url] }), ask("GET /").within(20)).await, late);
        // A handshake that is never answered.
        let secure = url.replace("http", "https");
        let tls = json!({ "insecure_skip_verify": true });
        let spec = json!({ "endpoints": [secure], "tls": tls, "timeouts": { "connect": "20ms" } });
        assert_eq!(fault(spec, ask("GET /")).await, late);
        // The client may take its time; the endpoint's begins when the request is complete.
        let (pieces, body) = piped();
        let spec = json!({ "endpoints": [url], "timeouts": { "response": "20ms" } });
        let cluster = rig.cluster(spec);
        let mut sending = std::pin::pin!(rig.whole(&cluster, ask("POST /").body(body)));
        let patience = Duration::from_millis(100);
        assert!(tokio::time::timeout(patience, &mut sending).await.is_err(), "the client is waited for");
        drop(pieces);
        assert_eq!(sending.await.unwrap_err().kind, late);
    });
}

#[test]
fn silence_within_a_body_is_an_error() {
    run(async {
        let server = Server::start(|mut peer, _| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
            peer.stay().await;
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "timeouts": { "body": "20ms" } }));
        let incoming = rig.send(&cluster, ask("GET /")).await.unwrap();
        assert_eq!(incoming.body.length(), Some(9));
        assert_eq!(text(incoming.body).await, Err(BodyError::Timeout));
        assert_eq!(rig.local.idle_connections(), 0, "half an answer is still to come on it");
    });
}

#[test]
fn a_request_is_in_flight_until_its_body_ends() {
    run(async {
        let server = Server::start(|mut peer, _| async move {
            while peer.head().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf ").await;
                peer.until("go").await;
                peer.say("full").await;
            }
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        let state = cluster.members()[0].state.clone();
        let (pieces, body) = piped_of(2);
        let incoming = rig.send(&cluster, ask("POST /").body(body)).await.unwrap();
        assert_eq!((state.in_flight(), state.requests()), (1, 1));
        pieces.push("go");
        drop(pieces);
        assert_eq!(text(incoming.body).await.unwrap(), "half full");
        assert_eq!((state.in_flight(), rig.local.idle_connections()), (0, 1));
        let dropped = rig.send(&cluster, ask("POST /").body(piped_of(2).1)).await.unwrap();
        assert_eq!(state.in_flight(), 1);
        drop(dropped);
        assert_eq!((state.in_flight(), rig.local.idle_connections()), (0, 0), "half read, so closed");
    });
}

#[test]
fn a_client_that_fails_is_not_the_endpoints_fault() {
    run(async {
        let server = Server::start(|peer, _| peer.stay()).await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        let check = async |e: BodyError, kind: FaultKind| {
            let (pieces, body) = piped();
            pieces.fail(e);
            assert_eq!(rig.whole(&cluster, ask("POST /").body(body)).await.unwrap_err().kind, kind);
        };
        check(BodyError::TooLarge, FaultKind::BodyTooLarge).await;
        check(BodyError::Timeout, FaultKind::ClientTimeout).await;
        check(BodyError::Malformed("why"), FaultKind::BadRequest("why")).await;
        check(BodyError::Closed, FaultKind::ClientGone).await;
        let (pieces, body) = piped_of(1);
        pieces.push("too long");
        let fault = rig.whole(&cluster, ask("POST /").body(body)).await.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::BadRequest(_)), "{fault:?}");
        assert_eq!(cluster.members()[0].state.failures(), 0);
    });
}

#[test]
fn endpoints_that_fail_requests_are_set_aside() {
    run(async {
        let bad = Server::always("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
        let good = Server::always(OK).await;
        let rig = Rig::new();
        let spec = |failures: u16| {
            json!({ "endpoints": [bad.url, good.url],
                    "ejection": { "failures": failures, "duration": "1h", "max_percent": 50 } })
        };
        let cluster = rig.cluster(spec(3));
        let mut statuses = Vec::new();
        for _ in 0..10 {
            statuses.push(rig.whole(&cluster, ask("GET /")).await.unwrap().0);
        }
        assert_eq!(statuses, [503, 200, 503, 200, 503, 200, 200, 200, 200, 200]);
        assert_eq!(cluster.status().endpoints.iter().map(|e| e.ejected).collect::<Vec<_>>(), [true, false]);
        // The next snapshot knows of it, unless it has no ejection.
        assert_eq!(rig.whole(&rig.cluster(spec(9)), ask("GET /")).await.unwrap().0, 200);
        let plain = rig.cluster(json!({ "endpoints": [bad.url, good.url] }));
        let mut statuses = [
            rig.whole(&plain, ask("GET /")).await.unwrap().0,
            rig.whole(&plain, ask("GET /")).await.unwrap().0,
        ];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 503]);
        // Where nobody asked for it, nothing is counted.
        let alone = rig.cluster(json!({ "endpoints": ["http://127.0.0.1:1"], "retries": { "connect": 0 } }));
        for _ in 0..20 {
            rig.whole(&alone, ask("GET /")).await.unwrap_err();
        }
        assert!(alone.members()[0].state.is_spotless() && alone.members()[0].state.failures() == 20);
    });
}

#[test]
fn connect_is_not_forwarded() {
    run(async {
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [nobody().await] }));
        let fault = rig.whole(&cluster, ask("CONNECT a:1")).await.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::BadRequest(_)), "{fault:?}");
    });
}

#[test]
fn the_call_is_small() {
    run(async {
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [nobody().await] }));
        let Ask { parts, body, upgrade, timeout, .. } = ask("GET /");
        let informational: &mut dyn FnMut(_, _) = &mut |_, _| {};
        let outgoing =
            crate::Outgoing { parts, body, upgrade, timeout, client: Said::Nothing, informational };
        let size = std::mem::size_of_val(&crate::send(&rig.local, &cluster, outgoing));
        assert!(size <= 2400, "{size} bytes");
    });
}
