//! Request and response heads: bytes to `http` types.

use std::sync::LazyLock;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode, Uri, Version, header, uri::Authority};
use memchr::memmem::Finder;

use super::{BodyLength, lines};
use crate::{
    headers::{Headers, Repeated},
    parts::{RequestParts, ResponseParts},
};

/// Empty lines that may stand before a request.
const EMPTY_LINES_MAX: u8 = 2;

/// How much of a head is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of start line and headers.
    pub bytes: usize,
    /// Number of headers.
    pub headers: usize,
}

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
    /// Empty lines before the head that were let pass.
    passed: u8,
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

/// The end of a head. Most heads are looked at once, whole; then this is all the search there is.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

impl Scan {
    /// End of the head in `buf` (behind the empty line), if it is there. Every line must end in CR LF.
    fn end(&mut self, buf: &[u8], limits: HeadLimits) -> Result<Option<usize>, HeadError> {
        let from = self.at.saturating_sub(3);
        let new = buf.get(from..).unwrap_or_default();
        let end = END.find(new).map(|at| from + at + 4);
        let head = new.get(..end.map_or(new.len(), |end| end - from)).unwrap_or_default();
        // The first of the new bytes was looked at before, unless it is the first of all.
        if has_bare_lf(head) || buf.starts_with(b"\n") {
            return Err(HeadError::Malformed("a line ends in a bare LF"));
        }
        if let Some(end) = end {
            return if end <= limits.bytes { Ok(Some(end)) } else { Err(HeadError::TooLarge) };
        }
        self.at = buf.len();
        match buf.len() > limits.bytes {
            false => Ok(None),
            true if memchr::memchr(b'\n', buf).is_none() => Err(HeadError::UriTooLong),
            true => Err(HeadError::TooLarge),
        }
    }
}

/// True if a LF follows anything but a CR. Looks at every pair, so that many are looked at at once.
fn has_bare_lf(text: &[u8]) -> bool {
    let pairs = text.iter().zip(text.get(1..).unwrap_or_default());
    pairs.fold(false, |bad, (a, b)| bad | ((*b == b'\n') & (*a != b'\r')))
}

/// Takes a whole request head off the front of `buf`; `None` if it is not all there yet.
pub fn parse_request(
    buf: &mut BytesMut,
    scan: &mut Scan,
    limits: HeadLimits,
) -> Result<Option<RequestHead>, HeadError> {
    while scan.at < 3 && buf.starts_with(b"\r\n") {
        // RFC 9112 §2.2: an empty line before a request is let pass; browsers of old sent one behind a body.
        if scan.passed == EMPTY_LINES_MAX {
            return Err(HeadError::Malformed("bad request line"));
        }
        buf.advance(2);
        *scan = Scan { at: 0, passed: scan.passed + 1 };
    }
    let Some(end) = scan.end(buf, limits)? else { return Ok(None) };
    *scan = Scan::default();
    request_in(buf.split_to(end).freeze(), limits).map(Some)
}

fn request_in(head: Bytes, limits: HeadLimits) -> Result<RequestHead, HeadError> {
    let (line, at) = start_line(&head);
    let (method, target, version) = lines::request_line(line)?;
    let uri = Uri::from_maybe_shared(head.slice(target));
    let uri = uri.map_err(|_| HeadError::Malformed("bad request target"))?;
    let mut says = Says::default();
    let lines = lines::headers(&head, at, limits.headers, |name, value| says.note(name, value))?;
    let headers = Headers::received(head, lines);
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
    response_in(buf.split_to(end).freeze(), method, limits).map(Some)
}

fn response_in(head: Bytes, method: &Method, limits: HeadLimits) -> Result<ResponseHead, HeadError> {
    let (line, at) = start_line(&head);
    let (status, version) = lines::status_line(line)?;
    let mut says = Says::default();
    let lines = lines::headers(&head, at, limits.headers, |name, value| says.note(name, value))?;
    let headers = Headers::received(head, lines);
    let body = says.response_body(status, method, version)?;
    let keep_alive = says.keep_alive(version) && body != BodyLength::UntilClose;
    Ok(ResponseHead { parts: ResponseParts { status, headers }, body, keep_alive })
}

/// The first line without its end, and where the next one begins.
fn start_line(head: &[u8]) -> (&[u8], usize) {
    let lf = memchr::memchr(b'\n', head).unwrap_or(head.len());
    (head.get(..lf.saturating_sub(1)).unwrap_or_default(), lf + 1)
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

impl Says {
    fn note(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        // Length and first letter sort nearly all others out.
        match (name.len(), name.first().map_or(0, |b| b | 0x20)) {
            (14, b'c') if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(HeadError::Malformed("more than one Content-Length"));
                }
                self.length = Some(parse_length(value)?);
            }
            (17, b't') if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::Malformed("Transfer-Encoding is not just chunked"));
                }
                self.chunked = true;
            }
            (10, b'c') if name.eq_ignore_ascii_case(b"connection") => {
                for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                    self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                }
            }
            (6, b'e') if name.eq_ignore_ascii_case(b"expect") => {
                self.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
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
pub(crate) fn parse_length(value: &[u8]) -> Result<u64, HeadError> {
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
    if !host.is_empty() && !is_host(host) {
        return Err(HeadError::Malformed("bad Host"));
    }
    match uri.authority() {
        Some(a) if *method != Method::CONNECT && !host.eq_ignore_ascii_case(a.as_str().as_bytes()) => {
            Err(HeadError::Malformed("the target names another host than Host"))
        }
        None if *method != Method::OPTIONS && uri.path() == "*" => {
            Err(HeadError::Malformed("bad request target"))
        }
        _ => Ok(()),
    }
}

/// True for a host, perhaps with a port, and nothing else.
pub(crate) fn is_host(host: &[u8]) -> bool {
    is_plain_host(host) || !Authority::try_from(host).is_err_or_userinfo()
}

/// What nearly every `Host` is: a name or an IPv4 address, perhaps with a port.
fn is_plain_host(host: &[u8]) -> bool {
    let name = host.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')).count();
    match host.get(name..) {
        Some([]) => name > 0,
        Some([b':', port @ ..]) => {
            name > 0 && (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit)
        }
        _ => false,
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
