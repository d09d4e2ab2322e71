use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, header};

use super::*;
use crate::{
    h1::HeadLimits,
    h2::{
        conn::Role::{Client, Server},
        frame::{HEAD, Head, kind},
    },
    headers::Headers,
};

const LIMITS: Limits = Limits {
    streams: 3,
    stream_window: 1000,
    connection_window: 100_000,
    frame: 16_384,
    table: 4096,
    head: HeadLimits { bytes: 4096, headers: 20 },
    resets: 5,
    control_frames: 100,
};

/// Both sides of a connection, and what is on its way between them.
struct Pair {
    client: Conn,
    server: Conn,
    to_server: BytesMut,
    to_client: BytesMut,
}

impl Pair {
    fn new() -> Pair {
        Pair::with(LIMITS)
    }

    fn with(limits: Limits) -> Pair {
        let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
        let client = Conn::new(Client, LIMITS, &mut to_server);
        let server = Conn::new(Server, limits, &mut to_client);
        let mut pair = Pair { client, server, to_server, to_client };
        pair.settle();
        pair
    }

    /// Hands over what is on its way until nothing is.
    fn settle(&mut self) {
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            let mut input = std::mem::take(&mut self.to_server);
            self.server.receive(&mut input, 0, &mut self.to_client);
            assert!(input.is_empty());
            let mut input = std::mem::take(&mut self.to_client);
            self.client.receive(&mut input, 0, &mut self.to_server);
            assert!(input.is_empty());
        }
    }

    /// Opens a stream; the server's key of it too.
    fn open(&mut self, method: Method, length: Option<u64>, end: bool) -> (usize, usize) {
        let headers = [(header::ACCEPT, HeaderValue::from_static("*/*"))].into_iter().collect();
        let request = Sent {
            method: &method,
            scheme: "http",
            authority: b"a.test",
            path: b"/x?y",
            headers: &headers,
            trailers: false,
            length,
        };
        let ours = self.client.open(&request, end, &mut self.to_server);
        self.settle();
        let (theirs, head) = self.server.accept(&mut self.to_client).expect("a request");
        let head = head.unwrap();
        assert_eq!((head.parts.method, head.parts.uri.to_string()), (method, "/x?y".to_owned()));
        assert_eq!(head.parts.headers.get(header::HOST).unwrap(), b"a.test");
        (ours, theirs)
    }
}

/// Kinds of the frames in there, with their streams.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut all = Vec::new();
    while let Some(head) = Head::peek(bytes) {
        all.push((head.kind, head.stream));
        bytes = &bytes[HEAD + head.length..];
    }
    all
}

