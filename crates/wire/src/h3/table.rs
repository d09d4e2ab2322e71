//! The static table of QPACK (RFC 9204 Appendix A).

/// Names and values by their index.
pub(super) static STATIC: [(&str, &str); 99] = [
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includesubdomains"),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
];

/// First and last index of the entries with a name that responses and trailers carry.
fn named(name: &[u8]) -> Option<(u8, u8)> {
    // Told apart by length first, as a match on byte strings is.
    Some(match name {
        b"age" => (2, 2),
        b"etag" => (7, 7),
        b"date" => (6, 6),
        b"link" => (11, 11),
        b"vary" => (59, 60),
        b"server" => (92, 92),
        b"alt-svc" => (83, 83),
        b":status" => (24, 28),
        b"location" => (12, 12),
        b"set-cookie" => (14, 14),
        b"content-type" => (44, 54),
        b"last-modified" => (10, 10),
        b"cache-control" => (36, 41),
        b"accept-ranges" => (32, 32),
        b"content-length" => (4, 4),
        b"x-frame-options" => (97, 98),
        b"content-encoding" => (42, 43),
        b"x-content-type-options" => (61, 61),
        b"content-disposition" => (3, 3),
        b"content-security-policy" => (85, 85),
        b"strict-transport-security" => (56, 58),
        b"access-control-allow-origin" => (35, 35),
        _ => return None,
    })
}

/// Where a field stands: the index of its name, and whether the entry has the value too.
pub(super) fn place(name: &[u8], value: &[u8]) -> Option<(u64, bool)> {
    let (first, last) = named(name)?;
    let entries = (u64::from(first)..=u64::from(last)).zip(STATIC.iter().skip(usize::from(first)));
    let whole = entries.filter(|(_, entry)| entry.1.as_bytes() == value).map(|(index, _)| index).next();
    Some(whole.map_or((u64::from(first), false), |index| (index, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_where_they_are_said_to_be() {
        for (name, _) in STATIC {
            let Some((first, last)) = named(name.as_bytes()) else { continue };
            assert_eq!(STATIC.iter().position(|entry| entry.0 == name), Some(usize::from(first)));
            assert!((first..=last).all(|index| STATIC[usize::from(index)].0 == name), "{name}");
        }
        assert_eq!(place(b":status", b"200"), Some((25, true)));
        assert_eq!(place(b":status", b"204"), Some((24, false)));
        assert_eq!(place(b"x-own", b""), None);
    }
}
