//! Heads of messages (RFC 9114 §4): from a field section to a request, from a response to a field section.
//!
//! What HTTP/1.1 could be misled with is malformed here: pseudo-header fields twice or late, fields of one hop,
//! names in capitals, values with blanks around them or control characters in them.

use bytes::BytesMut;
use http::{
    HeaderName, HeaderValue, Method, Uri, Version,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{
    frame::put_headers,
    qpack::{self, Broken, Fields},
};
use crate::{
    headers::Headers,
    parts::{RequestParts, ResponseParts},
};

/// What a head may have at most.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of names and values; 32 more for each field (RFC 9114 §4.2.2).
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// Why a field section is not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It cannot be read: an error of the connection.
    Broken,
    /// It is not what a head must be: an error of the stream.
    Malformed(&'static str),
    /// Beyond the limits.
    TooLarge,
}

impl From<Broken> for HeadError {
    fn from(_: Broken) -> HeadError {
        HeadError::Broken
    }
}

const FIELD_OVERHEAD: usize = 32;

/// The head of a request. Its target has the authority if the client sent `:authority`.
///
/// # Errors
/// If the section is no such head.
pub fn request(section: &[u8], limits: HeadLimits) -> Result<RequestParts, HeadError> {
    let mut pseudo = Pseudo::default();
    let mut headers = Headers::new();
    let mut late = false;
    each(section, limits, |name, value| {
        if let Some(name) = name.strip_prefix(b":") {
            return if late {
                Err(malformed("a pseudo-header field after others"))
            } else {
                pseudo.set(name, value)
            };
        }
        late = true;
        add(name, value, &mut headers)
    })?;
    let (method, uri) = pseudo.finish()?;
    Ok(RequestParts { method, uri, version: Version::HTTP_3, headers })
}

/// The trailers of a request.
///
/// # Errors
/// If the section is no such thing.
pub fn trailers(section: &[u8], limits: HeadLimits) -> Result<Headers, HeadError> {
    let mut headers = Headers::new();
    each(section, limits, |name, value| add(name, value, &mut headers))?;
    Ok(headers)
}

/// Adds a response's head as a frame.
pub fn response(parts: &ResponseParts, out: &mut BytesMut) {
    let mut section = BytesMut::with_capacity(256);
    qpack::begin(&mut section);
    qpack::field(b":status", parts.status.as_str().as_bytes(), &mut section);
    parts.headers.iter().for_each(|(name, value)| qpack::field(name, value, &mut section));
    put_headers(&section, out);
}

/// Adds trailers as a frame.
pub fn write_trailers(trailers: &Headers, out: &mut BytesMut) {
    let mut section = BytesMut::new();
    qpack::begin(&mut section);
    trailers.iter().for_each(|(name, value)| qpack::field(name, value, &mut section));
    put_headers(&section, out);
}

fn each(
    section: &[u8],
    limits: HeadLimits,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), HeadError>,
) -> Result<(), HeadError> {
    let mut fields = Fields::of(section)?;
    let (mut bytes, mut number) = (0, 0);
    // What is wrong with one field is told once all can be read: what cannot be read is the connection's end.
    let mut wrong = Ok(());
    while let Some((name, value)) = fields.next()? {
        bytes += name.len() + value.len() + FIELD_OVERHEAD;
        number += usize::from(!name.starts_with(b":"));
        if bytes > limits.bytes || number > limits.fields {
            return Err(HeadError::TooLarge);
        }
        if wrong.is_ok() {
            wrong = take(name, value);
        }
    }
    wrong
}

fn malformed(why: &'static str) -> HeadError {
    HeadError::Malformed(why)
}

/// Adds a field that is none of the standard's own.
fn add(name: &[u8], value: &[u8], headers: &mut Headers) -> Result<(), HeadError> {
    match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            return Err(malformed("a field of one connection"));
        }
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => return Err(malformed("`te` beyond trailers")),
        _ => {}
    }
    if name.iter().any(u8::is_ascii_uppercase) {
        return Err(malformed("capitals in the name of a field"));
    }
    let around = |byte: Option<&u8>| byte.is_some_and(|b| matches!(b, b' ' | b'\t'));
    if around(value.first()) || around(value.last()) {
        return Err(malformed("blanks around the value of a field"));
    }
    let name = HeaderName::from_bytes(name).map_err(|_| malformed("bad name of a field"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| malformed("bad value of a field"))?;
    headers.append(name, value);
    Ok(())
}

#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
}

