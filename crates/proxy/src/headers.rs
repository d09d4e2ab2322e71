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
    if let Some(address) = &conn.forwarded_for {
        add_to_list(headers, &FORWARDED_FOR, address);
    }
    let proto = HeaderValue::from_static(if conn.incarnation().tls { "https" } else { "http" });
    headers.insert(FORWARDED_PROTO, proto);
    headers.insert_from(FORWARDED_HOST, header::HOST);
    add_to_list(headers, &header::VIA, via);
}

/// Makes all values of a header and one more one list.
fn add_to_list(headers: &mut Headers, name: &HeaderName, last: &HeaderValue) {
    let mut all: Vec<&[u8]> = headers.get_all(name).collect();
    if all.is_empty() {
        return headers.append(name, last);
    }
    all.push(last.as_bytes());
    match HeaderValue::from_bytes(&all.join(&b", "[..])) {
        Ok(list) => headers.insert(name, list),
        Err(_) => headers.insert(name, last),
    }
}

/// True if this gateway is in the request's `Via` already (RFC 9110 §7.6.3).
#[must_use]
pub(crate) fn has_been_here(headers: &Headers, via: &HeaderValue) -> bool {
    let is_mine = |entry: &[u8]| received_by(entry) == received_by(via.as_bytes());
    headers.get_all(header::VIA).any(|value| value.split(|b| *b == b',').any(is_mine))
}

/// Who an entry of `Via` says it was: `1.1 name (comment)`.
fn received_by(entry: &[u8]) -> Option<&[u8]> {
    entry.trim_ascii().split(|b| *b == b' ').nth(1)
}

/// The client's request id if it is one, else a new one. It stands in `headers` afterwards.
pub(crate) fn request_id(headers: &mut Headers, rng: &Rng) -> HeaderValue {
    let usable = |v: &&[u8]| !v.is_empty() && v.len() <= REQUEST_ID_MAX && v.iter().all(u8::is_ascii_graphic);
    if let Some(id) = headers.get(&REQUEST_ID).filter(usable).and_then(|id| HeaderValue::from_bytes(id).ok())
    {
        return id;
    }
    let id = new_id(rng);
    headers.insert(&REQUEST_ID, &id);
    id
}

/// 128 random bits in hexadecimal.
fn new_id(rng: &Rng) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0_u8; 32];
    let bits = u128::from(rng.u64()) << 64 | u128::from(rng.u64());
    for (pair, byte) in text.chunks_exact_mut(2).zip(bits.to_le_bytes()) {
        let [high, low] = pair else { continue };
        (*high, *low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
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
