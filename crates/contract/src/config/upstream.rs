//! Upstreams: groups of endpoints.

use evergate_conf::Report;
use http::uri::Authority;

use super::*;
use crate::at::{At, Rules};

/// A group of endpoints that answer the same requests.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Who answers. Health, load and pools belong to the URL and survive every other change.
    pub endpoints: Vec<Endpoint>,
    /// Which endpoint takes the next request.
    #[serde(default)]
    pub balance: Balance,
    /// What is spoken to the endpoints.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// How `https` and `tls` endpoints are verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Present: connections begin with a PROXY header, which says for whom they are made; each carries one request, so
    /// that those of two clients never share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// Ask each endpoint regularly whether it lives. Absent: all are taken to live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Set endpoints aside that fail real requests. Absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejection: Option<Ejection>,
    /// How long an endpoint may take.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Idle connections.
    #[serde(default)]
    pub pool: Pool,
    /// What is tried again.
    #[serde(default)]
    pub retries: Retries,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How the next endpoint is chosen among those that live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by smooth weights.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight, relative to its weight.
    LeastRequests,
    /// The better of two taken at random: nearly as good as the least, without looking at all.
    P2c,
    /// At random, by weight.
    Random,
}

/// What is spoken to the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum UpstreamProtocol {
    /// HTTP/1.1, or over TLS what the endpoint chooses by ALPN.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1 only.
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2 only; in clear text with prior knowledge (RFC 9113 §3.3).
    #[serde(rename = "h2")]
    Http2,
}

/// TLS towards endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file of the authorities to trust. Absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<FilePath>,
    /// Name to ask for (SNI) and to verify. Absent: the host of the endpoint's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Own certificate, by its name in `certificates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Name>,
    /// Take any certificate. For tests only.
    pub insecure_skip_verify: bool,
}

/// Active health checks, off the request path.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Asked by `GET`; a 2xx or 3xx answer is good. Absent: a TCP connection is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `Host` of the question. Absent: the endpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// From one question to the next; jittered by a tenth. 10ms to 24h.
    pub interval: Span,
    /// An answer later than this is a bad one. 1ms to 24h.
    pub timeout: Span,
    /// Good answers in a row that bring a dead endpoint back. 1 to 100.
    #[serde(deserialize_with = "short::within::<1, 100, _, _>")]
    #[schemars(range(min = 1, max = 100))]
    pub healthy: u16,
    /// Bad answers in a row that take a living endpoint out. 1 to 100.
    #[serde(deserialize_with = "short::within::<1, 100, _, _>")]
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy: u16,
}

/// Passive health: endpoints that fail real requests are set aside for a while.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ejection {
    /// Failures in a row (no connection, no answer, 502, 503, 504; for datagrams, that nobody takes them there) that set
    /// it aside. 1 to 1000.
    #[serde(deserialize_with = "short::within::<1, 1000, _, _>")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u16,
    /// For how long the first time; each further time in a row adds as much again, up to ten times. 1ms to 24h.
    pub duration: Span,
    /// Never set aside more than this share of the endpoints, in percent. 0 to 100.
    #[serde(deserialize_with = "short::within::<0, 100, _, _>")]
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: u8,
}

/// How long an endpoint may take.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// For name look-up, TCP and TLS together; then the next endpoint is tried, or 504. 1ms to 24h.
    pub connect: Span,
    /// From the end of the request to the headers of the response; later answers 504. 1ms to 24h.
    pub response: Span,
    /// Longest silence within a response body. 1ms to 24h.
    pub body: Span,
    /// An idle pooled connection is closed after this. 1ms to 24h.
    pub idle: Span,
}

/// Idle connections to an endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Idle connections that each worker keeps for each endpoint. 0 to 10000; 0 keeps none.
    #[serde(deserialize_with = "short::within::<0, 10000, _, _>")]
    #[schemars(range(min = 0, max = 10000))]
    pub idle: u32,
}

/// What is tried again: only requests of which nothing was sent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// Further endpoints to try when no connection could be had. 0 to 10.
    #[serde(deserialize_with = "short::within::<0, 10, _, _>")]
    #[schemars(range(min = 0, max = 10))]
    pub connect: u8,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            path: None,
            host: None,
            interval: Span::secs(5),
            timeout: Span::secs(2),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection { failures: 5, duration: Span::secs(30), max_percent: 50 }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        UpstreamTimeouts {
            connect: Span::secs(5),
            response: Span::secs(60),
            body: Span::secs(60),
            idle: Span::secs(60),
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Pool { idle: 1024 }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Retries { connect: 2 }
    }
}