fn text(data: Data) -> String {
    match data {
        Data::Piece(piece) => String::from_utf8(piece.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_request_and_its_response() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.open(Method::POST, Some(4), false);
    let mut body = Bytes::from_static(b"body");
    assert_eq!(pair.client.send(ours, &mut body, true, &mut pair.to_server), 4);
    pair.settle();
    assert_eq!(pair.server.left(theirs), Some(4));
    assert_eq!(text(pair.server.take(theirs, &mut pair.to_client)), "body");
    assert_eq!(text(pair.server.take(theirs, &mut pair.to_client)), "End");
    let mut parts = ResponseParts::new(http::StatusCode::EARLY_HINTS);
    pair.server.inform(theirs, &parts, &mut pair.to_client);
    parts.status = http::StatusCode::OK;
    pair.server.respond(theirs, &parts, None, false, &mut pair.to_client);
    let mut body = Bytes::from_static(b"answer");
    pair.server.send(theirs, &mut body, false, &mut pair.to_client);
    let trailers: Headers = [(header::ETAG, HeaderValue::from_static("x"))].into_iter().collect();
    pair.server.finish_body(theirs, Some(&trailers), &mut pair.to_client);
    pair.settle();
    assert_eq!(pair.client.interim(ours).unwrap().status, 103);
    assert_eq!(pair.client.response(ours).unwrap().unwrap().parts.status, 200);
    assert_eq!(pair.client.take_whole(ours, &mut pair.to_server), None, "there are trailers");
    assert_eq!(text(pair.client.take(ours, &mut pair.to_server)), "answer");
    assert_eq!(text(pair.client.take(ours, &mut pair.to_server)), r#"Trailers({"etag": "x"})"#);
    pair.client.release(ours, &mut pair.to_server);
    pair.server.release(theirs, &mut pair.to_client);
    assert!(pair.to_server.is_empty() && pair.to_client.is_empty(), "it ended well for both");
    assert_eq!((pair.client.streams.held(), pair.server.streams.held()), (0, 0));
}

#[test]
fn windows_hold_data_back_and_are_given_back() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.open(Method::POST, None, false);
    let mut body = Bytes::from(vec![b'x'; 2500]);
    let mut send = |pair: &mut Pair| pair.client.send(ours, &mut body, true, &mut pair.to_server);
    assert_eq!(send(&mut pair), 1000);
    assert_eq!(send(&mut pair), 0);
    pair.settle();
    assert_eq!(send(&mut pair), 0, "nobody has read");
    let mut read = 0;
    for round in 0..3 {
        while let Data::Piece(piece) = pair.server.take(theirs, &mut pair.to_client) {
            read += piece.len();
        }
        pair.settle();
        assert_eq!(send(&mut pair), [1000, 500, 0][round]);
        pair.settle();
    }
    assert_eq!(read, 2500);
    assert_eq!(pair.server.held, 0);
}

#[test]
fn small_pieces_are_gathered() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.open(Method::POST, None, false);
    for _ in 0..900 {
        pair.client.send(ours, &mut Bytes::from_static(b"x"), false, &mut pair.to_server);
    }
    pair.settle();
    let Data::Piece(piece) = pair.server.take(theirs, &mut pair.to_client) else { panic!("no data") };
    assert_eq!(piece.len(), 900);
}

#[test]
fn data_that_nobody_wants_holds_no_window() {
    let mut pair = Pair::with(Limits { stream_window: 90_000, ..LIMITS });
    for how in ["forgotten", "released", "reset"] {
        let (ours, theirs) = pair.open(Method::POST, None, false);
        let mut body = Bytes::from(vec![b'x'; 60_000]);
        while pair.client.send(ours, &mut body, false, &mut pair.to_server) > 0 {}
        pair.settle();
        assert_eq!(pair.server.held, 60_000);
        match how {
            "forgotten" => pair.server.forget_body(theirs, &mut pair.to_client),
            "reset" => {
                pair.server.reset(theirs, Reason::CANCEL, &mut pair.to_client);
                pair.server.release(theirs, &mut pair.to_client);
            }
            _ => pair.server.release(theirs, &mut pair.to_client),
        }
        assert_eq!(pair.server.held, 0, "{how}");
        pair.settle();
        let failure = pair.client.failure(ours);
        assert_eq!(failure.is_some(), how != "forgotten", "{how}");
        pair.client.release(ours, &mut pair.to_server);
        pair.settle();
    }
}

#[test]
fn an_answer_before_the_end_of_the_request() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.open(Method::POST, Some(100), false);
    let parts = ResponseParts::new(http::StatusCode::PAYLOAD_TOO_LARGE);
    pair.server.respond(theirs, &parts, Some(0), true, &mut pair.to_client);
    pair.server.release(theirs, &mut pair.to_client);
    assert_eq!(frames(&pair.to_client), [(kind::HEADERS, 1), (kind::RST_STREAM, 1)]);
    // The rest that is on its way is let pass.
    pair.client.send(ours, &mut Bytes::from_static(b"rest"), false, &mut pair.to_server);
    pair.settle();
    assert_eq!(pair.client.response(ours).unwrap().unwrap().parts.status, 413);
    assert_eq!(text(pair.client.take(ours, &mut pair.to_server)), "End");
    assert_eq!(pair.client.failure(ours), Some(Failure::Reset(Reason::NO_ERROR)));
    assert_eq!((pair.client.end(), pair.server.end()), (None, None));
}

