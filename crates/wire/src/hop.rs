//! Headers that belong to one hop (RFC 9110 §7.6.1): taken off by a proxy in both directions.

use http::{HeaderMap, HeaderName, HeaderValue, header};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Hop-by-hop headers that stay all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// None of them.
    Nothing,
    /// `te`, in a request, for who sends it on.
    Te,
    /// `content-length`, where it speaks of a body that is not there (RFC 9110 §8.6).
    Length,
    /// `upgrade`, in 101.
    Upgrade,
}

/// Takes out what is meant for one hop only, and what `Connection` names.
pub fn strip(headers: &mut HeaderMap, kept: Kept) {
    const LENGTH: u8 = 1;
    const CONNECTION: u8 = 2;
    const TRANSFER: u8 = 4;
    const OTHER: u8 = 8;
    // One look at each name is cheaper than asking for each of the seven.
    let found = headers.keys().fold(0, |found, name| {
        found
            | match name.as_str() {
                "content-length" => LENGTH,
                "connection" => CONNECTION,
                "transfer-encoding" => TRANSFER,
                "keep-alive" | "proxy-connection" | "upgrade" | "te" => OTHER,
                _ => 0,
            }
    });
    if found & LENGTH != 0 && kept != Kept::Length {
        headers.remove(header::CONTENT_LENGTH);
    }
    if found & CONNECTION != 0 {
        strip_connection(headers, kept);
    }
    if found & TRANSFER != 0 {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if found & OTHER != 0 {
        headers.remove(&KEEP_ALIVE);
        headers.remove(&PROXY_CONNECTION);
        if kept != Kept::Te {
            headers.remove(header::TE);
        }
        if kept != Kept::Upgrade {
            headers.remove(header::UPGRADE);
        }
    }
}

fn strip_connection(headers: &mut HeaderMap, kept: Kept) {
    let mut all = headers.get_all(header::CONNECTION).iter();
    if let (Some(only), None) = (all.next(), all.next())
        && (only.as_bytes().eq_ignore_ascii_case(b"keep-alive")
            || only.as_bytes().eq_ignore_ascii_case(b"close"))
    {
        // What nearly every message says names no header.
        headers.remove(header::CONNECTION);
        return;
    }
    let values: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    headers.remove(header::CONNECTION);
    let tokens =
        values.iter().flat_map(|value| value.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    for token in tokens {
        let is = |word: &str| token.eq_ignore_ascii_case(word.as_bytes());
        if is("close") || is("keep-alive") || is("") || (is("upgrade") && kept == Kept::Upgrade) {
            continue;
        }
        if (is("content-length") && kept == Kept::Length) || (is("te") && kept == Kept::Te) || is("host") {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(token) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[(&str, &str)]) -> HeaderMap {
        let row =
            |(n, v): &(&str, &str)| (n.parse::<HeaderName>().unwrap(), v.parse::<HeaderValue>().unwrap());
        rows.iter().map(row).collect()
    }

    #[test]
    fn hop_by_hop_headers_stay_behind() {
        let check = |kept: Kept, before: &[(&str, &str)], after: &[(&str, &str)]| {
            let mut headers = map(before);
            strip(&mut headers, kept);
            assert_eq!(headers, map(after), "for {before:?}");
        };
        let plain = [("date", "x"), ("x-a", "1")];
        check(Kept::Nothing, &plain, &plain);
        check(Kept::Nothing, &[("content-length", "3"), ("x-a", "1")], &[("x-a", "1")]);
        check(
            Kept::Length,
            &[("content-length", "3"), ("x-a", "1")],
            &[("content-length", "3"), ("x-a", "1")],
        );
        check(Kept::Nothing, &[("connection", "close, X-A"), ("x-a", "1"), ("x-b", "2")], &[("x-b", "2")]);
        check(
            Kept::Nothing,
            &[("connection", "x-a"), ("connection", "x-b"), ("x-a", "1"), ("x-b", "2")],
            &[],
        );
        check(
            Kept::Nothing,
            &[
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "x"),
                ("te", "x"),
                ("transfer-encoding", "chunked"),
            ],
            &[],
        );
        check(Kept::Nothing, &[("connection", "upgrade"), ("upgrade", "websocket")], &[]);
        check(
            Kept::Upgrade,
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
            &[("upgrade", "websocket")],
        );
        check(
            Kept::Te,
            &[("connection", "te, host"), ("te", "trailers"), ("host", "a")],
            &[("te", "trailers"), ("host", "a")],
        );
        check(Kept::Nothing, &[("connection", "\u{9}, ,(bad)"), ("x-a", "1")], &[("x-a", "1")]);
    }
}