impl Pseudo {
    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        match name {
            b"method" => once(&mut self.method, Method::from_bytes(value).ok()),
            b"scheme" => once(&mut self.scheme, Scheme::try_from(value).ok()),
            b"authority" => once(&mut self.authority, Authority::try_from(value).ok()),
            b"path" => {
                let is_path = (value.starts_with(b"/") || value == b"*") && !value.contains(&b'#');
                once(&mut self.path, PathAndQuery::try_from(value).ok().filter(|_| is_path))
            }
            _ => Err(malformed("an unknown pseudo-header field")),
        }
    }

    /// What has to be there is there, and nothing else (RFC 9114 §4.3.1, §4.4).
    fn finish(self) -> Result<(Method, Uri), HeadError> {
        let Pseudo { method, scheme, authority, path } = self;
        let method = method.ok_or(malformed("no :method"))?;
        let mut uri = http::uri::Parts::default();
        if method == Method::CONNECT {
            if scheme.is_some() || path.is_some() || authority.is_none() {
                return Err(malformed("CONNECT has :authority alone"));
            }
        } else {
            let scheme = scheme.ok_or(malformed("no :scheme"))?;
            uri.path_and_query = Some(path.ok_or(malformed("no :path"))?);
            uri.scheme = authority.is_some().then_some(scheme);
        }
        uri.authority = authority;
        Ok((method, Uri::from_parts(uri).map_err(|_| malformed("bad target"))?))
    }
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), HeadError> {
    let value = value.ok_or(malformed("bad value of a pseudo-header field"))?;
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("a pseudo-header field twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1000, fields: 5 };
    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/x?y")];

    fn section(fields: &[(&str, &str)]) -> BytesMut {
        let mut out = BytesMut::new();
        qpack::begin(&mut out);
        fields.iter().for_each(|(n, v)| qpack::literal(n.as_bytes(), v.as_bytes(), &mut out));
        out
    }

    fn read(fields: &[(&str, &str)]) -> Result<RequestParts, HeadError> {
        request(&section(fields), LIMITS)
    }

    #[test]
    fn a_request() {
        let parts = read(&[&GET[..], &[("cookie", "a=1"), ("te", "trailers")]].concat()).unwrap();
        assert_eq!((parts.method, parts.version), (Method::GET, Version::HTTP_3));
        assert_eq!(parts.uri, "https://a/x?y");
        assert_eq!(parts.headers.len(), 2);
        let hostless = read(&[(":method", "OPTIONS"), (":scheme", "https"), (":path", "*"), ("host", "a")]);
        let hostless = hostless.unwrap();
        assert_eq!((hostless.uri.path(), hostless.uri.authority()), ("*", None));
        let connect = read(&[(":method", "CONNECT"), (":authority", "a:1")]).unwrap();
        assert_eq!(connect.method, Method::CONNECT);
    }

    #[test]
    fn malformed_requests() {
        let [method, scheme, authority, path] = GET;
        let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
        let rows: Vec<Vec<(&str, &str)>> = vec![
            vec![],
            vec![scheme, authority, path],
            vec![method, authority, path],
            vec![method, scheme, authority],
            vec![method, method, scheme, authority, path],
            vec![method, scheme, authority, authority, path],
            vec![method, scheme, authority, path, path],
            vec![method, scheme, authority, (":path", "")],
            vec![method, scheme, authority, (":path", "x")],
            vec![method, scheme, authority, (":path", "/a#b")],
            vec![method, scheme, (":authority", ""), path],
            vec![method, scheme, (":authority", "a b"), path],
            vec![(":method", "G T"), scheme, authority, path],
            vec![method, ("x-a", "1"), scheme, authority, path],
            vec![(":method", "CONNECT"), scheme, authority, path],
            with(&[(":status", "200")]),
            with(&[(":protocol", "websocket")]),
            with(&[("X-A", "1")]),
            with(&[("", "1")]),
            with(&[("x a", "1")]),
            with(&[("x-a", "1\r\nx-b: 2")]),
            with(&[("x-a", "\0")]),
            with(&[("x-a", " 1")]),
            with(&[("x-a", "1\t")]),
            with(&[("connection", "close")]),
            with(&[("transfer-encoding", "chunked")]),
            with(&[("upgrade", "websocket")]),
            with(&[("te", "gzip")]),
        ];
        for row in rows {
            let read = read(&row);
            assert!(matches!(read, Err(HeadError::Malformed(_))), "{row:?}: {read:?}");
        }
    }

    #[test]
    fn limits() {
        let many: Vec<_> = GET.into_iter().chain([("x-a", "1"); 6]).collect();
        assert_eq!(read(&many).unwrap_err(), HeadError::TooLarge);
        assert!(read(&many[..9]).is_ok());
        let long = "v".repeat(120);
        let long: Vec<_> = GET.into_iter().chain([("x-a", long.as_str()); 5]).collect();
        assert!(read(&long).is_ok());
        let limits = HeadLimits { bytes: 900, fields: 5 };
        assert_eq!(request(&section(&long), limits).unwrap_err(), HeadError::TooLarge);
        assert_eq!(request(b"\x00\x00\x80", LIMITS).unwrap_err(), HeadError::Broken);
    }

    #[test]
    fn trailers_are_fields_alone() {
        assert_eq!(trailers(&section(&[("x-sum", "1")]), LIMITS).unwrap().len(), 1);
        for wrong in [(":path", "/"), ("connection", "close")] {
            assert!(trailers(&section(&[wrong]), LIMITS).is_err());
        }
    }

    #[test]
    fn a_response_is_read_by_the_same_rules() {
        let mut headers = Headers::new();
        headers.append(HeaderName::from_static("date"), HeaderValue::from_static("now"));
        let parts = ResponseParts { status: http::StatusCode::OK, headers };
        let mut out = BytesMut::new();
        response(&parts, &mut out);
        assert_eq!(out.as_ref(), b"\x01\x08\x00\x00\xd9\x56\x03now");
        let mut out = BytesMut::new();
        write_trailers(&parts.headers, &mut out);
        assert_eq!(trailers(&out[2..], LIMITS).unwrap(), parts.headers);
    }
}
