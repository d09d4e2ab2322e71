use std::{cell::Cell, future::Future, rc::Rc, sync::Arc};

use bytes::Bytes;
use evergate_contract::FaultKind;
use evergate_testkit::Authority;
use evergate_wire::{BodyError, Headers};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Request, Response};
use rustls::ServerConfig;
use serde_json::json;
use tokio::task::spawn_local;

use crate::testing::*;

type Respond = SendResponse<Bytes>;

/// An endpoint that speaks HTTP/2 and gives each request to the script, with the number of its connection.
async fn server<F>(
    tls: Option<Arc<ServerConfig>>,
    streams_max: u32,
    script: impl Fn(Request<RecvStream>, Respond, usize) -> F + Clone + 'static,
) -> Server
where
    F: Future<Output = ()> + 'static,
{
    Server::start_tls(tls, move |peer, number| {
        let script = script.clone();
        async move {
            let mut builder = h2::server::Builder::new();
            let Ok(mut connection) =
                builder.max_concurrent_streams(streams_max).handshake(peer.into_io()).await
            else {
                return;
            };
            while let Some(Ok((request, respond))) = connection.accept().await {
                if request.uri().path() == "/bye" {
                    connection.graceful_shutdown();
                }
                spawn_local(script(request, respond, number));
            }
        }
    })
    .await
}

fn answer(mut respond: Respond, status: u16, end: bool) -> SendStream<Bytes> {
    respond.send_response(Response::builder().status(status).body(()).unwrap(), end).unwrap()
}

/// Says what it was asked.
async fn echo(request: Request<RecvStream>, respond: Respond, number: usize) {
    let (parts, mut body) = request.into_parts();
    let mut stream = answer(respond, 200, false);
    let line = format!("{number}: {} {} {:?}", parts.method, parts.uri, parts.headers);
    stream.send_data(line.into(), false).unwrap();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        stream.send_data(data, false).unwrap();
    }
    match body.trailers().await.unwrap() {
        Some(trailers) => stream.send_trailers(trailers).unwrap(),
        None => stream.send_data(Bytes::new(), true).unwrap(),
    }
}