#[test]
fn limits_that_change_hold_once_they_are_acknowledged() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.open(Method::POST, None, false);
    let narrow = Limits { stream_window: 10, streams: 1, ..LIMITS };
    pair.server.set_limits(narrow, &mut pair.to_client);
    // On its way before the client heard of it.
    assert_eq!(pair.client.send(ours, &mut Bytes::from(vec![b'x'; 600]), false, &mut pair.to_server), 600);
    // What changes again before the answer is told after it.
    let wide = Limits { stream_window: 5000, streams: 2, ..LIMITS };
    pair.server.set_limits(wide, &mut pair.to_client);
    assert_eq!(frames(&pair.to_client), [(kind::SETTINGS, 0)]);
    pair.settle();
    assert_eq!(pair.client.peer_streams_max(), 2);
    assert_eq!(pair.server.failure(theirs), None);
    assert_eq!(pair.client.send(ours, &mut Bytes::from(vec![b'x'; 6000]), false, &mut pair.to_server), 4400);
    pair.settle();
    assert_eq!((pair.client.end(), pair.server.end(), pair.server.held), (None, None, 5000));
}

#[test]
fn a_goodbye_lets_what_is_on_its_way_in() {
    let mut pair = Pair::new();
    let (ours, theirs) = pair.open(Method::GET, None, true);
    pair.server.say_goodbye(0, &mut pair.to_client);
    // Sent before the client heard the goodbye.
    let headers = Headers::new();
    let request = Sent {
        method: &Method::GET,
        scheme: "http",
        authority: b"a.test",
        path: b"/",
        headers: &headers,
        trailers: false,
        length: None,
    };
    let late = pair.client.open(&request, true, &mut pair.to_server);
    pair.settle();
    assert!(!pair.client.takes_streams() && !pair.server.is_drained());
    // What comes although the client has been told is let pass, its body too.
    let ignored = pair.client.open(&request, false, &mut pair.to_server);
    pair.client.send(ignored, &mut Bytes::from_static(b"body"), true, &mut pair.to_server);
    pair.settle();
    let (late_theirs, _) = pair.server.accept(&mut pair.to_client).expect("it is taken");
    for (ours, theirs) in [(ours, theirs), (late, late_theirs)] {
        let parts = ResponseParts::new(http::StatusCode::NO_CONTENT);
        pair.server.respond(theirs, &parts, None, true, &mut pair.to_client);
        pair.server.release(theirs, &mut pair.to_client);
        pair.settle();
        assert_eq!(pair.client.response(ours).unwrap().unwrap().parts.status, 204);
        pair.client.release(ours, &mut pair.to_server);
    }
    assert!(pair.server.is_drained() && pair.server.end().is_none());
    pair.client.release(ignored, &mut pair.to_server);
    assert!(pair.client.is_drained());
}

#[test]
fn what_comes_behind_an_answer_has_a_bound() {
    let mut pair = Pair::new();
    let (_, theirs) = pair.open(Method::POST, None, false);
    let parts = ResponseParts::new(http::StatusCode::NO_CONTENT);
    pair.server.respond(theirs, &parts, None, true, &mut pair.to_client);
    pair.server.release(theirs, &mut pair.to_client);
    let mut late = |frames: usize| {
        let mut input = BytesMut::from(&[0, 0, 1, kind::DATA, 0, 0, 0, 0, 1, b'x'].repeat(frames)[..]);
        pair.server.receive(&mut input, 0, &mut pair.to_client);
        pair.server.end()
    };
    assert_eq!(late(90), None);
    assert!(matches!(late(20), Some(Failure::Broken(Reason::ENHANCE_YOUR_CALM, _))));
}

