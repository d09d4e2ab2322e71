//! HTTP/3 on a listener.

use evergate_conf::{Report, units::ByteSize};

use super::*;
use crate::at::At;

/// How HTTP/3 is spoken with clients. Takes effect on new connections.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http3 {
    /// Requests at once on one connection. 1 to 10000.
    #[serde(deserialize_with = "short::within::<1, 10000, _, _>")]
    #[schemars(range(min = 1, max = 10000))]
    pub streams: u32,
    /// A connection on which no packet came for so long is given up without a word (RFC 9000 §10.1); the client may
    /// ask for less. 1s to 10m.
    pub idle: Span,
    /// After so long without a packet a client is asked for a sign of life. Shorter than `idle`: connections stay for
    /// as long as the client lives. 1s to 10m. Absent: clients are not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<Span>,
    /// What a client may send ahead on one request before it is read. 16KiB to 16MiB.
    pub stream_window: ByteSize,
    /// What a client may send ahead on one connection. 16KiB to 64MiB.
    pub connection_window: ByteSize,
    /// What answers over HTTP/1 and HTTP/2 say of HTTP/3, so that clients find it (RFC 7838).
    pub alt_svc: AltSvc,
}

/// The `Alt-Svc` header of a listener's answers over TCP.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AltSvc {
    /// How long clients may rely on it. 0s to 30d; `0s`: the header is not sent.
    pub max_age: Span,
    /// The port that clients reach, where that is not the listener's. 1 to 65535.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "short::within::<1, 65535, _, _>")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

impl Default for Http3 {
    fn default() -> Self {
        Http3 {
            streams: 200,
            idle: Span::secs(30),
            keep_alive: None,
            stream_window: ByteSize(256 << 10),
            connection_window: ByteSize(2 << 20),
            alt_svc: AltSvc::default(),
        }
    }
}

impl Default for AltSvc {
    fn default() -> Self {
        AltSvc { max_age: Span::secs(86_400), port: None }
    }
}

impl Http3 {
    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        let spans = Span::secs(1)..=Span::secs(600);
        at.key("idle").span(self.idle, spans.clone(), report);
        if let Some(span) = self.keep_alive {
            at.key("keep_alive").span(span, spans, report);
        }
        let least = ByteSize(16 << 10);
        at.key("stream_window").size(self.stream_window, least..=ByteSize(16 << 20), report);
        at.key("connection_window").size(self.connection_window, least..=ByteSize(64 << 20), report);
        let alt_svc = at.key("alt_svc");
        let ages = Span(std::time::Duration::ZERO)..=Span::secs(30 * 86_400);
        alt_svc.key("max_age").span(self.alt_svc.max_age, ages, report);
    }
}

/// What HTTP/3 needs of its listener.
pub(super) fn rules(listener: &Listener, at: At<'_>, report: &mut Report) {
    let spoken = listener.protocols.contains(&Protocol::Http3);
    if spoken && listener.tls.is_none() {
        at.key("protocols")
            .problem("h3_without_tls", "HTTP/3 is spoken over TLS only", report)
            .help("give the listener `tls`, or take `h3` out");
    }
    if spoken && listener.address.ip().is_none() {
        at.key("protocols")
            .problem("h3_without_udp", "HTTP/3 comes by UDP, which a Unix socket does not have", report)
            .help("give the listener an IP address, or take `h3` out");
    }
    if spoken && listener.protocols.iter().all(|protocol| *protocol == Protocol::Http3) {
        at.key("protocols")
            .problem("h3_alone", "clients find HTTP/3 by way of HTTP/1.1 or HTTP/2", report)
            .help("add `h2` or `http/1.1`");
    }
    if let Some(http3) = &listener.http3 {
        if !spoken {
            at.key("http3")
                .key_problem("no_effect", "`http3` has no effect: `h3` is not spoken here", report)
                .help("add `h3` to `protocols`, or take `http3` out");
        }
        http3.rules(at.key("http3"), report);
    }
}
