//! Request and response heads: bytes to `http` types.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, uri::Authority};

use super::BodyLength;
use crate::{
    headers::{Headers, Repeated},
    parts::{RequestParts, ResponseParts},
};

/// Header slots on the stack; documents may allow more, which then live on the heap.
const HEADERS_INLINE: usize = 128;
/// Headers that are usually added to a head on its way.
const HEADERS_ADDED: usize = 8;

/// How much of a head is taken.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of start line and headers.
    pub bytes: usize,
    /// Number of headers.
    pub headers: usize,
}

/// Where httparse puts a header; filling thousands of bytes with nothing first would show in the profile.
type Slot<'b> = MaybeUninit<httparse::Header<'b>>;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Breaks a rule; 400, or 502 in a response.
    #[error("{0}")]
    Malformed(&'static str),
    /// More bytes or headers than allowed; 431.
    #[error("the headers are larger than the limit")]
    TooLarge,
    /// The request line alone is larger than allowed; 414.
    #[error("the request line is larger than the limit")]
    UriTooLong,
    /// A version other than HTTP/1.0 and 1.1; 505.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
}

/// Where the search for the end of a head stands; each byte is looked at once however it arrives.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    at: usize,
    line: usize,
    /// An empty line before the head was let pass.
    passed: bool,
}

/// A request's head and what it says of the connection.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, headers as they came.
    pub parts: RequestParts,
    /// How its body ends.
    pub body: BodyLength,
    /// The client wants to go on after this exchange.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// `Connection: upgrade` with an `Upgrade` header (RFC 9110 §7.8).
    pub upgrade: bool,
}

/// A response's head and what it says of the connection.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status and headers as they came.
    pub parts: ResponseParts,
    /// How its body ends.
    pub body: BodyLength,
    /// The connection can be used again after the body.
    pub keep_alive: bool,
}

impl Scan {
    /// End of the head in `buf` (behind the empty line), if it is there. Every line must end in CR LF.
    fn end(&mut self, buf: &[u8], limits: HeadLimits) -> Result<Option<usize>, HeadError> {
        while let Some(n) = buf.get(self.at..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let lf = self.at + n;
            if lf == 0 || buf.get(lf - 1) != Some(&b'\r') {
                return Err(HeadError::Malformed("a line ends in a bare LF"));
            }
            if lf - self.line == 1 && self.line > 0 {
                return if lf < limits.bytes { Ok(Some(lf + 1)) } else { Err(HeadError::TooLarge) };
            }
            self.at = lf + 1;
            self.line = lf + 1;
        }
        self.at = buf.len();
        match buf.len() > limits.bytes {
            false => Ok(None),
            true if self.line == 0 => Err(HeadError::UriTooLong),
            true => Err(HeadError::TooLarge),
        }
    }
}

/// Takes a whole request head off the front of `buf`; `None` if it is not all there yet.
pub fn parse_request(
    buf: &mut BytesMut,
    scan: &mut Scan,
    limits: HeadLimits,
) -> Result<Option<RequestHead>, HeadError> {
    if scan.line == 0 && !scan.passed && buf.starts_with(b"\r\n") {
        // RFC 9112 §2.2: one empty line before a request is let pass.
        let _ = buf.split_to(2);
        *scan = Scan { passed: true, ..Scan::default() };
    }
    let Some(end) = scan.end(buf, limits)? else { return Ok(None) };
    *scan = Scan::default();
    let head = buf.split_to(end).freeze();
    if limits.headers <= HEADERS_INLINE {
        request_in(&head, &mut [const { MaybeUninit::uninit() }; HEADERS_INLINE], limits).map(Some)
    } else {
        request_in(&head, &mut vec![MaybeUninit::uninit(); limits.headers], limits).map(Some)
    }
}

fn request_in<'b>(
    head: &'b Bytes,
    slots: &mut [Slot<'b>],
    limits: HeadLimits,
) -> Result<RequestHead, HeadError> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, slots) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed("the head is not one request")),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(e) => return Err(parse_error(e)),
    }
    if parsed.headers.len() > limits.headers {
        return Err(HeadError::TooLarge);
    }
    let version = version(parsed.version);
    let method = parsed.method.unwrap_or_default();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Malformed("bad method"))?;
    let target = head.slice_ref(parsed.path.unwrap_or_default().as_bytes());
    let uri = Uri::from_maybe_shared(target).map_err(|_| HeadError::Malformed("bad request target"))?;
    let (headers, says) = collect(head, parsed.headers)?;
    let body = says.request_body(version)?;
    check_target(&method, &uri, &headers, version)?;
    let upgrade = says.upgrade && headers.contains(header::UPGRADE) && version == Version::HTTP_11;
    let expect_continue = says.expect_continue && version == Version::HTTP_11;
    let parts = RequestParts { method, uri, version, headers };
    Ok(RequestHead { parts, body, keep_alive: says.keep_alive(version), expect_continue, upgrade })
}

/// Takes a whole response head off the front of `buf`; `None` if it is not all there yet.
/// `method` is that of the request, which decides whether there is a body at all.
pub fn parse_response(
    buf: &mut BytesMut,
    scan: &mut Scan,
    method: &Method,
    limits: HeadLimits,
) -> Result<Option<ResponseHead>, HeadError> {
    let Some(end) = scan.end(buf, limits)? else { return Ok(None) };
    *scan = Scan::default();
    let head = buf.split_to(end).freeze();
    if limits.headers <= HEADERS_INLINE {
        response_in(&head, &mut [const { MaybeUninit::uninit() }; HEADERS_INLINE], method, limits).map(Some)
    } else {
        response_in(&head, &mut vec![MaybeUninit::uninit(); limits.headers], method, limits).map(Some)
    }
}

