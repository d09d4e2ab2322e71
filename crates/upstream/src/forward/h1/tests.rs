use evergate_contract::FaultKind;
use evergate_wire::{BodyError, Payload};
use proptest::prelude::*;
use serde_json::json;

use crate::testing::*;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_are_written_as_asked() {
    run(async {
        let check = async |ask: Ask, expected: &str| {
            let server = Server::always(OK).await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            let line = ask.parts.uri.clone();
            assert_eq!(rig.whole(&cluster, ask).await.unwrap(), (200, "ok".into()), "{line}");
            let authority = server.url.trim_start_matches("http://");
            assert_eq!(server.heads(), [expected.replace('\n', "\r\n").replace("ENDPOINT", authority)]);
        };
        check(ask("GET /a?b=c"), "GET /a?b=c HTTP/1.1\nhost: gate\n\n").await;
        check(ask("GET http://other/a"), "GET /a HTTP/1.1\nhost: gate\n\n").await;
        check(ask("GET http://other?a"), "GET /?a HTTP/1.1\nhost: gate\n\n").await;
        check(ask("OPTIONS *"), "OPTIONS * HTTP/1.1\nhost: gate\n\n").await;
        check(ask("POST /"), "POST / HTTP/1.1\nhost: gate\ncontent-length: 0\n\n").await;
        check(
            ask("DELETE /").header("expect", "100-continue").header("x-a", "1"),
            "DELETE / HTTP/1.1\nhost: gate\nx-a: 1\n\n",
        )
        .await;
        check(
            ask("GET /").header("te", "trailers, gzip"),
            "GET / HTTP/1.1\nhost: gate\nte: trailers\nconnection: te\n\n",
        )
        .await;
        let mut hostless = ask("GET http://other/");
        hostless.parts.headers.retain(|_| false);
        check(hostless, "GET / HTTP/1.1\nhost: other\n\n").await;
        let mut hostless = ask("GET /");
        hostless.parts.headers.retain(|_| false);
        check(hostless, "GET / HTTP/1.1\nhost: ENDPOINT\n\n").await;
    });
}

