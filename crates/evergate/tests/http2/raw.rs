//! Frames as bytes, made and read here: what is tested shares no code with what tests it.

use std::time::Duration;

use evergate_testkit::{Door, io::BoxIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// Longer than anything that is not hanging.
const PATIENCE: Duration = Duration::from_secs(20);

const KINDS: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];
const REASONS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame that came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: &'static str,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// As a verdict: `GOAWAY PROTOCOL_ERROR`, `RST_STREAM 1 CANCEL`, `STATUS 1 200`, `PING ACK`.
    pub(crate) fn says(&self) -> String {
        let reason = |at: usize| REASONS[u32_at(&self.payload, at) as usize];
        match self.kind {
            "GOAWAY" => format!("GOAWAY {}", reason(4)),
            "RST_STREAM" => format!("RST_STREAM {} {}", self.stream, reason(0)),
            "HEADERS" => format!("STATUS {} {}", self.stream, status(&self.payload)),
            kind if self.flags & 1 != 0 && kind != "DATA" => format!("{kind} ACK"),
            kind => format!("{kind} {}", self.stream),
        }
    }

    /// A parameter of SETTINGS.
    pub(crate) fn setting(&self, id: u16) -> Option<u32> {
        let parameters = self.payload.chunks_exact(6);
        let mut found = parameters.filter(|p| p[..2] == id.to_be_bytes()).map(|p| u32_at(p, 2));
        found.next_back()
    }

    pub(crate) fn number(&self) -> u32 {
        u32_at(&self.payload, 0)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// `:status`, which stands first (RFC 7541: indexed, or a literal with the name's index).
fn status(block: &[u8]) -> String {
    let known = ["200", "204", "206", "304", "400", "404", "500"];
    match block {
        [first @ 0x88..=0x8e, ..] => known[usize::from(first - 0x88)].to_owned(),
        [0x08 | 0x48, 3, a, b, c, ..] => String::from_utf8_lossy(&[*a, *b, *c]).into_owned(),
        other => format!("{other:02x?}"),
    }
}

/// A frame as bytes.
pub(crate) fn frame(kind: &str, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let kind = match KINDS.iter().position(|k| *k == kind) {
        Some(kind) => kind as u8,
        None => kind.strip_prefix("KIND").and_then(|n| n.parse().ok()).expect("a kind of frame"),
    };
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field that no table has (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let length = text.len();
        match length {
            0..127 => bytes.push(length as u8),
            _ => {
                bytes.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    bytes.push(rest as u8 | 128);
                    rest >>= 7;
                }
                bytes.push(rest as u8);
            }
        }
        bytes.extend(text.bytes());
    }
    bytes
}

/// A block of headers out of `name=value` words.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// `GET` of a path, with what else is to be there.
pub(crate) fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "GET"), (":scheme", "http"), (":authority", "test.local"), (":path", path)];
    block(&[&head[..], more].concat())
}

/// A script as bytes: `KIND stream flags payload…` or `RAW payload…`, separated by `;`. `N* … & …` is sent N times; where
/// its stream is `+`, each time on the next.
///
/// Flags: `S` end of stream, `H` end of headers, `P` padded, `R` priority, `A` acknowledgement, `-` none. Payloads:
/// `@get` and `@post` (to `/here` and to the backend), `name=value` a field, `0x…` bytes, `zeros:N`, `text:…`,
/// `long:N` a field whose value has N bytes, `kept:N` the same into the table, `again:N` the newest of the table N times.
pub(crate) fn script(text: &str) -> Vec<Vec<u8>> {
    text.split(';').map(str::trim).filter(|line| !line.is_empty()).flat_map(line).collect()
}

fn line(text: &str) -> Vec<Vec<u8>> {
    let (times, text) = match text.split_once("* ") {
        Some((times, text)) => (times.parse().expect("a number"), text),
        None => (1, text),
    };
    (0..times).flat_map(|n| text.split(" & ").map(move |frame| one(frame, n))).collect()
}

fn one(text: &str, n: u32) -> Vec<u8> {
    let mut words = text.split_whitespace();
    let kind = words.next().expect("a kind");
    if kind == "RAW" {
        return words.flat_map(payload).collect();
    }
    let stream = match words.next().expect("a stream") {
        "+" => n * 2 + 1,
        number => number.parse().expect("a stream"),
    };
    let flags = words.next().expect("flags").chars().map(|flag| match flag {
        'S' | 'A' => 1,
        'H' => 4,
        'P' => 8,
        'R' => 32,
        _ => 0,
    });
    let flags = flags.fold(0, |all, flag| all | flag);
    frame(kind, flags, stream, &words.flat_map(payload).collect::<Vec<u8>>())
}