impl Rules for Upstream {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        self.endpoint_rules(at.key("endpoints"), report);
        match self.carries() {
            Carried::Http => {}
            Carried::Tcp => tcp_rules(at, report),
            Carried::Udp => {
                let why = "datagrams are carried to these endpoints, there are no connections";
                at.only(&["balance", "ejection", "endpoints"], why, report);
            }
        }
        if let Some(tls) = &self.tls {
            let tls_at = at.key("tls");
            tls.rules(tls_at, report);
            if !self.endpoints.is_empty() && !self.endpoints.iter().any(Endpoint::is_tls) {
                let why = "`tls` has no effect: no endpoint is `https` or `tls`";
                tls_at.key_problem("no_effect", why, report);
            }
        }
        if let Some(health) = &self.health {
            health.rules(at.key("health"), report);
        }
        if let Some(ejection) = &self.ejection {
            at.key("ejection").key("duration").timeout(ejection.duration, report);
        }
        let (at, timeouts) = (at.key("timeouts"), &self.timeouts);
        at.key("connect").timeout(timeouts.connect, report);
        at.key("response").timeout(timeouts.response, report);
        at.key("body").timeout(timeouts.body, report);
        at.key("idle").timeout(timeouts.idle, report);
    }
}

/// Keys that say something of a connection, whatever is spoken on it.
const TCP_KEYS: [&str; 8] =
    ["balance", "ejection", "endpoints", "health", "proxy_protocol", "retries", "timeouts", "tls"];

fn tcp_rules(at: At<'_>, report: &mut Report) {
    let why = "streams are carried to these endpoints, no HTTP is spoken";
    at.only(&TCP_KEYS, why, report);
    if let Some(timeouts) = at.part("timeouts") {
        timeouts.only(&["connect"], why, report);
    }
    if let Some(health) = at.part("health") {
        health.only(&["healthy", "interval", "timeout", "unhealthy"], why, report);
    }
}

impl Upstream {
    /// What its endpoints take; all of them take the same.
    #[must_use]
    pub fn carries(&self) -> Carried {
        self.endpoints.first().map_or(Carried::Http, Endpoint::carries)
    }

    fn endpoint_rules(&self, at: At<'_>, report: &mut Report) {
        at.not_empty(&self.endpoints, "an upstream has at least one endpoint", report);
        if !self.endpoints.is_empty() && self.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            at.problem("no_weight", "all weights are 0: no endpoint takes requests", report);
        }
        let mut seen = std::collections::HashSet::new();
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            if !seen.insert(&endpoint.url) {
                let message = format!("endpoint `{}` is there twice", endpoint.id());
                at.item(i).problem("duplicate", message, report).help("give it a `weight`");
            }
            if endpoint.carries() != self.carries() {
                let (id, one) = (endpoint.id(), self.carries().schemes());
                let message = format!("endpoint `{id}` is not {one} as the first one is");
                at.item(i).problem("mixed_endpoints", message, report).help("make two upstreams");
            }
        }
    }
}

impl UpstreamTls {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        if self.insecure_skip_verify && self.ca.is_some() {
            let why = "`ca` has no effect: `insecure_skip_verify` takes any certificate";
            at.key("ca").key_problem("no_effect", why, report);
        }
        if let Some(name) = &self.server_name {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let is_name = name.len() <= 253
                && name.bytes().all(plain)
                && name.split('.').all(|label| !label.is_empty() && label.len() <= 63);
            if !is_name && name.parse::<std::net::IpAddr>().is_err() {
                let message = format!("`{name}` is no name or address that a certificate can be for");
                at.key("server_name").problem("bad_host", message, report);
            }
        }
    }
}

impl Health {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        at.key("interval").span(self.interval, Span::millis(10)..=Span::secs(86_400), report);
        at.key("timeout").timeout(self.timeout, report);
        if let Some(path) = &self.path {
            let valid = path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok();
            if !valid || !path.is_ascii() || path.contains('#') {
                let message = format!("`{path}` is no path to ask for; expected one such as `/health`");
                at.key("path").problem("bad_path", message, report);
            }
        }
        if let Some(host) = &self.host {
            let at = at.key("host");
            if host.contains('@') || host.parse::<Authority>().is_err() {
                at.problem("bad_host", format!("`{host}` is no host"), report);
            }
            if self.path.is_none() {
                let why = "`host` has no effect without `path`: a TCP connection is enough";
                at.key_problem("no_effect", why, report);
            }
        }
    }
}
