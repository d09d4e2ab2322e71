//! HTTP/1 off the wire: the answer may not depend on how the bytes arrive, and what is taken can be passed on to a
//! stricter peer unchanged.

use bytes::BytesMut;
use evergate_wire::{
    Frame,
    h1::{
        BodyLength, Decoded, Decoder, HeadError, HeadLimits, Scan, parse_request, parse_response,
        write_request_head,
    },
    hop::{Kept, strip},
    proxy_protocol::{self, Version},
};
use http::Method;

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, headers: 100 };

/// A head as text, and how many bytes it took.
type Head = Result<Option<(String, usize)>, HeadError>;

pub(crate) fn request_head(data: &[u8]) {
    let whole = feed(data, data.len().max(1), request);
    assert_eq!(feed(data, 1, request), whole, "byte by byte");
    assert_eq!(feed(data, 7, request), whole, "in pieces");
    forwarded(data);
}

pub(crate) fn response_head(data: &[u8]) {
    for method in [Method::GET, Method::HEAD] {
        let response = |buf: &mut BytesMut, scan: &mut Scan| {
            Ok(parse_response(buf, scan, &method, LIMITS)?.map(|head| format!("{head:?}")))
        };
        let whole = feed(data, data.len().max(1), response);
        assert_eq!(feed(data, 1, response), whole, "byte by byte");
    }
}

/// Where a PROXY header ends may not depend on how it arrives, and what it says can be said again.
pub(crate) fn proxy_header(data: &[u8]) {
    let whole = proxy_protocol::parse(data);
    let first = (0..=data.len()).map(|n| proxy_protocol::parse(data.get(..n).unwrap_or(data)));
    let first = first.into_iter().find(|parsed| *parsed != Ok(None)).unwrap_or(Ok(None));
    assert_eq!(first, whole, "byte by byte");
    let Ok(Some((said, length))) = whole else { return };
    assert!(length <= data.len(), "no longer than what there is");
    for version in [Version::One, Version::Two] {
        let mut again = BytesMut::new();
        proxy_protocol::write(&mut again, version, said);
        assert_eq!(proxy_protocol::parse(&again), Ok(Some((said, again.len()))), "said again");
    }
}

fn request(buf: &mut BytesMut, scan: &mut Scan) -> Result<Option<String>, HeadError> {
    Ok(parse_request(buf, scan, LIMITS)?.map(|head| format!("{head:?}")))
}

/// Hands over `step` bytes at a time until there is an answer.
fn feed(
    data: &[u8],
    step: usize,
    parse: impl Fn(&mut BytesMut, &mut Scan) -> Result<Option<String>, HeadError>,
) -> Head {
    let (mut buf, mut scan) = (BytesMut::new(), Scan::default());
    let mut taken = 0;
    // Past its limit a head is refused, but where depends on the pieces.
    for piece in data.get(..data.len().min(LIMITS.bytes)).unwrap_or_default().chunks(step) {
        buf.extend_from_slice(piece);
        taken += piece.len();
        if let Some(head) = parse(&mut buf, &mut scan)? {
            return Ok(Some((head, taken - buf.len())));
        }
    }
    Ok(None)
}

/// A head that is taken reads the same after it was written for the next hop.
fn forwarded(data: &[u8]) {
    let Ok(Some(head)) = parse_request(&mut BytesMut::from(data), &mut Scan::default(), LIMITS) else {
        return;
    };
    let has_host = head.parts.headers.contains(http::header::HOST);
    let target = head.parts.uri.to_string();
    if !has_host || head.parts.method == Method::CONNECT {
        return;
    }
    let mut headers = head.parts.headers.clone();
    strip(&mut headers, Kept::Nothing);
    let mut out = BytesMut::new();
    write_request_head(&mut out, &head.parts.method, &target, &headers, Some(head.body), None);
    let limits = HeadLimits { bytes: 2 * LIMITS.bytes, headers: LIMITS.headers + 1 };
    let again = parse_request(&mut out, &mut Scan::default(), limits);
    assert!(matches!(again, Ok(Some(_))), "passed on it is refused: {again:?}");
    let Ok(Some(again)) = again else { return };
    assert!(out.is_empty(), "bytes behind the head: {out:?}");
    assert_eq!(again.body, head.body);
    assert_eq!(again.parts.uri, head.parts.uri);
    for line in headers.iter() {
        assert!(again.parts.headers.iter().any(|other| other == line), "{line:?} is lost");
    }
    let lines = headers.len();
    assert_eq!(http::HeaderMap::from(headers).len(), lines, "HTTP/2 would not take a line");
}

pub(crate) fn chunked_body(data: &[u8]) {
    assert_eq!(body(data, 1), body(data, data.len().max(1)), "byte by byte");
}

/// Data, trailers, how it ended, and how many bytes were left.
fn body(data: &[u8], step: usize) -> (Vec<u8>, Option<String>, Result<bool, String>, usize) {
    let mut decoder = Decoder::new(BodyLength::Chunked);
    let (mut buf, mut taken) = (BytesMut::new(), Vec::new());
    let mut trailers = None;
    let mut fed = 0;
    for piece in data.chunks(step) {
        buf.extend_from_slice(piece);
        fed += piece.len();
        loop {
            match decoder.decode(&mut buf) {
                Ok(Decoded::Frame(Frame::Data(bytes))) => {
                    assert!(!bytes.is_empty(), "an empty frame");
                    taken.extend_from_slice(&bytes);
                }
                Ok(Decoded::Frame(Frame::Trailers(map))) => trailers = Some(format!("{map:?}")),
                Ok(Decoded::More) => break,
                Ok(Decoded::End) => return (taken, trailers, Ok(true), data.len() - fed + buf.len()),
                Err(error) => return (taken, trailers, Err(error.to_string()), 0),
            }
        }
    }
    (taken, trailers, Ok(false), 0)
}