fn payload(word: &str) -> Vec<u8> {
    let number = |text: &str| text.parse::<usize>().expect("a number");
    if word == "@get" {
        return get("/here", &[]);
    }
    if word == "@post" {
        let head = [(":method", "POST"), (":scheme", "http"), (":authority", "test.local"), (":path", "/")];
        return block(&head);
    }
    if let Some(hex) = word.strip_prefix("0x") {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("text"));
        return pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect();
    }
    if let Some(n) = word.strip_prefix("zeros:") {
        return vec![0; number(n)];
    }
    if let Some(text) = word.strip_prefix("text:") {
        return text.as_bytes().to_vec();
    }
    if let Some(n) = word.strip_prefix("long:") {
        return field("x-long", &"x".repeat(number(n)));
    }
    if let Some(n) = word.strip_prefix("kept:") {
        return [&[0x40], &field("x-kept", &"x".repeat(number(n)))[1..]].concat();
    }
    if let Some(n) = word.strip_prefix("again:") {
        return vec![0xbe; number(n)];
    }
    // `_` is a blank, since words end there.
    let (name, value) = word.rsplit_once('=').expect("a field");
    field(&name.replace('_', " "), &value.replace('_', " "))
}

/// A connection, frame by frame.
pub(crate) struct Raw {
    io: BoxIo,
    input: Vec<u8>,
    /// The server's first SETTINGS.
    pub(crate) settings: Frame,
    /// The connection's window for us, as it was opened until both sides had their SETTINGS.
    pub(crate) window: u32,
}

impl Raw {
    /// After the preface, both SETTINGS and both acknowledgements.
    pub(crate) async fn connect(door: &Door) -> Raw {
        let mut raw = Raw::begin(door).await;
        raw.send(&frame("SETTINGS", 1, 0, &[])).await;
        raw
    }

    /// The server's SETTINGS are there and not acknowledged.
    pub(crate) async fn begin(door: &Door) -> Raw {
        let io = door.dial().await.expect("a connection").0;
        let settings = Frame { kind: "", flags: 0, stream: 0, payload: Vec::new() };
        let mut raw = Raw { io, input: Vec::new(), settings, window: 65_535 };
        raw.send(PREFACE).await;
        raw.send(&frame("SETTINGS", 0, 0, &[])).await;
        loop {
            let frame = raw.next().await.expect("SETTINGS, and ours acknowledged");
            match frame.kind {
                "SETTINGS" if frame.flags == 1 => return raw,
                "SETTINGS" => raw.settings = frame,
                "WINDOW_UPDATE" => raw.window += frame.number(),
                other => panic!("{other} before any request"),
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed: what it said before is what counts.
        let _ = self.io.write_all(bytes).await;
        let _ = self.io.flush().await;
    }

    /// The next frame; nothing at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((head, rest)) = self.input.split_first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let kind = KINDS[usize::from(head[3])];
                    let frame = Frame { kind, flags: head[4], stream, payload: payload.to_vec() };
                    self.input.drain(..9 + length);
                    return Some(frame);
                }
            }
            let read = timeout(PATIENCE, self.io.read_buf(&mut self.input)).await.expect("a frame or an end");
            if !matches!(read, Ok(n) if n > 0) {
                return None;
            }
        }
    }

    /// The next frame of that kind; nothing if the connection ends before.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Reads until the verdict is there; then until the connection closes, if it was GOAWAY, and shows by a PING that it
    /// lives, if it was not. Else everything that came. Other faults may come before one that is `at last`.
    pub(crate) async fn verdict(&mut self, expected: &str) -> Result<(), String> {
        let wanted = expected.strip_prefix("at last ").unwrap_or(expected);
        let mut seen = Vec::new();
        loop {
            match self.next().await {
                Some(frame) => seen.push(frame.says()),
                None => seen.push("END".to_owned()),
            }
            let last = seen.last().expect("one was pushed");
            if last == wanted {
                break;
            }
            let fault = last.starts_with("GOAWAY") || last.starts_with("RST_STREAM");
            if last == "END" || (fault && wanted == expected) {
                return Err(seen.join(", "));
            }
        }
        if wanted.starts_with("GOAWAY") {
            while self.next().await.is_some() {}
            return Ok(());
        }
        if wanted == "END" {
            return Ok(());
        }
        self.send(&frame("PING", 0, 0, b"is alive")).await;
        match self.until(|f| f.kind == "PING" && f.payload == b"is alive").await {
            Some(_) => Ok(()),
            None => Err(format!("{}, and then no answer to PING", seen.join(", "))),
        }
    }
}
