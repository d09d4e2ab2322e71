//! What a proxy adds to the headers of a request: where it came from, and a name for it.

use evergate_kit::Rng;
use evergate_wire::Headers;
use http::{HeaderName, HeaderValue, header};

use crate::conn::Conn;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Names one request in the logs of all who see it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id of a client that is kept.
const REQUEST_ID_MAX: usize = 128;

/// Adds what tells the upstream of the client. What a client says of itself in `-Proto` and `-Host` is replaced; to
/// `-For` the address that we see is appended.
pub(crate) fn add_forwarded(headers: &mut Headers, conn: &Conn, via: &HeaderValue) {
    let mine = &conn.forwarded_for;
    let chain = match headers.get(&FORWARDED_FOR) {
        None => mine.clone(),
        Some(_) => joined(headers, &FORWARDED_FOR, mine),
    };
    headers.insert(FORWARDED_FOR, chain);
    let proto = HeaderValue::from_static(if conn.incarnation().tls { "https" } else { "http" });
    headers.insert(FORWARDED_PROTO, proto);
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(FORWARDED_HOST, host),
        None => drop(headers.remove(FORWARDED_HOST)),
    }
    let via = if headers.contains(header::VIA) { joined(headers, &header::VIA, via) } else { via.clone() };
    headers.insert(header::VIA, via);
}

/// All values of a header and one more, as one list.
fn joined(headers: &Headers, name: &HeaderName, last: &HeaderValue) -> HeaderValue {
    let mut all: Vec<_> = headers.get_all(name).map(HeaderValue::as_bytes).collect();
    all.push(last.as_bytes());
    HeaderValue::from_bytes(&all.join(&b", "[..])).unwrap_or_else(|_| last.clone())
}

/// True if this gateway is in the request's `Via` already (RFC 9110 §7.6.3).
#[must_use]
pub(crate) fn has_been_here(headers: &Headers, via: &HeaderValue) -> bool {
    if !headers.contains(header::VIA) {
        return false;
    }
    let mine = received_by(via.as_bytes());
    let mut entries = headers.get_all(&header::VIA).flat_map(|v| v.as_bytes().split(|b| *b == b','));
    entries.any(|entry| received_by(entry) == mine)
}

/// Who an entry of `Via` says it was: `1.1 name (comment)`.
fn received_by(entry: &[u8]) -> Option<&[u8]> {
    entry.trim_ascii().split(|b| *b == b' ').nth(1)
}

/// The client's request id if it is one, else a new one. It stands in `headers` afterwards.
pub(crate) fn request_id(headers: &mut Headers, rng: &Rng) -> HeaderValue {
    let usable = |v: &&HeaderValue| {
        !v.is_empty() && v.len() <= REQUEST_ID_MAX && v.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(&REQUEST_ID).filter(usable) {
        return id.clone();
    }
    let id = new_id(rng);
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// 128 random bits in hexadecimal.
fn new_id(rng: &Rng) -> HeaderValue {
    let mut text = [0_u8; 32];
    let bits = u128::from(rng.u64()) << 64 | u128::from(rng.u64());
    for (i, digit) in text.iter_mut().enumerate() {
        let nibble = (bits >> (4 * i)) as u8 & 15;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_gateway_knows_itself_in_via() {
        let via = HeaderValue::from_static("1.1 evergate-1");
        assert!(has_been_here(&map(&[("via", "1.0 fred, 1.1 evergate-1")]), &via));
        assert!(has_been_here(&map(&[("via", "1.0 fred"), ("via", "2 evergate-1 (x)")]), &via));
        assert!(!has_been_here(&map(&[("via", "1.1 evergate-2")]), &via));
        assert!(!has_been_here(&map(&[]), &via));
    }

    #[test]
    fn request_ids() {
        let rng = Rng::new(1);
        let kept = |value: &'static str| request_id(&mut map(&[("x-request-id", value)]), &rng) == value;
        assert!(kept("abc-1"));
        assert!(!kept("a b"));
        assert!(!kept(""));
        let id = request_id(&mut Headers::new(), &rng);
        assert!(id.len() == 32 && id.as_bytes().iter().all(u8::is_ascii_hexdigit), "{id:?}");
        assert_ne!(id, request_id(&mut Headers::new(), &rng));
    }
}
