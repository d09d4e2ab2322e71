//! Who may call: the token over TCP, and a guard against what a browser can be made to send.
//!
//! The Unix socket is guarded by its mode alone.

use evergate_conf::{Digest, Secret};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, uri::Authority};

use crate::problem::Problem;

/// The way a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Over TCP.
    Tcp,
    /// Over the Unix socket.
    Unix,
}

/// Calls that a probe must be able to make.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// What a caller must show. Holds a hash of the token, not the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    token: Option<Digest>,
}

impl Access {
    pub(crate) fn new(token: Option<&Secret>) -> Access {
        Access { token: token.map(|t| Digest::of(t.expose().as_bytes())) }
    }

    /// True if nothing needs to be shown.
    pub(crate) fn is_open(&self) -> bool {
        self.token.is_none()
    }

    /// Lets the call pass, or says why not.
    pub(crate) fn admit(
        &self,
        via: Via,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        if via == Via::Unix || OPEN.contains(&uri.path()) {
            return Ok(());
        }
        match self.token {
            Some(token) => bearer(headers, token)?,
            None => own_host(uri, headers)?,
        }
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            Ok(())
        } else {
            own_origin(uri, headers)
        }
    }
}

fn bearer(headers: &HeaderMap, token: Digest) -> Result<(), Problem> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|v| {
        let (scheme, rest) = v.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
    });
    // Hashes have one length and say nothing of the token, so that time tells nothing either.
    let equal = shown.is_some_and(|shown| {
        let shown = Digest::of(shown);
        shown.0.iter().zip(&token.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    });
    if equal {
        return Ok(());
    }
    let why =
        if shown.is_some() { "the token is wrong" } else { "this needs `Authorization: Bearer <token>`" };
    let ask = HeaderValue::from_static("Bearer realm=\"evergate\"");
    Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why).header(header::WWW_AUTHENTICATE, ask))
}

/// A page whose name was bent to our address (DNS rebinding) still sends its own name. Names without a dot
/// cannot be had by strangers; containers call each other by them.
fn own_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = authority(uri, headers).ok_or_else(|| Problem::bad_request("the call has no valid Host"))?;
    let name = host.host().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<std::net::IpAddr>().is_ok() || !name.contains('.') || name.ends_with(".localhost") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "foreign_host",
        format!(
            "without a token the API is called by address or as localhost, not as `{name}`; set `admin.token`"
        ),
    ))
}

/// The name that the caller called, the target's own first (RFC 9112 §3.2.2).
fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?;
    Authority::try_from(host.as_bytes()).ok()
}

/// A change is taken from no page but our own. What is no browser sends neither header.
fn own_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let foreign = |what: &str| {
        let detail = format!("a web page may not make this call: {what}");
        Err(Problem::new(StatusCode::FORBIDDEN, "foreign_origin", detail))
    };
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return foreign("it comes from another site");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let page = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, page)| page);
    match (page, authority(uri, headers)) {
        (Some(page), Some(own)) if page.eq_ignore_ascii_case(own.as_str()) => Ok(()),
        _ => foreign("its Origin is not this API"),
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn status(access: &Access, call: &str, rows: &[(&'static str, &'static str)]) -> u16 {
        let (method, target) = call.split_once(' ').unwrap();
        let (method, uri) = (method.parse().unwrap(), target.parse().unwrap());
        match access.admit(Via::Tcp, &method, &uri, &headers(rows)) {
            Ok(()) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[test]
    fn without_a_token_only_own_names_are_served() {
        let open = Access::new(None);
        for (host, expected) in [
            ("127.0.0.1:9090", 200),
            ("[::1]:9090", 200),
            ("localhost", 200),
            ("localhost.", 200),
            ("a.localhost:9090", 200),
            ("evergate:9090", 200),
            ("evil.example", 403),
            ("127.0.0.1.evil.example:9090", 403),
            ("localhost.evil.example", 403),
            ("a b", 400),
        ] {
            assert_eq!(status(&open, "GET /metrics", &[("host", host)]), expected, "{host}");
        }
        assert_eq!(status(&open, "GET /metrics", &[]), 400);
        assert_eq!(status(&open, "GET /metrics", &[("host", "localhost"), ("host", "x")]), 400);
        assert_eq!(status(&open, "GET http://evil.example/metrics", &[("host", "localhost")]), 403);
        assert_eq!(status(&open, "GET /healthz", &[("host", "evil.example")]), 200);
    }

    #[test]
    fn with_a_token_it_must_be_shown() {
        let closed = Access::new(Some(&Secret::literal("s3cret").unwrap()));
        for (value, expected) in [
            ("Bearer s3cret", 200),
            ("bearer  s3cret ", 200),
            ("Bearer s3cre", 401),
            ("Bearer s3crets", 401),
            ("Bearer ", 401),
            ("Basic s3cret", 401),
            ("s3cret", 401),
        ] {
            let rows = [("host", "gw.example"), ("authorization", value)];
            assert_eq!(status(&closed, "GET /api/v1/status", &rows), expected, "{value}");
        }
        assert_eq!(status(&closed, "GET /api/v1/status", &[("host", "localhost")]), 401);
        assert_eq!(status(&closed, "GET /readyz", &[]), 200);
        assert!(closed.admit(Via::Unix, &Method::PUT, &Uri::from_static("/"), &HeaderMap::new()).is_ok());
        let problem = bearer(&HeaderMap::new(), Digest::of(b"")).unwrap_err().into_response();
        assert_eq!(problem.headers()["www-authenticate"], "Bearer realm=\"evergate\"");
    }

    #[test]
    fn pages_of_others_change_nothing() {
        let open = Access::new(None);
        for (row, expected) in [
            (("origin", "http://127.0.0.1:9090"), 200),
            (("origin", "https://evil.example"), 403),
            (("origin", "http://127.0.0.1:3000"), 403),
            (("origin", "https://127.0.0.1:9090"), 200),
            (("origin", "null"), 403),
            (("sec-fetch-site", "cross-site"), 403),
            (("sec-fetch-site", "same-site"), 403),
            (("sec-fetch-site", "same-origin"), 200),
            (("x-plain", "curl"), 200),
        ] {
            let rows = [("host", "127.0.0.1:9090"), row];
            assert_eq!(status(&open, "POST /api/v1/reload", &rows), expected, "{row:?}");
            assert_eq!(status(&open, "GET /api/v1/status", &rows), 200, "{row:?}");
        }
    }
}