#[test]
fn heads_bodies_and_trailers_go_both_ways() {
    run(async {
        let server = server(None, 100, echo).await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        let check = async |ask: Ask, expected: &str| {
            let got = rig.whole(&cluster, ask).await.unwrap();
            assert_eq!(got, (200, expected.replace("ENDPOINT", server.url.trim_start_matches("http://"))));
        };
        check(ask("GET /a?b"), "0: GET http://gate/a?b {}").await;
        check(ask("GET /").header("te", "trailers"), r#"0: GET http://gate/ {"te": "trailers"}"#).await;
        check(
            ask("GET /").header("expect", "100-continue").header("connection", "x"),
            "0: GET http://gate/ {}",
        )
        .await;
        let mut hostless = ask("GET /");
        hostless.parts.headers.retain(|_| false);
        check(hostless, "0: GET http://ENDPOINT/ {}").await;
        let mut nameless = ask("GET http://other?a");
        nameless.parts.headers.insert(http::header::HOST, http::HeaderValue::from_static(""));
        check(nameless, "0: GET http://ENDPOINT/?a {}").await;
        // There is nothing to switch to.
        check(ask("GET /").upgrade("websocket"), "0: GET http://gate/ {}").await;
        check(ask("POST /").body(Bytes::from("full")), r#"0: POST http://gate/ {"content-length": "4"}full"#)
            .await;
        let (pieces, body) = piped();
        pieces.push("in ");
        pieces.push("pieces");
        pieces.trailer("x-sum", "9");
        drop(pieces);
        check(ask("POST /").body(body), r#"0: POST http://gate/ {}in pieces{"x-sum": "9"}"#).await;
        assert_eq!((server.connections(), cluster.members()[0].state.in_flight()), (1, 0));
    });
}

#[test]
fn requests_share_a_connection_up_to_the_endpoints_limit() {
    run(async {
        let server = server(None, 2, echo).await;
        let rig = Rc::new(Rig::new());
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        // The endpoint's limit is known once it has answered.
        rig.whole(&cluster, ask("GET /")).await.unwrap();
        let mut open = Vec::new();
        let mut numbers = Vec::new();
        for _ in 0..4 {
            let (pieces, body) = piped();
            let mut incoming = rig.send(&cluster, ask("POST /").body(body)).await.unwrap();
            let Some(Ok(evergate_wire::Frame::Data(line))) = incoming.body.frame().await else {
                panic!("no body")
            };
            numbers.push(line[0]);
            open.push((pieces, incoming));
        }
        assert_eq!(numbers, *b"0011");
        drop(open);
        settle().await;
        assert_eq!(rig.local.idle_connections(), 2);
        // Many that come at once wait for the first to connect.
        rig.local.adopt(|_| None);
        let before = server.connections();
        let both = [(); 2].map(|()| {
            let (rig, cluster) = (rig.clone(), cluster.clone());
            spawn_local(async move { rig.whole(&cluster, ask("GET /")).await.unwrap() })
        });
        for one in both {
            one.await.unwrap();
        }
        assert_eq!(server.connections(), before + 1);
    });
}

#[test]
fn streams_that_were_refused_are_sent_again() {
    run(async {
        // What happens to the first stream of the second request, and what becomes of the request.
        let check = async |path: &'static str, method: &str, expected: Result<u16, FaultKind>| {
            let count = Rc::new(Cell::new(0));
            let server = server(None, 100, move |request, mut respond, _| {
                count.set(count.get() + 1);
                let first = count.get() == 1;
                async move {
                    match request.uri().path() {
                        "/refuse" if first => respond.send_reset(Reason::REFUSED_STREAM),
                        "/reset" if first => respond.send_reset(Reason::INTERNAL_ERROR),
                        _ => drop(answer(respond, 200, true)),
                    }
                }
            })
            .await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
            let got = rig.whole(&cluster, ask(&format!("{method} {path}"))).await;
            assert_eq!(got.map(|g| g.0).map_err(|f| f.kind), expected, "{method} {path}");
        };
        check("/refuse", "GET", Ok(200)).await;
        check("/refuse", "POST", Ok(200)).await;
        check("/reset", "GET", Err(FaultKind::UpstreamReset)).await;
        check("/reset", "POST", Err(FaultKind::UpstreamReset)).await;
    });
}

#[test]
fn streams_beyond_a_goodbye_are_sent_again() {
    run(async {
        // The first connection says, once the request is there, that it will look at none: SETTINGS, then GOAWAY
        // with 0 as the last stream (RFC 9113 §6.8).
        let server = Server::start(|mut peer, number| async move {
            if number == 0 {
                peer.take(24).await;
                // Frames up to HEADERS: length, type, then what does not matter here.
                let mut kind = 0;
                while kind != 1 {
                    let head = peer.take_bytes(9).await;
                    kind = head[3];
                    peer.take_bytes(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).await;
                }
                peer.say_bytes(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
                peer.say_bytes(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
                peer.stay().await;
            } else {
                let mut connection = h2::server::handshake(peer.into_io()).await.unwrap();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    drop(answer(respond, 204, true));
                }
            }
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        assert_eq!(rig.whole(&cluster, ask("POST /")).await.unwrap().0, 204);
        assert_eq!(server.connections(), 2);
    });
}

#[test]
fn a_connection_that_says_goodbye_is_replaced() {
    run(async {
        let server = server(None, 100, echo).await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        let check = async |line: &str, number: &str| {
            let (status, body) = rig.whole(&cluster, ask(line)).await.unwrap();
            assert_eq!((status, &body[..1]), (200, number), "{line}");
        };
        check("POST /", "0").await;
        check("POST /bye", "0").await;
        settle().await;
        check("POST /", "1").await;
        check("POST /", "1").await;
    });
}

#[test]
fn a_connection_that_dies_idle_is_replaced() {
    run(async {
        let server = Server::start(|peer, number| async move {
            let mut connection = h2::server::handshake(peer.into_io()).await.unwrap();
            let mut left = if number == 0 { 1 } else { usize::MAX };
            while left > 0
                && let Some(Ok((_, respond))) = connection.accept().await
            {
                drop(answer(respond, 204, true));
                left -= 1;
            }
            let _ = tokio::time::timeout(std::time::Duration::from_millis(20), connection.accept()).await;
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        assert_eq!(rig.whole(&cluster, ask("POST /")).await.unwrap().0, 204);
        while rig.local.idle_connections() > 0 {
            settle().await;
            rig.local.sweep();
        }
        assert_eq!(rig.whole(&cluster, ask("POST /")).await.unwrap().0, 204);
        assert_eq!(server.connections(), 2);
    });
}

#[test]
fn early_answers_and_broken_bodies() {
    run(async {
        let server = server(None, 100, |request, respond, _| async move {
            match request.uri().path() {
                "/early" => drop(answer(respond, 413, true)),
                "/cut" => {
                    let mut stream = answer(respond, 200, false);
                    stream.send_data("half".into(), false).unwrap();
                    settle().await;
                    stream.send_reset(Reason::INTERNAL_ERROR);
                }
                "/silent" => {
                    let mut stream = answer(respond, 200, false);
                    stream.send_data("half".into(), false).unwrap();
                    std::future::pending::<()>().await;
                }
                _ => std::future::pending::<()>().await,
            }
        })
        .await;
        let rig = Rig::new();
        let timeouts = json!({ "response": "50ms", "body": "50ms" });
        let patient = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        let cluster =
            rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2", "timeouts": timeouts }));
        let (_pieces, body) = piped();
        assert_eq!(rig.whole(&patient, ask("POST /early").body(body)).await.unwrap().0, 413);
        let cut = rig.send(&patient, ask("GET /cut")).await.unwrap();
        assert_eq!(text(cut.body).await, Err(BodyError::Reset));
        let silent = rig.send(&cluster, ask("GET /silent")).await.unwrap();
        assert_eq!(text(silent.body).await, Err(BodyError::Timeout));
        assert_eq!(server.connections(), 1);
        assert_eq!(
            rig.whole(&cluster, ask("GET /never")).await.unwrap_err().kind,
            FaultKind::UpstreamTimeout
        );
        assert_eq!(rig.whole(&patient, ask("POST /early")).await.unwrap().0, 413);
        assert_eq!(server.connections(), 2, "one that let a request hang is not trusted again");
        // The client may take its time, and says by the end of its body that the endpoint's begins.
        let (pieces, body) = piped();
        let mut sending = std::pin::pin!(rig.whole(&cluster, ask("POST /never").body(body)));
        let patience = std::time::Duration::from_millis(200);
        assert!(tokio::time::timeout(patience, &mut sending).await.is_err());
        drop(pieces);
        assert_eq!(sending.await.unwrap_err().kind, FaultKind::UpstreamTimeout);
        let (pieces, body) = piped();
        pieces.fail(BodyError::TooLarge);
        let fault = rig.whole(&patient, ask("POST /never").body(body)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::BodyTooLarge);
    });
}

#[test]
fn interim_responses_are_relayed() {
    run(async {
        let server = server(None, 100, |_, mut respond, _| async move {
            let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hints).unwrap();
            drop(answer(respond, 204, true));
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        let ask = ask("GET /");
        let interim = ask.interim.clone();
        assert_eq!(rig.whole(&cluster, ask).await.unwrap().0, 204);
        assert_eq!(format!("{:?}", interim.borrow()), r#"[(103, {"link": "</a>"})]"#);
    });
}

#[test]
fn alpn_decides_what_is_spoken() {
    run(async {
        let authority = Authority::new();
        let leaf = authority.leaf(&["127.0.0.1", "elsewhere.test"]);
        let mut rig = Rig::new();
        rig.ca = Some(authority.pem());
        let both = server(Some(leaf.server(&["h2", "http/1.1"])), 100, echo).await;
        let old = Server::start_tls(Some(leaf.server(&["http/1.1"])), |mut peer, _| async move {
            while peer.head().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await;
            }
        })
        .await;
        let tls = json!({ "ca": "ca.pem" });
        let ask_of = async |url: &str, protocol: &str, tls: serde_json::Value| {
            let cluster = rig.cluster(json!({ "endpoints": [url], "protocol": protocol, "tls": tls }));
            rig.whole(&cluster, ask("GET /")).await.map(|g| g.1).map_err(|f| f.kind)
        };
        let new = Ok("0: GET https://gate/ {}".to_owned());
        assert_eq!(ask_of(&both.url, "auto", tls.clone()).await, new);
        assert_eq!(ask_of(&old.url, "auto", tls.clone()).await, Ok("old".into()));
        assert_eq!(ask_of(&old.url, "http/1.1", tls.clone()).await, Ok("old".into()));
        assert_eq!(ask_of(&old.url, "h2", tls.clone()).await, Err(FaultKind::UpstreamConnect));
        let mute = Server::start_tls(Some(leaf.server(&[])), |peer, _| peer.stay()).await;
        assert_eq!(ask_of(&mute.url, "h2", tls.clone()).await, Err(FaultKind::UpstreamConnect));
        // Settings that change who is trusted use connections of their own.
        let named = |name: &str| json!({ "ca": "ca.pem", "server_name": name });
        assert_eq!(ask_of(&old.url, "auto", named("elsewhere.test")).await, Ok("old".into()));
        assert_eq!(ask_of(&old.url, "auto", named("nowhere.test")).await, Err(FaultKind::UpstreamConnect));
        assert_eq!(ask_of(&old.url, "auto", tls).await, Ok("old".into()), "and the first are still there");
    });
}

#[test]
fn an_upgrade_takes_http1_where_there_is_a_choice() {
    run(async {
        let authority = Authority::new();
        let config = authority.leaf(&["127.0.0.1"]).server(&["h2", "http/1.1"]);
        let server = Server::start_tls(Some(config), |peer, _| async move {
            let (h2, io) = evergate_testkit::io::speaks_h2(peer.into_io()).await.unwrap();
            if h2 {
                let mut connection = h2::server::handshake(io).await.unwrap();
                while let Some(Ok((_, respond))) = connection.accept().await {
                    drop(answer(respond, 204, true));
                }
            } else {
                let mut peer = Peer::over(io);
                peer.head().await;
                peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n").await;
                peer.stay().await;
            }
        })
        .await;
        let mut rig = Rig::new();
        rig.ca = Some(authority.pem());
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "tls": { "ca": "ca.pem" } }));
        for _ in 0..2 {
            assert_eq!(rig.whole(&cluster, ask("GET /")).await.unwrap().0, 204);
            let incoming = rig.send(&cluster, ask("GET /").upgrade("echo")).await.unwrap();
            assert!(incoming.tunnel.is_some());
        }
        assert_eq!(server.connections(), 3);
    });
}

#[test]
fn flow_control_holds_on_both_sides() {
    run(async {
        // Much more than any window; the echo sends it back as it comes.
        let server = server(None, 100, echo).await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2" }));
        let sent = Bytes::from(vec![b'x'; 5 << 20]);
        let incoming = rig.send(&cluster, ask("POST /").body(sent.clone())).await.unwrap();
        let got = text(incoming.body).await.unwrap();
        assert_eq!(got.len() - got.find('x').unwrap(), sent.len());
        let _: Headers = incoming.parts.headers;
    });
}

#[test]
fn idle_connections_grow_old_and_are_no_more_than_allowed() {
    run(async {
        let server = server(None, 100, echo).await;
        let rig = Rig::stopped();
        let start = std::time::Instant::now();
        let spec = |idle: u32| {
            rig.cluster(json!({ "endpoints": [server.url], "protocol": "h2",
                "pool": { "idle": idle }, "timeouts": { "idle": "10s" } }))
        };
        let (one, none) = (spec(1), spec(0));
        rig.whole(&one, ask("GET /")).await.unwrap();
        rig.local.sweep();
        assert_eq!(rig.local.idle_connections(), 1);
        rig.clock.tick(start + std::time::Duration::from_secs(11));
        rig.local.sweep();
        assert_eq!(rig.local.idle_connections(), 0);
        rig.whole(&one, ask("GET /")).await.unwrap();
        rig.local.adopt(|_| Some(&none));
        assert_eq!(rig.local.idle_connections(), 0);
        rig.whole(&none, ask("GET /")).await.unwrap();
        assert_eq!((rig.local.idle_connections(), server.connections()), (0, 3));
    });
}
