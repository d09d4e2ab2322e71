//! Headers of requests on their way out.

use evergate_wire::{Headers, RequestParts};
use http::{HeaderValue, Uri, Version, header, uri::PathAndQuery};

/// What became of a request's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prepared {
    /// `te: trailers` is among them.
    pub(super) trailers: bool,
    /// No host is, as the request names none.
    pub(super) hostless: bool,
}

/// Makes a request's headers ready for any hop.
pub(super) fn prepare(parts: &mut RequestParts) -> Prepared {
    root_query(&mut parts.uri);
    let headers = &mut parts.headers;
    headers.remove(header::EXPECT);
    let trailers = headers.get(header::TE).is_some_and(|value| has_token(value, "trailers"));
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
    let mut host = headers.contains(header::HOST);
    if !host && let Some(value) = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
        headers.insert(header::HOST, value);
        host = true;
    }
    if matches!(parts.version, Version::HTTP_2 | Version::HTTP_3) {
        join_cookies(headers);
    }
    Prepared { trailers, hostless: !host }
}

/// `http://host?query` asks for `/?query` (RFC 9112 §3.2.1).
fn root_query(uri: &mut Uri) {
    if let Some(target) = uri.path_and_query().map(PathAndQuery::as_str)
        && target.starts_with('?')
        && let Ok(target) = PathAndQuery::try_from(format!("/{target}"))
    {
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = Some(target);
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

/// HTTP/2 and HTTP/3 may send each cookie by itself; HTTP/1 wants one line (RFC 9113 §8.2.3, RFC 9114 §4.2.1).
fn join_cookies(headers: &mut Headers) {
    let crumbs: Vec<&[u8]> = headers.get_all(&header::COOKIE).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn map(rows: &[(&str, &str)]) -> Headers {
        let row =
            |(n, v): &(&str, &str)| (n.parse::<HeaderName>().unwrap(), v.parse::<HeaderValue>().unwrap());
        rows.iter().map(row).collect()
    }

    #[test]
    fn requests_are_made_ready() {
        let check =
            |version: Version, uri: &str, before: &[(&str, &str)], te: bool, after: &[(&str, &str)]| {
                let mut parts = RequestParts::default();
                (parts.version, parts.uri, parts.headers) = (version, uri.parse().unwrap(), map(before));
                assert_eq!(prepare(&mut parts).trailers, te, "for {before:?}");
                assert_eq!(parts.headers, map(after), "for {before:?}");
            };
        let host = ("host", "h");
        check(Version::HTTP_11, "/", &[host, ("expect", "100-continue")], false, &[host]);
        check(Version::HTTP_11, "/", &[host, ("te", "gzip, Trailers")], true, &[host, ("te", "trailers")]);
        check(Version::HTTP_11, "/", &[host, ("te", "gzip")], false, &[host]);
        check(Version::HTTP_2, "http://a:1/", &[], false, &[("host", "a:1")]);
        check(Version::HTTP_2, "http://a:1/", &[host], false, &[host]);
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), host];
        check(Version::HTTP_2, "/", &crumbs, false, &[host, ("cookie", "a=1; b=2")]);
        check(Version::HTTP_3, "/", &crumbs, false, &[host, ("cookie", "a=1; b=2")]);
        check(Version::HTTP_11, "/", &crumbs, false, &crumbs);
    }
}
