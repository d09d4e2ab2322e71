//! Heads of messages in HTTP/2 (RFC 9113 §8): fields to parts with their rules, and parts to fields.
//!
//! What is read is laid out as HTTP/1.1 would have it, line behind line: passed on unchanged it is copied once.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, Uri, Version};

use super::hpack::{Decoder, Encoder, Field, HpackError};
use crate::{
    h1::{
        HeadError, HeadLimits,
        head::{is_host, parse_length},
    },
    headers::{Headers, Line},
    parts::{RequestParts, ResponseParts},
};

/// A block may be so much longer than the largest head, coded or not, before it is more than a mistake.
pub(super) const BLOCK_SLACK: usize = 64 << 10;
/// Each field counts for so much more than its bytes (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// Headers of most messages, and those that are added to them.
const LINES: usize = 24;
/// Bytes of most heads.
const TEXT: usize = 512;

/// A request's head, with what it says of the body.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, headers. `:authority` is `host` there, and stands first.
    pub parts: RequestParts,
    /// `content-length`.
    pub length: Option<u64>,
}

/// A response's head, with what it says of the body.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status and headers.
    pub parts: ResponseParts,
    /// `content-length`.
    pub length: Option<u64>,
}

/// Breaks the rules so that the stream has to end (§8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// What a block turned out to be, or why it is of no use.
pub(super) type Read<T> = Result<Result<T, Malformed>, HpackError>;

/// What is expected of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
    Trailers,
}

/// Fields as they come in.
struct Reading {
    kind: Kind,
    limits: HeadLimits,
    text: Vec<u8>,
    lines: Vec<Line>,
    /// As the peer counts it.
    size: usize,
    malformed: Option<&'static str>,
    too_large: bool,
    /// A header came, so that no pseudo-header may follow.
    regular: bool,
    method: Option<Method>,
    scheme: bool,
    /// Place of the path in `text`.
    path: Option<(usize, usize)>,
    authority: bool,
    /// What is wrong with the host; the client gets to know by an answer.
    bad_host: Option<&'static str>,
    host: Option<(usize, usize)>,
    status: Option<StatusCode>,
    length: Option<u64>,
}

impl Reading {
    fn new(kind: Kind, limits: HeadLimits) -> Reading {
        Reading {
            kind,
            limits,
            text: Vec::with_capacity(TEXT),
            lines: Vec::with_capacity(LINES),
            size: 0,
            malformed: None,
            too_large: false,
            regular: false,
            method: None,
            scheme: false,
            path: None,
            authority: false,
            bad_host: None,
            host: None,
            status: None,
            length: None,
        }
    }

    fn block(mut self, decoder: &mut Decoder, block: &[u8]) -> Result<Reading, HpackError> {
        let most = self.limits.bytes + BLOCK_SLACK;
        decoder.decode(block, most, |field| self.field(field))?;
        Ok(self)
    }

    fn field(&mut self, field: Field<'_>) {
        self.size += field.name.len() + field.value.len() + FIELD_OVERHEAD;
        // The rest is read for the table's sake only.
        if self.size > self.limits.bytes {
            self.too_large = true;
        }
        if self.too_large || self.malformed.is_some() {
            return;
        }
        let outcome = match field.name.first() {
            _ if !field.clean => Err("bad characters in a header"),
            Some(b':') => self.pseudo(field.name, field.value),
            _ => self.header(field.name, field.value),
        };
        if let Err(why) = outcome {
            self.malformed = Some(why);
        }
    }