#[test]
fn who_never_answers_a_goodbye_gains_nothing() {
    let mut pair = Pair::new();
    pair.server.say_goodbye(1_000, &mut pair.to_client);
    let headers = Headers::new();
    let request = Sent {
        method: &Method::GET,
        scheme: "http",
        authority: b"a.test",
        path: b"/",
        headers: &headers,
        trailers: false,
        length: None,
    };
    // Both GOAWAY and PING are lost on it.
    pair.to_client.clear();
    let mut at = |now_ms| {
        pair.client.open(&request, true, &mut pair.to_server);
        let mut input = std::mem::take(&mut pair.to_server);
        pair.server.receive(&mut input, now_ms, &mut pair.to_client);
        pair.server.accept(&mut pair.to_client).is_some()
    };
    assert_eq!([1_500, 3_000, 3_001, 3_002].map(&mut at), [true, true, false, false]);
    assert_eq!(frames(&pair.to_client), [(kind::GOAWAY, 0)]);
    assert_eq!(pair.to_client[HEAD..HEAD + 4], [0, 0, 0, 3]);
}

#[test]
fn a_connection_that_is_lost_ends_its_streams() {
    let mut pair = Pair::new();
    let (ours, _) = pair.open(Method::GET, None, true);
    pair.client.lost(Failure::Closed);
    assert_eq!(pair.client.failure(ours), Some(Failure::Closed));
    assert!(matches!(pair.client.response(ours), Some(Err(Failure::Closed))));
    assert!(matches!(pair.client.may_open(std::task::Waker::noop()), Some(Err(Failure::Closed))));
}

#[test]
fn responses_are_held_against_their_requests() {
    // Method, status, length told, bytes sent; what the client makes of it.
    let check = |method: Method, status: u16, length: Option<u64>, sent: usize, good: bool| {
        let mut pair = Pair::new();
        let (ours, theirs) = pair.open(method.clone(), None, true);
        let parts = ResponseParts::new(http::StatusCode::from_u16(status).unwrap());
        pair.server.respond(theirs, &parts, length, sent == 0, &mut pair.to_client);
        if sent > 0 {
            pair.server.send(theirs, &mut Bytes::from(vec![b'x'; sent]), true, &mut pair.to_client);
        }
        pair.settle();
        assert_eq!(pair.client.failure(ours).is_none(), good, "{method} {status} {length:?} {sent}");
        assert_eq!(pair.client.end(), None);
    };
    check(Method::GET, 200, Some(3), 3, true);
    check(Method::GET, 200, None, 3, true);
    check(Method::GET, 200, Some(3), 2, false);
    check(Method::GET, 200, Some(3), 4, false);
    check(Method::GET, 200, Some(3), 0, false);
    check(Method::HEAD, 200, Some(3), 0, true);
    check(Method::HEAD, 200, Some(3), 3, false);
    check(Method::GET, 304, Some(3), 0, true);
    check(Method::GET, 204, None, 1, false);
}

#[test]
fn large_heads_go_in_pieces() {
    let mut pair = Pair::with(Limits { head: HeadLimits { bytes: 100_000, headers: 20 }, ..LIMITS });
    let value = HeaderValue::from_str(&"x".repeat(40_000)).unwrap();
    let headers = [(header::COOKIE, value)].into_iter().collect();
    let request = Sent {
        method: &Method::GET,
        scheme: "http",
        authority: b"a.test",
        path: b"/",
        headers: &headers,
        trailers: true,
        length: None,
    };
    pair.client.open(&request, true, &mut pair.to_server);
    let pieces = [kind::HEADERS, kind::CONTINUATION, kind::CONTINUATION].map(|kind| (kind, 1));
    assert_eq!(frames(&pair.to_server), pieces);
    pair.settle();
    let (_, head) = pair.server.accept(&mut pair.to_client).unwrap();
    let headers = head.unwrap().parts.headers;
    assert_eq!(headers.get(header::COOKIE).unwrap().len(), 40_000);
    assert_eq!(headers.get(header::TE).unwrap(), b"trailers");
}
