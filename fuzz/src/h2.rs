//! HTTP/2 off the wire: what comes of it may not depend on how the bytes arrive, and what is sent has a bound.

use bytes::{Bytes, BytesMut};
use evergate_wire::{
    Headers, ResponseParts,
    h1::HeadLimits,
    h2::{
        Limits, PREFACE, Role, Sent,
        conn::{Conn, Data},
        hpack::{Decoder, Encoder},
    },
};
use http::{Method, StatusCode};

const LIMITS: Limits = Limits {
    streams: 4,
    stream_window: 2000,
    connection_window: 70_000,
    frame: 16_384,
    table: 4096,
    head: HeadLimits { bytes: 1000, headers: 20 },
    resets: 5,
    control_frames: 50,
};
/// Bytes of fields that a block may stand for.
const MOST: usize = 64 << 10;
/// SETTINGS that ask for nothing, and one that acknowledges.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

pub(crate) fn hpack(data: &[u8]) {
    let mut decoder = Decoder::default();
    decoder.set_max(300);
    let mut fields = Vec::new();
    // Twice: the second block finds what the first has left.
    for block in [data, data] {
        let read = decoder.decode(block, MOST, |f| fields.push((f.name.to_vec(), f.value.to_vec(), f.clean)));
        if read.is_err() {
            return;
        }
    }
    let (mut encoder, mut out, mut again) = (Encoder::default(), BytesMut::new(), Vec::new());
    fields.retain(|(.., clean)| *clean);
    encoder.begin(&mut out);
    fields.iter().for_each(|(name, value, _)| encoder.field(name, value, &mut out));
    let read = Decoder::default()
        .decode(&out, 2 * MOST, |f| again.push((f.name.to_vec(), f.value.to_vec(), f.clean)));
    assert_eq!((read, again), (Ok(()), fields), "written and read again");
}

/// Everything that was said, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    bytes: BytesMut,
    end: Option<String>,
    seen: Vec<String>,
}

pub(crate) fn server(data: &[u8]) {
    let input = [PREFACE, SETTINGS, data].concat();
    let whole = serve(&input, input.len());
    assert_eq!(serve(&input, 1), whole, "byte by byte");
    assert_eq!(serve(&input, 13), whole, "in pieces");
    bounded(&whole, &input);
}

fn serve(input: &[u8], step: usize) -> Said {
    let mut out = BytesMut::new();
    let mut conn = Conn::new(Role::Server, LIMITS, &mut out);
    feed(&mut conn, input, step, &mut out);
    let mut seen = Vec::new();
    while let Some((key, head)) = conn.accept(&mut out) {
        seen.push(format!("{head:?}"));
        body(&mut conn, key, &mut out, &mut seen);
        conn.respond(key, &ResponseParts::new(StatusCode::OK), None, false, &mut out);
        conn.send(key, &mut Bytes::from_static(b"answer"), true, &mut out);
        conn.release(key, &mut out);
    }
    Said { bytes: out, end: conn.end().map(|end| end.to_string()), seen }
}

pub(crate) fn client(data: &[u8]) {
    let input = [SETTINGS, data].concat();
    let whole = ask(&input, input.len());
    assert_eq!(ask(&input, 1), whole, "byte by byte");
    assert_eq!(ask(&input, 13), whole, "in pieces");
    bounded(&whole, &input);
}

fn ask(input: &[u8], step: usize) -> Said {
    let mut out = BytesMut::new();
    let mut conn = Conn::new(Role::Client, LIMITS, &mut out);
    let headers = Headers::new();
    let keys = [Method::GET, Method::HEAD, Method::POST].map(|method| {
        let request = Sent {
            method: &method,
            scheme: "https",
            authority: b"a.test",
            path: b"/",
            headers: &headers,
            trailers: false,
            length: None,
        };
        conn.open(&request, method != Method::POST, &mut out)
    });
    feed(&mut conn, input, step, &mut out);
    let mut seen = Vec::new();
    for key in keys {
        while let Some(interim) = conn.interim(key) {
            seen.push(format!("{interim:?}"));
        }
        seen.push(format!("{:?}", conn.response(key)));
        body(&mut conn, key, &mut out, &mut seen);
        conn.release(key, &mut out);
    }
    Said { bytes: out, end: conn.end().map(|end| end.to_string()), seen }
}

fn feed(conn: &mut Conn, input: &[u8], step: usize, out: &mut BytesMut) {
    let mut buf = BytesMut::new();
    for piece in input.chunks(step.max(1)) {
        buf.extend_from_slice(piece);
        conn.receive(&mut buf, 0, out);
    }
}

fn body(conn: &mut Conn, key: usize, out: &mut BytesMut, seen: &mut Vec<String>) {
    let mut text = Vec::new();
    loop {
        match conn.take(key, out) {
            Data::Piece(piece) => {
                assert!(!piece.is_empty(), "an empty piece");
                text.extend_from_slice(&piece);
            }
            last => return seen.push(format!("{:?} {last:?}", Bytes::from(text))),
        }
    }
}

/// An answer to a frame is no larger than a small multiple of it.
fn bounded(said: &Said, input: &[u8]) {
    assert!(said.bytes.len() <= 500 + 3 * input.len(), "{} bytes for {}", said.bytes.len(), input.len());
}