    /// §8.3: each once, before all headers, and only those of this kind of message.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if self.regular {
            return Err("a pseudo-header behind a header");
        }
        let again = match (self.kind, name) {
            (Kind::Request, b":method") => {
                let method = Method::from_bytes(value).map_err(|_| "bad :method")?;
                self.method.replace(method).is_some()
            }
            (Kind::Request, b":path") => {
                let at = self.text.len();
                self.text.extend_from_slice(value);
                self.path.replace((at, self.text.len())).is_some()
            }
            (Kind::Request, b":scheme") => {
                let is_scheme = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
                if value.is_empty() || !value.iter().all(is_scheme) {
                    return Err("bad :scheme");
                }
                std::mem::replace(&mut self.scheme, true)
            }
            (Kind::Request, b":authority") => {
                if !is_host(value) {
                    self.bad_host = Some("bad :authority");
                }
                let again = std::mem::replace(&mut self.authority, true);
                self.host = Some(self.line(b"host", value));
                again
            }
            (Kind::Response, b":status") => {
                let is_status = value.len() == 3;
                let status = StatusCode::from_bytes(value).ok().filter(|_| is_status);
                self.status.replace(status.ok_or("bad :status")?).is_some()
            }
            _ => return Err("a pseudo-header that does not belong there"),
        };
        if again { Err("a pseudo-header twice") } else { Ok(()) }
    }

    fn header(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        self.regular = true;
        match (name.len(), name.first().copied().unwrap_or_default()) {
            (14, b'c') if name == b"content-length" => {
                let length = parse_length(value).map_err(|_| "bad content-length")?;
                if self.length.replace(length).is_some() || self.kind == Kind::Trailers {
                    return Err("more than one content-length");
                }
            }
            (4, b'h') if name == b"host" && self.kind == Kind::Request => {
                self.host(value);
                return Ok(());
            }
            (2, b't') if name == b"te" && !value.eq_ignore_ascii_case(b"trailers") => {
                return Err("te is not just trailers");
            }
            // §8.2.2: what belongs to a connection of HTTP/1.1.
            (10 | 7 | 16 | 17, b'c' | b'k' | b'u' | b'p' | b't')
                if matches!(
                    name,
                    b"connection" | b"keep-alive" | b"upgrade" | b"proxy-connection" | b"transfer-encoding"
                ) =>
            {
                return Err("a header of HTTP/1.1's connections");
            }
            _ => {}
        }
        if self.lines.len() >= self.limits.headers {
            self.too_large = true;
            return Ok(());
        }
        self.line(name, value);
        Ok(())
    }

    /// `host` may say once more what `:authority` says (§8.3.1).
    fn host(&mut self, value: &[u8]) {
        match self.host {
            Some((from, to)) => {
                let known = self.text.get(from..to).unwrap_or_default();
                if !known.eq_ignore_ascii_case(value) || !self.authority {
                    self.bad_host = Some(if self.authority {
                        ":authority and Host differ"
                    } else {
                        "more than one Host"
                    });
                }
            }
            None => {
                if !is_host(value) {
                    self.bad_host = Some("bad Host");
                }
                self.host = Some(self.line(b"host", value));
            }
        }
    }

    /// Appends a line; gives the place of the value.
    fn line(&mut self, name: &[u8], value: &[u8]) -> (usize, usize) {
        let at = self.text.len();
        self.text.reserve(name.len() + value.len() + 4);
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(value);
        let end = self.text.len();
        self.text.extend_from_slice(b"\r\n");
        self.lines.push(Line::plain(name, at, value.len()));
        (end - value.len(), end)
    }

    fn request(self) -> Result<Result<RequestHead, HeadError>, Malformed> {
        if let Some(why) = self.malformed {
            return Err(Malformed(why));
        }
        if self.too_large {
            return Ok(Err(HeadError::TooLarge));
        }
        let method = self.method.ok_or(Malformed("no :method"))?;
        let text = Bytes::from(self.text);
        let uri = match (self.path, self.scheme) {
            _ if method == Method::CONNECT => {
                return Ok(Err(HeadError::Malformed("CONNECT is not offered")));
            }
            (Some((from, to)), true) => target(text.slice(from..to), &method)?,
            _ => return Err(Malformed("no :path or no :scheme")),
        };
        if let Some(why) = self.bad_host {
            return Ok(Err(HeadError::Malformed(why)));
        }
        if self.host.is_none() {
            return Ok(Err(HeadError::Malformed("no :authority and no Host")));
        }
        let headers = Headers::received(text, self.lines);
        let parts = RequestParts { method, uri, version: Version::HTTP_2, headers };
        Ok(Ok(RequestHead { parts, length: self.length }))
    }

    fn response(self) -> Result<ResponseHead, Malformed> {
        let headers = self.whole()?;
        let status = headers.0.ok_or(Malformed("no :status"))?;
        Ok(ResponseHead { parts: ResponseParts { status, headers: headers.1 }, length: headers.2 })
    }

    fn whole(self) -> Result<(Option<StatusCode>, Headers, Option<u64>), Malformed> {
        match self.malformed {
            Some(why) => Err(Malformed(why)),
            None if self.too_large => Err(Malformed("the headers are larger than the limit")),
            None => Ok((self.status, Headers::received(Bytes::from(self.text), self.lines), self.length)),
        }
    }
}

