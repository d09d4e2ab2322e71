use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::body::{BodyError, Frame};

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, headers: 16 };

fn request(text: &str) -> Result<Option<RequestHead>, HeadError> {
    parse_request(&mut BytesMut::from(text), &mut Scan::default(), LIMITS)
}

#[test]
fn requests_that_two_parsers_could_read_differently_are_refused() {
    let refused = |text: &str, why: &str| match request(text) {
        Err(HeadError::Malformed(said)) => assert_eq!(said, why, "for {text:?}"),
        other => panic!("{text:?} gave {other:?}"),
    };
    let get = |headers: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    refused(
        &get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        "both Content-Length and Transfer-Encoding",
    );
    refused(&get("Content-Length: 5\r\nContent-Length: 5\r\n"), "more than one Content-Length");
    refused(&get("Content-Length: 5, 5\r\n"), "bad Content-Length");
    refused(&get("Content-Length: +5\r\n"), "bad Content-Length");
    refused(&get("Content-Length: \r\n"), "bad Content-Length");
    refused(&get("Content-Length: 0x5\r\n"), "bad Content-Length");
    refused(&get("Transfer-Encoding: xchunked\r\n"), "Transfer-Encoding is not just chunked");
    refused(&get("Transfer-Encoding: chunked, identity\r\n"), "Transfer-Encoding is not just chunked");
    refused(
        &get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        "Transfer-Encoding is not just chunked",
    );
    refused(&get("Transfer-Encoding : chunked\r\n"), "bad header name");
    refused(&get("X: a\r\n folded\r\n"), "bad header name");
    refused(&get("Host: b\r\n"), "more than one Host");
    refused("GET / HTTP/1.1\nHost: a\r\n\r\n", "a line ends in a bare LF");
    refused("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "a line ends in a bare LF");
    refused("GET / HTTP/1.1\r\nHost: a\r\n\n", "a line ends in a bare LF");
    refused("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", "bad header value");
    refused("GET / HTTP/1.1\r\n\r\n", "no Host");
    refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "bad Host");
    refused("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "bad Host");
    refused("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "the target names another host than Host");
    refused("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "bad request line");
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in HTTP/1.0");
}

#[test]
fn an_empty_line_before_a_request_is_let_pass_however_it_arrives() {
    let (mut buf, mut scan) = (BytesMut::new(), Scan::default());
    let mut answers = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".bytes().map(|byte| {
        buf.extend_from_slice(&[byte]);
        parse_request(&mut buf, &mut scan, LIMITS).unwrap()
    });
    assert!(answers.find_map(|head| head).is_some_and(|head| head.parts.uri == "/"));
    // Three are not one request, whether they come at once or not.
    let whole = request("\r\n\r\n\r\nGET");
    let (mut buf, mut scan) = (BytesMut::from("\r"), Scan::default());
    assert!(parse_request(&mut buf, &mut scan, LIMITS).unwrap().is_none());
    buf.extend_from_slice(b"\n\r\n\r\nGET");
    assert_eq!(parse_request(&mut buf, &mut scan, LIMITS).unwrap_err(), whole.unwrap_err());
}

#[test]
fn request_heads() {
    let check = |text: &str, body: BodyLength, keep_alive: bool| {
        let head = request(text).unwrap().unwrap();
        assert_eq!((head.body, head.keep_alive), (body, keep_alive), "for {text:?}");
    };
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::Fixed(0), true);
    check("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::Fixed(0), true);
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", BodyLength::Fixed(0), false);
    check("GET / HTTP/1.0\r\n\r\n", BodyLength::Fixed(0), false);
    check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", BodyLength::Fixed(0), true);
    check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n", BodyLength::Fixed(7), true);
    check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", BodyLength::Chunked, true);
    check("GET http://A/x HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::Fixed(0), true);
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::Fixed(0), true);
    assert!(matches!(request("GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None)));
    assert!(matches!(request("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(HeadError::Version)));
}

#[test]
fn start_lines() {
    use super::lines::{request_line, status_line};
    let version =
        |result: Result<(Method, std::ops::Range<usize>, http::Version), HeadError>| result.map(|(.., v)| v);
    let bad = Err(HeadError::Malformed("bad request line"));
    for (line, expected) in [
        ("GET / HTTP/1.1", Ok(http::Version::HTTP_11)),
        ("x!# * HTTP/1.0", Ok(http::Version::HTTP_10)),
        ("GET / HTTP/1.2", Err(HeadError::Version)),
        ("GET / HTTP/3", Err(HeadError::Version)),
        ("GET / http/1.1", bad),
        ("GET / HTTP/1.1 ", bad),
        ("GET / x HTTP/1.1", bad),
        ("GET /", bad),
        (" / HTTP/1.1", bad),
        ("G(T / HTTP/1.1", bad),
        ("GET /\u{7f} HTTP/1.1", bad),
        ("", bad),
    ] {
        assert_eq!(version(request_line(line.as_bytes())), expected, "for {line:?}");
    }
    let bad = Err(HeadError::Malformed("bad status line"));
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Ok(200)),
        ("HTTP/1.0 404", Ok(404)),
        ("HTTP/1.1 204 ", Ok(204)),
        ("HTTP/1.1 999 what\tever é", Ok(999)),
        ("HTTP/1.1 099 OK", Err(HeadError::Malformed("bad status"))),
        ("HTTP/2.0 200 OK", Err(HeadError::Version)),
        ("HTTP/1.1 20  OK", Err(HeadError::Malformed("bad status"))),
        ("HTTP/1.1 20 OK", bad),
        ("HTTP/1.1 2000", bad),
        ("HTTP/1.1  200", bad),
        ("HTTP/1.1 200 O\u{0}", bad),
        ("ICY 200 OK", bad),
        ("", bad),
    ] {
        assert_eq!(status_line(line.as_bytes()).map(|(status, _)| status.as_u16()), expected, "for {line:?}");
    }
}

#[test]
fn head_limits() {
    let many = (0..20).fold(String::new(), |mut s, i| {
        let _ = write!(s, "X{i}: y\r\n");
        s
    });
    assert_eq!(request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).err(), Some(HeadError::TooLarge));
    let long = "x".repeat(5000);
    assert_eq!(request(&format!("GET /{long}")).err(), Some(HeadError::UriTooLong));
    assert_eq!(request(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}")).err(), Some(HeadError::TooLarge));
    assert_eq!(
        request(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")).err(),
        Some(HeadError::TooLarge)
    );
}

#[test]
fn response_bodies_follow_method_and_status() {
    let check = |method: Method, text: &str, body: BodyLength, keep_alive: bool| {
        let head = parse_response(&mut BytesMut::from(text), &mut Scan::default(), &method, LIMITS)
            .unwrap()
            .unwrap();
        assert_eq!((head.body, head.keep_alive), (body, keep_alive), "for {text:?}");
    };
    check(Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", BodyLength::Fixed(3), true);
    check(Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", BodyLength::Fixed(0), true);
    check(Method::GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", BodyLength::Fixed(0), true);
    check(Method::GET, "HTTP/1.1 200 OK\r\n\r\n", BodyLength::UntilClose, false);
    check(Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", BodyLength::Fixed(3), false);
    check(Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BodyLength::Chunked, true);
    let split = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(parse_response(&mut BytesMut::from(split), &mut Scan::default(), &Method::GET, LIMITS).is_err());
    let status = parse_response(
        &mut BytesMut::from("HTTP/1.1 204 No Content\r\n\r\n"),
        &mut Scan::default(),
        &Method::GET,
        LIMITS,
    );
    assert_eq!(status.unwrap().unwrap().parts.status, StatusCode::NO_CONTENT);
}

/// Decodes `text` in pieces of `step` bytes: data, trailers, and what is left for the next message.
fn decode(length: BodyLength, text: &[u8], step: usize) -> Result<(Vec<u8>, usize, Vec<u8>), BodyError> {
    let (mut decoder, mut buf, mut rest) = (Decoder::new(length), BytesMut::new(), text);
    let (mut data, mut trailers) = (Vec::new(), 0);
    loop {
        match decoder.decode(&mut buf)? {
            Decoded::Frame(Frame::Data(d)) => data.extend_from_slice(&d),
            Decoded::Frame(Frame::Trailers(t)) => trailers = t.len(),
            Decoded::End => return Ok((data, trailers, [&buf[..], rest].concat())),
            Decoded::More if rest.is_empty() => {
                decoder.closed()?;
            }
            Decoded::More => {
                let n = step.min(rest.len());
                buf.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
            }
        }
    }
}

#[test]
fn bodies() {
    let check = |length, text: &str, expected: Result<(&str, usize, &str), BodyError>| {
        for step in [1, 2, 3, 7, 1000] {
            let got = decode(length, text.as_bytes(), step);
            let want = expected.clone().map(|(d, t, r)| (d.as_bytes().to_vec(), t, r.as_bytes().to_vec()));
            assert_eq!(got, want, "{text:?} by {step}");
        }
    };
    let bad = |why| Err(BodyError::Malformed(why));
    use BodyLength::{Chunked, Fixed, UntilClose};
    check(Fixed(3), "abcrest", Ok(("abc", 0, "rest")));
    check(Fixed(9), "abc", Err(BodyError::Closed));
    check(UntilClose, "abc", Ok(("abc", 0, "")));
    check(Chunked, "3\r\nabc\r\n0\r\n\r\nrest", Ok(("abc", 0, "rest")));
    check(Chunked, "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n", Ok(("abc0123456789", 1, "")));
    check(Chunked, "3\r\nab", Err(BodyError::Closed));
    check(Chunked, "3\nabc\r\n", bad("bad chunk size"));
    check(Chunked, "+3\r\nabc\r\n", bad("bad chunk size"));
    check(Chunked, "0x3\r\nabc\r\n", bad("bad chunk size"));
    check(Chunked, "\r\nabc\r\n", bad("bad chunk size"));
    check(Chunked, "3 \r\nabc\r\n", bad("bad chunk size"));
    check(Chunked, "ffffffffffffffff\r\nabc\r\n", bad("bad chunk size"));
    check(Chunked, "3\r\nabcd\r\n0\r\n\r\n", bad("a chunk does not end where its size says"));
    check(Chunked, "0\r\nX: 1\n\r\n", bad("a trailer line ends in a bare LF"));
    check(Chunked, "0\r\nX : 1\r\n\r\n", bad("bad trailer"));
}

proptest! {
    #[test]
    fn heads_are_the_same_however_they_arrive(step in 1usize..40, path in "/[a-z0-9/]{0,40}", value in "[ -~]{0,60}") {
        let text = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\nX-Value: {value}\r\n\r\nrest");
        let whole = request(&text).unwrap().unwrap();
        let (mut buf, mut scan, mut rest) = (BytesMut::new(), Scan::default(), text.as_bytes());
        let pieces = loop {
            let n = step.min(rest.len());
            buf.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            if let Some(head) = parse_request(&mut buf, &mut scan, LIMITS).unwrap() {
                break head;
            }
        };
        prop_assert_eq!(&pieces.parts.uri, &whole.parts.uri);
        prop_assert_eq!(&pieces.parts.headers, &whole.parts.headers);
        prop_assert_eq!([&buf[..], rest].concat(), b"rest".to_vec());
    }

    /// Another parser is the judge: it reads the same of what is taken, and takes what is refused as a bad line.
    #[test]
    fn lines_are_read_as_another_parser_reads_them(lines in prop::collection::vec(("[!-~]{0,6}[ \t]?", "[:é]?[ \t]{0,2}[ -~\t\x00\x7fé]{0,12}"), 0..6)) {
        let block: String = lines.iter().map(|(name, rest)| format!("{name}:{rest}\r\n")).chain(["\r\n".to_owned()]).collect();
        let mut ours = Vec::new();
        let taken = super::lines::headers(block.as_bytes(), 0, 16, |name, value| {
            ours.push((name.to_vec(), value.to_vec()));
            Ok(())
        });
        let mut slots = [httparse::EMPTY_HEADER; 16];
        let judged = httparse::parse_headers(block.as_bytes(), &mut slots);
        match judged {
            Ok(httparse::Status::Complete((n, theirs))) if n == block.len() => {
                let theirs: Vec<_> = theirs.iter().map(|h| (h.name.as_bytes().to_vec(), h.value.to_vec())).collect();
                prop_assert_eq!(taken.map(|lines| lines.len()), Ok(ours.len()), "{:?}", block);
                prop_assert_eq!(ours, theirs);
            }
            // It stops at a line that is empty; to us that is the end only at the end.
            Ok(_) => prop_assert!(taken.is_err(), "{:?}", block),
            Err(_) => prop_assert!(taken.is_err(), "{:?}", block),
        }
    }

    #[test]
    fn start_lines_are_read_as_another_parser_reads_them(words in prop::collection::vec(prop::sample::select(vec!["GET", "P{", " ", " ", "/", "/a?b", "*", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "200", "99", "OK", "\t", "\x00", "\x7f", "é", "x"]), 1..8)) {
        let line = words.concat();
        let mut text = line.clone();
        text.push_str("\r\n\r\n");
        let mut request = httparse::Request::new(&mut []);
        let taken = super::lines::request_line(line.as_bytes());
        if let Ok((method, target, _)) = &taken {
            prop_assert!(request.parse(text.as_bytes()).is_ok(), "{:?}", line);
            prop_assert_eq!(request.method, Some(method.as_str()));
            prop_assert_eq!(request.path, line.get(target.clone()));
        }
        let mut response = httparse::Response::new(&mut []);
        let judged = response.parse(text.as_bytes());
        if let Ok((status, _)) = super::lines::status_line(line.as_bytes()) {
            prop_assert!(judged.is_ok(), "{:?}", line);
            prop_assert_eq!(response.code, Some(status.as_u16()));
        }
    }

    #[test]
    fn parsers_survive_anything(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&mut BytesMut::from(&bytes[..]), &mut Scan::default(), LIMITS);
        let _ = parse_response(&mut BytesMut::from(&bytes[..]), &mut Scan::default(), &Method::GET, LIMITS);
        let _ = decode(BodyLength::Chunked, &bytes, 5);
    }

    #[test]
    fn chunked_bodies_come_back(body in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8), step in 1usize..60) {
        let mut text = Vec::new();
        for chunk in &body {
            text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            text.extend_from_slice(chunk);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\n\r\n");
        prop_assert_eq!(decode(BodyLength::Chunked, &text, step), Ok((body.concat(), 0, vec![])));
    }
}

#[test]
fn heads_are_written_plainly() {
    let mut out = BytesMut::new();
    let mut headers = crate::Headers::new();
    headers.insert(http::HeaderName::from_static("x-a"), http::HeaderValue::from_static("1"));
    write_response_head(&mut out, StatusCode::NOT_FOUND, &headers, Some(BodyLength::Fixed(5)), None);
    assert_eq!(out, Bytes::from_static(b"HTTP/1.1 404 Not Found\r\nx-a: 1\r\ncontent-length: 5\r\n\r\n"));
    out.clear();
    let close = http::HeaderValue::from_static("close");
    write_request_head(&mut out, &Method::POST, "/x?y", &headers, Some(BodyLength::Chunked), Some(&close));
    assert_eq!(
        out,
        Bytes::from_static(
            b"POST /x?y HTTP/1.1\r\nx-a: 1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        )
    );
}
