//! What a proxy adds to the headers of a request: where it came from, and a name for it.

use std::net::IpAddr;

use evergate_kit::Rng;
use evergate_wire::Headers;
use http::{HeaderName, HeaderValue, header};

use crate::{client::Client, conn::Conn};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// Names one request in the logs of all who see it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id of a client that is kept.
const REQUEST_ID_MAX: usize = 128;

/// Tells the upstream of the client. What trusted proxies say is passed on and completed; what anybody else says of
/// itself is replaced or taken out.
pub(crate) fn add_forwarded(headers: &mut Headers, conn: &Conn, client: &Client, via: &HeaderValue) {
    let proto = if conn.incarnation().tls { "https" } else { "http" };
    let way = match &client.told {
        Some(told) => {
            if told.forwarded || headers.contains(header::FORWARDED) {
                add_to_list(headers, &header::FORWARDED, &element(conn, proto));
            }
            headers.insert_missing(FORWARDED_PROTO, || HeaderValue::from_static(proto));
            if !headers.contains(FORWARDED_HOST) {
                headers.insert_from(FORWARDED_HOST, header::HOST);
            }
            told.way.as_ref()
        }
        None => {
            headers.remove(header::FORWARDED);
            headers.remove(FORWARDED_PORT);
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
            headers.insert_from(FORWARDED_HOST, header::HOST);
            conn.forwarded_for()
        }
    };
    match way {
        Some(way) => headers.insert(FORWARDED_FOR, way),
        None => drop(headers.remove(FORWARDED_FOR)),
    }
    add_to_list(headers, &header::VIA, via);
}

/// What we add to `Forwarded`: who asked us, and how (RFC 7239 §4).
fn element(conn: &Conn, proto: &str) -> HeaderValue {
    let element = match conn.peer().ip() {
        Some(IpAddr::V4(ip)) => format!("for={ip};proto={proto}"),
        Some(IpAddr::V6(ip)) => format!("for=\"[{ip}]\";proto={proto}"),
        None => format!("for=unknown;proto={proto}"),
    };
    HeaderValue::from_str(&element).unwrap_or(HeaderValue::from_static("for=unknown"))
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