/// §8.3.1: a path with its query; `*` for OPTIONS alone.
fn target(path: Bytes, method: &Method) -> Result<Uri, Malformed> {
    const BAD: Malformed = Malformed("bad :path");
    let fits = path.first() == Some(&b'/') || (*path == *b"*" && *method == Method::OPTIONS);
    // What stands behind `#` is never sent (RFC 9112 §3.2.1), and `Uri` would leave it out without a word.
    if !fits || memchr::memchr(b'#', &path).is_some() {
        return Err(BAD);
    }
    Uri::from_maybe_shared(path).map_err(|_| BAD)
}

/// A block that begins a request. The inner fault is answered, the outer one ends the stream.
pub(super) fn read_request(
    decoder: &mut Decoder,
    block: &[u8],
    limits: HeadLimits,
) -> Read<Result<RequestHead, HeadError>> {
    Ok(Reading::new(Kind::Request, limits).block(decoder, block)?.request())
}

/// A block that begins a response.
pub(super) fn read_response(decoder: &mut Decoder, block: &[u8], limits: HeadLimits) -> Read<ResponseHead> {
    Ok(Reading::new(Kind::Response, limits).block(decoder, block)?.response())
}

/// A block that ends a message.
pub(super) fn read_trailers(decoder: &mut Decoder, block: &[u8], limits: HeadLimits) -> Read<Headers> {
    Ok(Reading::new(Kind::Trailers, limits).block(decoder, block)?.whole().map(|(_, headers, _)| headers))
}

/// A request as it goes out. Headers that belong to one hop, and `host`, are left out.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The method.
    pub method: &'a Method,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// Host and port.
    pub authority: &'a [u8],
    /// Path and query.
    pub path: &'a [u8],
    /// Headers.
    pub headers: &'a Headers,
    /// `te: trailers` is to be sent.
    pub trailers: bool,
    /// `content-length`, where one is to be sent.
    pub length: Option<u64>,
}

pub(super) fn write_request(encoder: &mut Encoder, request: &Sent<'_>, out: &mut BytesMut) {
    encoder.begin(out);
    encoder.request(request.method.as_str(), request.scheme, request.authority, request.path, out);
    for (name, value) in request.headers.iter() {
        let is_host = name.len() == 4 && name.eq_ignore_ascii_case(b"host");
        if !is_host && !is_hop(name) && !is_length(name) {
            encoder.field(name, value, out);
        }
    }
    if request.trailers {
        encoder.field(b"te", b"trailers", out);
    }
    if let Some(length) = request.length {
        encoder.length(length, out);
    }
}

/// `length` is put in the place of a `content-length` among the headers, if it is there.
pub(super) fn write_response(
    encoder: &mut Encoder,
    parts: &ResponseParts,
    length: Option<u64>,
    out: &mut BytesMut,
) {
    encoder.begin(out);
    encoder.status(parts.status, out);
    for (name, value) in parts.headers.iter() {
        let replaced = length.is_some() && is_length(name);
        if !is_hop(name) && !replaced {
            encoder.field(name, value, out);
        }
    }
    if let Some(length) = length {
        encoder.length(length, out);
    }
}

pub(super) fn write_trailers(encoder: &mut Encoder, headers: &Headers, out: &mut BytesMut) {
    encoder.begin(out);
    headers
        .iter()
        .filter(|(name, _)| !is_hop(name))
        .for_each(|(name, value)| encoder.field(name, value, out));
}

fn is_length(name: &[u8]) -> bool {
    name.len() == 14 && name.eq_ignore_ascii_case(b"content-length")
}

/// What HTTP/2 may not carry (§8.2.2).
fn is_hop(name: &[u8]) -> bool {
    let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
    match name.len() {
        2 => is(b"te"),
        7 => is(b"upgrade"),
        10 => is(b"connection") || is(b"keep-alive"),
        16 => is(b"proxy-connection"),
        17 => is(b"transfer-encoding"),
        _ => false,
    }
}