fn response_in<'b>(
    head: &'b Bytes,
    slots: &mut [Slot<'b>],
    method: &Method,
    limits: HeadLimits,
) -> Result<ResponseHead, HeadError> {
    let mut parsed = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, slots) {
        Ok(httparse::Status::Complete(n)) if n == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed("the head is not one response")),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(e) => return Err(parse_error(e)),
    }
    if parsed.headers.len() > limits.headers {
        return Err(HeadError::TooLarge);
    }
    let version = version(parsed.version);
    let status = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .map_err(|_| HeadError::Malformed("bad status"))?;
    let (headers, says) = collect(head, parsed.headers)?;
    let body = says.response_body(status, method, version)?;
    let keep_alive = says.keep_alive(version) && body != BodyLength::UntilClose;
    Ok(ResponseHead { parts: ResponseParts { status, headers }, body, keep_alive })
}

fn parse_error(e: httparse::Error) -> HeadError {
    match e {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::HeaderName => HeadError::Malformed("bad header name"),
        httparse::Error::HeaderValue => HeadError::Malformed("bad header value"),
        httparse::Error::NewLine => HeadError::Malformed("bad line end"),
        httparse::Error::Status => HeadError::Malformed("bad status line"),
        httparse::Error::Token => HeadError::Malformed("bad request line"),
        httparse::Error::Version => HeadError::Version,
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// What the headers say of the message's framing and of the connection.
#[derive(Default)]
struct Says {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    expect_continue: bool,
}

fn collect(head: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<(Headers, Says), HeadError> {
    let mut headers = Headers::with_capacity(parsed.len() + HEADERS_ADDED);
    let mut says = Says::default();
    for h in parsed {
        let name =
            HeaderName::from_bytes(h.name.as_bytes()).map_err(|_| HeadError::Malformed("bad header name"))?;
        says.note(&name, h.value)?;
        // httparse lets obs-text and tabs pass, as does HeaderValue; what it refuses here is a stray CR or NUL.
        let value = HeaderValue::from_maybe_shared(head.slice_ref(h.value));
        headers.append(name, value.map_err(|_| HeadError::Malformed("bad header value"))?);
    }
    Ok((headers, says))
}

impl Says {
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), HeadError> {
        if *name == header::CONTENT_LENGTH {
            if self.length.is_some() {
                return Err(HeadError::Malformed("more than one Content-Length"));
            }
            self.length = Some(parse_length(value)?);
        } else if *name == header::TRANSFER_ENCODING {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Malformed("Transfer-Encoding is not just chunked"));
            }
            self.chunked = true;
        } else if *name == header::CONNECTION {
            for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
            }
        } else if *name == header::EXPECT {
            self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }

    fn framing(&self, version: Version) -> Result<Option<BodyLength>, HeadError> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(HeadError::Malformed("both Content-Length and Transfer-Encoding")),
            (None, true) if version == Version::HTTP_10 => {
                Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0"))
            }
            (None, true) => Ok(Some(BodyLength::Chunked)),
            (Some(n), false) => Ok(Some(BodyLength::Fixed(n))),
            (None, false) => Ok(None),
        }
    }

    fn request_body(&self, version: Version) -> Result<BodyLength, HeadError> {
        Ok(self.framing(version)?.unwrap_or(BodyLength::Fixed(0)))
    }

    fn response_body(
        &self,
        status: StatusCode,
        method: &Method,
        version: Version,
    ) -> Result<BodyLength, HeadError> {
        let framing = self.framing(version)?;
        let none = *method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        Ok(if none { BodyLength::Fixed(0) } else { framing.unwrap_or(BodyLength::UntilClose) })
    }
}

/// Digits only: `+5`, `5, 5` and an empty value have tricked parsers before (RFC 9112 §6.3).
fn parse_length(value: &[u8]) -> Result<u64, HeadError> {
    const BAD: HeadError = HeadError::Malformed("bad Content-Length");
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    std::str::from_utf8(value).ok().and_then(|s| s.parse().ok()).ok_or(BAD)
}

/// RFC 9112 §3.2: exactly one Host, and it agrees with an absolute target.
fn check_target(method: &Method, uri: &Uri, headers: &Headers, version: Version) -> Result<(), HeadError> {
    let host = headers.only(&header::HOST).map_err(|Repeated| HeadError::Malformed("more than one Host"))?;
    let Some(host) = host else {
        return if version == Version::HTTP_11 { Err(HeadError::Malformed("no Host")) } else { Ok(()) };
    };
    if !host.is_empty() && Authority::try_from(host.as_bytes()).is_err_or_userinfo() {
        return Err(HeadError::Malformed("bad Host"));
    }
    match uri.authority() {
        Some(a)
            if *method != Method::CONNECT && !host.as_bytes().eq_ignore_ascii_case(a.as_str().as_bytes()) =>
        {
            Err(HeadError::Malformed("the target names another host than Host"))
        }
        None if *method != Method::OPTIONS && uri.path() == "*" => {
            Err(HeadError::Malformed("bad request target"))
        }
        _ => Ok(()),
    }
}

trait HostCheck {
    fn is_err_or_userinfo(&self) -> bool;
}

impl HostCheck for Result<Authority, http::uri::InvalidUri> {
    fn is_err_or_userinfo(&self) -> bool {
        !matches!(self, Ok(a) if !a.as_str().contains('@'))
    }
}
