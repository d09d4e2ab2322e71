//! What a listener does before routes: whom it believes about the client, and how it sends clients to HTTPS.

use std::sync::Arc;

use evergate_contract::{
    FaultKind,
    config::{ClientAddress, Listener, RedirectHttps},
};
use http::{HeaderValue, StatusCode, Uri};

/// Compiled settings of a listener that most have none of.
#[derive(Debug)]
pub(crate) struct Front {
    /// Present: proxies that are believed.
    pub client: Option<ClientAddress>,
    /// Present: requests in clear text are sent to HTTPS.
    pub redirect: Option<RedirectHttps>,
    /// Present: what answers by HTTPS say (RFC 6797 §6.1).
    pub hsts: Option<HeaderValue>,
}

impl Front {
    /// Of a listener that has such settings.
    #[must_use]
    pub(crate) fn of(listener: &Listener) -> Option<Arc<Front>> {
        let hsts = listener.hsts.as_ref().and_then(|hsts| HeaderValue::from_str(&hsts.header()).ok());
        let (client, redirect) = (listener.client_address.clone(), listener.redirect_https);
        let any = client.is_some() || redirect.is_some() || hsts.is_some();
        any.then(|| Arc::new(Front { client, redirect, hsts }))
    }
}

/// Where a request in clear text is sent, and how.
pub(crate) fn redirected(
    to: RedirectHttps,
    host: Option<&str>,
    target: &Uri,
) -> Result<(StatusCode, HeaderValue), FaultKind> {
    let host = host.map(without_port).filter(|host| !host.is_empty());
    let host = host.ok_or(FaultKind::BadRequest("no Host to redirect to"))?;
    let port = if to.port == 443 { String::new() } else { format!(":{}", to.port) };
    // `*` is no place that could be asked for again.
    let path = target.path_and_query().map_or("/", |p| p.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    let place = HeaderValue::from_str(&format!("https://{host}{port}{path}"));
    let place = place.map_err(|_| FaultKind::BadRequest("the target cannot be redirected"))?;
    Ok((StatusCode::from_u16(to.status).unwrap_or(StatusCode::PERMANENT_REDIRECT), place))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            // `[::1]` and `[::1]:80`, but no bare `::1`.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_to_the_same_place() {
        let check = |port: u16, host: &str, target: &str, expected: Option<&str>| {
            let to = RedirectHttps { port, status: 301 };
            let found = redirected(to, Some(host).filter(|h| !h.is_empty()), &target.parse().unwrap());
            let found = found.ok().map(|(status, place)| {
                assert_eq!(status, 301);
                place.to_str().unwrap().to_owned()
            });
            assert_eq!(found.as_deref(), expected, "{host} {target}");
        };
        check(443, "a.example", "/b?c", Some("https://a.example/b?c"));
        check(443, "a.example:8080", "/", Some("https://a.example/"));
        check(8443, "a.example:8080", "/", Some("https://a.example:8443/"));
        check(8443, "[::1]:8080", "/", Some("https://[::1]:8443/"));
        check(443, "[::1]", "/", Some("https://[::1]/"));
        check(443, "a.example", "*", Some("https://a.example/"));
        check(443, "", "/", None);
        check(443, ":80", "/", None);
    }
}
