//! Headers that belong to one hop (RFC 9110 §7.6.1): taken off by a proxy in both directions.

use http::{HeaderName, header};

use crate::headers::{Headers, Names};

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

static HOPS: Names<7> = Names::of([
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "content-length",
    "te",
    "upgrade",
]);

/// Takes out what is meant for one hop only, and what `Connection` names.
pub fn strip(headers: &mut Headers, kept: Kept) {
    let mut named = Vec::new();
    headers.get_all(header::CONNECTION).for_each(|value| names(value, &mut named));
    let is_named = |name: &[u8]| named.iter().any(|n| n.as_str().as_bytes().eq_ignore_ascii_case(name));
    if !named.is_empty() {
        headers.retain(|name| !is_named(name));
    }
    let but = match kept {
        Kept::Nothing => "",
        Kept::Te => "te",
        Kept::Length => "content-length",
        Kept::Upgrade => "upgrade",
    };
    headers.remove_all(&HOPS, but);
}

/// The headers that a value of `Connection` names, past those that have a rule of their own. `Host` belongs to
/// the request, whatever is said here.
fn names(value: &[u8], named: &mut Vec<HeaderName>) {
    for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        let is = |word: &str| token.eq_ignore_ascii_case(word.as_bytes());
        if is("close") || is("keep-alive") || is("") || is("host") {
            continue;
        }
        match HeaderName::from_bytes(token) {
            // It goes anyway, or stays because it is kept.
            Ok(name) if HOPS.has(name.as_str().as_bytes()) => {}
            Ok(name) => named.push(name),
            // What is no name is no header's.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(rows: &[(&str, &str)]) -> Headers {
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
