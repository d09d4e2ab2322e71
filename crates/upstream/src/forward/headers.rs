//! Headers between two hops (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Hop-by-hop headers that stay all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Nothing,
    /// `content-length`, where it speaks of a body that is not there (RFC 9110 §8.6).
    Length,
    /// `upgrade`, in 101.
    Upgrade,
}

/// Makes a request's headers ready for any hop. True if `te: trailers` is among them.
pub(super) fn prepare(parts: &mut request::Parts) -> bool {
    let headers = &mut parts.headers;
    headers.remove(header::EXPECT);
    let te = match headers.remove(header::TE) {
        Some(value) => has_token(&value, "trailers"),
        None => false,
    };
    if te {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if !headers.contains_key(header::HOST)
        && let Some(host) = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok())
    {
        headers.insert(header::HOST, host);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    te
}

/// HTTP/2 may send each cookie by itself; HTTP/1 wants one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// Takes out what is meant for one hop only, and what `Connection` names.
pub(super) fn strip(headers: &mut HeaderMap, kept: Kept) {
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
        headers.remove(header::TE);
        if kept != Kept::Upgrade {
            headers.remove(header::UPGRADE);
        }
    }
}

fn strip_connection(headers: &mut HeaderMap, kept: Kept) {
    let values: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    headers.remove(header::CONNECTION);
    let tokens =
        values.iter().flat_map(|value| value.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    for token in tokens {
        let is = |word: &str| token.eq_ignore_ascii_case(word.as_bytes());
        if is("close") || is("keep-alive") || is("") || (is("upgrade") && kept == Kept::Upgrade) {
            continue;
        }
        if is("content-length") && kept == Kept::Length {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(token) {
            headers.remove(name);
        }
    }
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    value.as_bytes().split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
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
        check(Kept::Nothing, &[("connection", "\u{9}, ,(bad)"), ("x-a", "1")], &[("x-a", "1")]);
    }

    #[test]
    fn requests_are_made_ready() {
        let check =
            |version: Version, uri: &str, before: &[(&str, &str)], te: bool, after: &[(&str, &str)]| {
                let mut parts = http::Request::new(()).into_parts().0;
                (parts.version, parts.uri, parts.headers) = (version, uri.parse().unwrap(), map(before));
                assert_eq!((prepare(&mut parts), &parts.headers), (te, &map(after)), "for {before:?}");
            };
        let host = ("host", "h");
        check(Version::HTTP_11, "/", &[host, ("expect", "100-continue")], false, &[host]);
        check(Version::HTTP_11, "/", &[host, ("te", "gzip, Trailers")], true, &[host, ("te", "trailers")]);
        check(Version::HTTP_11, "/", &[host, ("te", "gzip")], false, &[host]);
        check(Version::HTTP_2, "http://a:1/", &[], false, &[("host", "a:1")]);
        check(Version::HTTP_2, "http://a:1/", &[host], false, &[host]);
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), host];
        check(Version::HTTP_2, "/", &crumbs, false, &[("cookie", "a=1; b=2"), host]);
        check(Version::HTTP_11, "/", &crumbs, false, &crumbs);
    }
}