#[test]
fn connections_are_used_again_after_a_complete_answer() {
    run(async {
        // The answer to a method, and whether the connection can be used again.
        let check = async |method: &str, answer: &'static str, body: &str, again: bool| {
            let server = Server::always(answer).await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            for _ in 0..3 {
                let got = rig.whole(&cluster, ask(&format!("{method} /"))).await.unwrap();
                assert_eq!(got.1, body, "for {answer:?}");
                settle().await;
            }
            let expected = if again { 1 } else { 3 };
            assert_eq!(server.connections(), expected, "for {answer:?}");
        };
        check("GET", OK, "ok", true).await;
        check("GET", "HTTP/1.1 204 No Content\r\n\r\n", "", true).await;
        check("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "", true).await;
        check("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", true)
            .await;
        check("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", true).await;
        check(
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            "ok",
            true,
        )
        .await;
        check(
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n\r\n",
            r#"ok{"x": "y"}"#,
            true,
        )
        .await;
        check("GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "ok", false)
            .await;
        check("GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false).await;
        check("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "ok", true)
            .await;
        check(
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            "ok",
            false,
        )
        .await;
        // More than the answer: nobody knows whose it is.
        check("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", "ok", false)
            .await;
        check(
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n!",
            "ok",
            false,
        )
        .await;
    });
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    run(async {
        let server = Server::start(|mut peer, _| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\n\r\nall ").await;
            settle().await;
            peer.say("of it").await;
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        for connections in 1..3 {
            assert_eq!(rig.whole(&cluster, ask("GET /")).await.unwrap().1, "all of it");
            assert_eq!(server.connections(), connections);
        }
    });
}

#[test]
fn lengths_that_speak_of_no_body_are_passed_on() {
    run(async {
        let check = async |method: &str, answer: &'static str, length: Option<&str>| {
            let server = Server::always(answer).await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            let incoming = rig.send(&cluster, ask(&format!("{method} /"))).await.unwrap();
            let got = incoming.parts.headers.text(http::header::CONTENT_LENGTH);
            assert_eq!(got, length, "{method} {answer:?}");
        };
        check("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Some("7")).await;
        check("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", Some("7")).await;
        check("GET", OK, None).await;
    });
}

#[test]
fn uploads_and_answers_go_both_ways_at_once() {
    run(async {
        let server = Server::start(|mut peer, _| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
            for _ in 0..3 {
                let chunk = peer.until("!\r\n").await.unwrap();
                peer.say(&chunk).await;
            }
            let end = peer.until("\r\n\r\n").await.unwrap();
            peer.say(&end).await;
            peer.stay().await;
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        let (pieces, body) = piped();
        let mut incoming = rig.send(&cluster, ask("POST /").body(body)).await.unwrap();
        for word in ["one!", "two!", "three!"] {
            pieces.push(word);
            let frame = incoming.body.frame().await.unwrap().unwrap();
            assert!(matches!(frame, evergate_wire::Frame::Data(d) if d == word), "each comes back by itself");
        }
        pieces.trailer("x-sum", "9");
        drop(pieces);
        assert_eq!(text(incoming.body).await.unwrap(), r#"{"x-sum": "9"}"#);
        assert_eq!(rig.local.idle_connections(), 1);
    });
}

#[test]
fn an_early_answer_is_given_and_the_connection_not_used_again() {
    run(async {
        let check = async |answer: &'static str| {
            let server = Server::start(move |mut peer, _| async move {
                peer.head().await;
                peer.say(answer).await;
                peer.stay().await;
            })
            .await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            let (pieces, body) = piped();
            pieces.push("a beginning");
            assert_eq!(rig.whole(&cluster, ask("POST /").body(body)).await.unwrap(), (413, "big".into()));
            assert_eq!(rig.local.idle_connections(), 0);
        };
        check("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;
        check("HTTP/1.1 413 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n2\r\nig\r\n0\r\n\r\n").await;
    });
}

#[test]
fn interim_responses_are_relayed() {
    run(async {
        let server = Server::always(concat!(
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        ))
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        let ask = ask("GET /");
        let interim = ask.interim.clone();
        assert_eq!(rig.whole(&cluster, ask).await.unwrap(), (200, "ok".into()));
        let got = format!("{:?}", interim.borrow());
        assert_eq!(got, r#"[(103, {"Link": "</a>"}), (102, {})]"#);
    });
}

#[test]
fn upgrades_become_tunnels() {
    run(async {
        let server = Server::start(|mut peer, _| async move {
            peer.head().await;
            peer.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nearly")
                .await;
            let word = peer.take(4).await;
            peer.say(&word).await;
            peer.stay().await;
        })
        .await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        let incoming = rig.send(&cluster, ask("GET /").upgrade("echo")).await.unwrap();
        assert_eq!(
            server.heads(),
            ["GET / HTTP/1.1\r\nhost: gate\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n"]
        );
        assert_eq!(format!("{:?}", incoming.parts.headers), r#"{"Upgrade": "echo"}"#);
        let mut tunnel = incoming.tunnel.unwrap();
        assert_eq!(tunnel.early, "early");
        assert_eq!(incoming.endpoint.in_flight(), 1);
        tokio::io::AsyncWriteExt::write_all(&mut tunnel.io, b"word").await.unwrap();
        let mut back = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut tunnel.io, &mut back).await.unwrap();
        assert_eq!(&back, b"word");
        drop(tunnel);
        assert_eq!(incoming.endpoint.in_flight(), 0);
        // An endpoint may also decline.
        let server = Server::always(OK).await;
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        assert_eq!(rig.whole(&cluster, ask("GET /").upgrade("echo")).await.unwrap(), (200, "ok".into()));
    });
}

#[test]
fn misbehaviour_is_refused() {
    run(async {
        let check = async |answer: String, kind: FaultKind| {
            let server = Server::start(move |mut peer, _| {
                let answer = answer.clone();
                async move {
                    peer.head().await;
                    peer.say(&answer).await;
                }
            })
            .await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            let fault = rig.whole(&cluster, ask("GET /")).await.unwrap_err();
            assert_eq!((fault.kind, server.connections()), (kind, 1));
            assert_eq!(cluster.members()[0].state.failures(), 1);
        };
        let bad = FaultKind::UpstreamProtocol;
        check("SSH-2.0-OpenSSH\r\n\r\n".into(), bad).await;
        check("HTTP/1.1 200 OK\nContent-Length: 2\n\nok".into(), bad).await;
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok".into(), bad)
            .await;
        check("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".into(), bad).await;
        check(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000)), bad).await;
        check(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101)), bad).await;
        check("HTTP/1.1 102 Processing\r\n\r\n".repeat(40), bad).await;
        check("HTTP/1.1 200 OK\r\nContent-Len".into(), FaultKind::UpstreamReset).await;
    });
}

#[test]
fn a_hundred_headers_are_fine() {
    run(async {
        let answer: &'static str =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}\r\nok", "X: y\r\n".repeat(99)).leak();
        let server = Server::always(answer).await;
        let rig = Rig::new();
        let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
        assert_eq!(rig.whole(&cluster, ask("GET /")).await.unwrap(), (200, "ok".into()));
    });
}

#[test]
fn bodies_that_break_are_errors() {
    run(async {
        let check = async |answer: &'static str, expected: BodyError| {
            let server = Server::start(move |mut peer, _| async move {
                peer.head().await;
                peer.say(answer).await;
            })
            .await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            let incoming = rig.send(&cluster, ask("GET /")).await.unwrap();
            assert_eq!(text(incoming.body).await, Err(expected));
            assert_eq!((rig.local.idle_connections(), incoming.endpoint.in_flight()), (0, 0));
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", BodyError::Closed).await;
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", BodyError::Closed).await;
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n",
            BodyError::Malformed("bad chunk size"),
        )
        .await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever an endpoint says: an answer or a fault, and the connection is not trusted afterwards unless
    /// the answer was complete.
    #[test]
    fn any_answer_is_survived(start in prop::sample::select(STARTS), tail in prop::collection::vec(any::<u8>(), 0..200), cut in any::<bool>()) {
        run(async move {
            let mut answer = start.as_bytes().to_vec();
            answer.extend_from_slice(&tail);
            let server = Server::start(move |mut peer, _| {
                let answer = answer.clone();
                async move {
                    peer.head().await;
                    let (front, back) = answer.split_at(if cut { answer.len() / 2 } else { 0 });
                    peer.say_bytes(front).await;
                    settle().await;
                    peer.say_bytes(back).await;
                }
            })
            .await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            if let Ok(incoming) = rig.send(&cluster, ask("GET /").upgrade("x")).await {
                let _ = text(incoming.body).await;
            }
            settle().await;
            assert_eq!(cluster.members()[0].state.in_flight(), 0);
        });
    }
}

const STARTS: &[&str] = &[
    "",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n",
];

#[test]
fn payloads_of_answers_are_whole_where_they_can_be() {
    run(async {
        let check = async |answer: &'static str, whole: bool| {
            let server = Server::always(answer).await;
            let rig = Rig::new();
            let cluster = rig.cluster(json!({ "endpoints": [server.url] }));
            let incoming = rig.send(&cluster, ask("GET /")).await.unwrap();
            assert_eq!(matches!(incoming.body, Payload::Full(_)), whole, "{answer:?}");
        };
        check(OK, true).await;
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true).await;
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", false)
            .await;
    });
}
