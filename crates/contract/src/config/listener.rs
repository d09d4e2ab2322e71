//! Listeners: where connections are taken, what is spoken there, and what clients may do.

use evergate_conf::{Report, units::ByteSize};

use super::*;
use crate::at::{At, Rules};

/// A socket that takes connections, and how it speaks.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `127.0.0.1:8080`, `[::1]:8080`, `:8080` for every IPv4 and IPv6 address, or `unix:/run/web.sock`.
    pub address: ListenAddress,
    /// What the socket is like.
    #[serde(default)]
    pub socket: SocketOptions,
    /// What may be spoken. Over TLS the client chooses by ALPN, in clear text by its first bytes (RFC 9113 §3.3).
    #[serde(default = "both_protocols")]
    pub protocols: Vec<Protocol>,
    /// Present: every connection starts with a TLS handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Present: what comes is carried to an upstream as a stream of bytes; with `tls`, without its TLS. No HTTP is
    /// spoken here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// Present: datagrams are carried to an upstream, and its answers back from the address that the client wrote to. A
    /// listener that forwards UDP may have the address of another one that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Udp>,
    /// TLS that is passed on as it came, by the name that the client asks for (SNI): `db.example.com`, or
    /// `*.example.org` for one or more labels in front; the exact name wins, then the longest. What it is not for is for
    /// the rest of the listener: `tls` ends it here, `tcp` without `tls` carries it; with neither it is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passthrough: BTreeMap<String, Tcp>,
    /// Present: proxies say by the PROXY protocol for whom they connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Present: proxies say by a header for whom they ask. Absent: nobody is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<ClientAddress>,
    /// Present: every request is redirected to HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_https: Option<RedirectHttps>,
    /// Present: answers by HTTPS say that the host is to be asked by HTTPS alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// What a client may send at most.
    #[serde(default)]
    pub limits: Limits,
    /// How long a client may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How HTTP/2 is spoken.
    #[serde(default)]
    pub http2: Http2,
    /// How HTTP/3 is spoken, where `protocols` has `h3`: over UDP at the same address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http3: Option<Http3>,
}

/// HTTP versions by their ALPN names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Protocol {
    /// HTTP/1.1 and 1.0.
    #[serde(rename = "http/1.1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/3, over QUIC. Needs `tls`, and a client that can speak TLS 1.3.
    #[serde(rename = "h3")]
    Http3,
}

/// What a client may send at most.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Request line and headers together; more answers 431. 1KiB to 1MiB.
    pub header_bytes: ByteSize,
    /// Number of headers; more answers 431. 1 to 1000.
    #[serde(deserialize_with = "short::within::<1, 1000, _, _>")]
    #[schemars(range(min = 1, max = 1000))]
    pub headers: u16,
    /// Request body; more answers 413. Absent: no limit. A route may set its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<ByteSize>,
    /// Connections at once on this listener; more are closed at once. 1 to 1000000. Absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "short::within::<1, 1000000, _, _>")]
    #[schemars(range(min = 1, max = 1000000))]
    pub connections: Option<u32>,
    /// Connections at once of one client, by its IPv4 address or its IPv6 /64; more are closed at once. What comes by a
    /// Unix socket is not counted. 1 to 1000000. Absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "short::within::<1, 1000000, _, _>")]
    #[schemars(range(min = 1, max = 1000000))]
    pub connections_per_client: Option<u32>,
    /// Requests on one connection; the last is answered with `Connection: close`, or GOAWAY. 1 to 1000000000. Absent: no
    /// limit.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "short::within::<1, 1000000000, _, _>"
    )]
    #[schemars(range(min = 1, max = 1000000000))]
    pub requests: Option<u32>,
    /// Bytes in a second at which a client must send a request's body and take an answer's, while we wait for it.
    /// `timeouts.grace` says how far it may fall behind. 1B to 1GiB. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_rate: Option<ByteSize>,
    /// Requests at once on one HTTP/2 connection (RFC 9113 §5.1.2). 1 to 10000.
    #[serde(deserialize_with = "short::within::<1, 10000, _, _>")]
    #[schemars(range(min = 1, max = 10000))]
    pub streams: u32,
}

/// How long a client may take.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a PROXY header, a TLS handshake (with the name before it, where there is `passthrough`) and the beginning of
    /// HTTP/2, each; then the connection is closed. 1ms to 24h.
    pub handshake: Span,
    /// From the first byte of a request to the end of its headers; later answers 408. 1ms to 24h.
    pub header: Span,
    /// A kept-alive connection without a request is closed after this; a change holds at once, also for those that are
    /// idle already. 1ms to 24h.
    pub idle: Span,
    /// Longest silence while a body is read from or written to the client. 1ms to 24h.
    pub body: Span,
    /// How far a body may fall behind `limits.body_rate`: a request's is answered 408 then, an answer's is cut. 1ms to
    /// 24h.
    pub grace: Span,
}

impl Listener {
    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { address: self.address.clone(), v6_only: self.socket.v6_only }
    }
}

fn both_protocols() -> Vec<Protocol> {
    vec![Protocol::Http2, Protocol::Http1]
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: ByteSize(64 << 10),
            headers: 100,
            body: None,
            connections: None,
            connections_per_client: None,
            requests: None,
            body_rate: None,
            streams: 200,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            handshake: Span::secs(10),
            header: Span::secs(10),
            idle: Span::secs(75),
            body: Span::secs(60),
            grace: Span::secs(10),
        }
    }
}

impl Rules for Listener {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        self.layer4_rules(at, report);
        self.socket.rules(&self.address, at.key("socket"), report);
        if let Some(proxy_protocol) = &self.proxy_protocol {
            let at = at.key("proxy_protocol");
            proxy_protocol.rules(at, report);
            if self.protocols.contains(&Protocol::Http3) {
                let why = "a PROXY header cannot stand before QUIC: give `h3` a listener of its own";
                at.key_problem("conflict", why, report);
            }
        }
        if let Some(client_address) = &self.client_address {
            client_address.rules(at.key("client_address"), report);
        }
        if let Some(redirect) = self.redirect_https {
            redirect.rules(self.tls.is_some(), at.key("redirect_https"), report);
        }
        if let Some(hsts) = &self.hsts {
            hsts.rules(self.tls.is_some() || self.client_address.is_some(), at.key("hsts"), report);
        }
        let protocols = at.key("protocols");
        protocols.not_empty(&self.protocols, "a listener speaks at least one protocol", report);
        protocols.once(&self.protocols, |a, b| a == b, report);
        if let Some(tls) = &self.tls {
            tls.rules(at.key("tls"), report);
        }
        http3::rules(self, at, report);
        let limits = at.key("limits");
        let bounds = ByteSize(1 << 10)..=ByteSize(1 << 20);
        limits.key("header_bytes").size(self.limits.header_bytes, bounds, report);
        if let Some(rate) = self.limits.body_rate {
            limits.key("body_rate").size(rate, ByteSize(1)..=ByteSize(1 << 30), report);
        }
        self.http2_rules(at, report);
        let (at, timeouts) = (at.key("timeouts"), &self.timeouts);
        let all = [
            ("handshake", timeouts.handshake),
            ("header", timeouts.header),
            ("idle", timeouts.idle),
            ("body", timeouts.body),
            ("grace", timeouts.grace),
        ];
        for (key, span) in all {
            at.key(key).timeout(span, report);
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "h2",
            Protocol::Http3 => "h3",
        })
    }
}
