//! Why a request got no answer of its own: whose fault, what, and whether another try may help.
//!
//! Made where it happens, turned into a reply in one place. Knows nothing of replies, logs or metrics.

use std::{error::Error, fmt, sync::Arc};

use http::StatusCode;

/// A request that went wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Who has to mend it.
    pub side: Side,
    /// What went wrong.
    pub kind: FaultKind,
    /// What lay below; for the log, never for the client.
    pub cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// Who has to mend a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client sent what cannot be served.
    Client,
    /// The upstream did not answer as it should.
    Upstream,
    /// We, or our configuration.
    Gateway,
}

/// What went wrong. One kind has one status and one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The request is malformed or ambiguous (RFC 9112 §3, §6.3); says why.
    BadRequest(&'static str),
    /// No route takes the request.
    NoRoute,
    /// There is no such file.
    NotFound,
    /// A file was asked for by a method other than GET or HEAD (RFC 9110 §15.5.6).
    MethodNotAllowed,
    /// The client took too long to send its headers or body.
    ClientTimeout,
    /// The client went away before its answer was complete.
    ClientGone,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The target is longer than the limit on headers.
    UriTooLong,
    /// The headers are larger or more than the limit.
    HeaderTooLarge,
    /// An `Expect` other than `100-continue` (RFC 9110 §10.1.1).
    ExpectationFailed,
    /// The host asks clients for a certificate that was not asked for on this connection (RFC 9110 §15.5.20).
    Misdirected,
    /// No connection to any endpoint that was tried.
    UpstreamConnect,
    /// The endpoint closed or reset the connection before its answer was complete.
    UpstreamReset,
    /// The endpoint's answer is malformed.
    UpstreamProtocol,
    /// The endpoint, or the route's whole time, ran out.
    UpstreamTimeout,
    /// No endpoint of the upstream may be asked: all are dead, set aside, or weigh 0.
    NoEndpoint,
    /// What the route needs is not there yet.
    NotReady,
    /// The request has been here before (`Via`; RFC 9110 §7.6.3, RFC 5842 §7.2).
    Loop,
    /// Our own defect.
    Internal,
}

use FaultKind as K;

impl FaultKind {
    /// The status of the reply.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            K::BadRequest(_) => StatusCode::BAD_REQUEST,
            K::NoRoute | K::NotFound => StatusCode::NOT_FOUND,
            K::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            K::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            // Nobody reads it; the log and the metrics show it as nginx's 499.
            K::ClientGone => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            K::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            K::UriTooLong => StatusCode::URI_TOO_LONG,
            K::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            K::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            K::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            K::UpstreamConnect | K::UpstreamReset | K::UpstreamProtocol => StatusCode::BAD_GATEWAY,
            K::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            K::NoEndpoint | K::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            K::Loop => StatusCode::LOOP_DETECTED,
            K::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable word for programs, in the reply and in metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            K::BadRequest(_) => "bad_request",
            K::NoRoute => "no_route",
            K::NotFound => "not_found",
            K::MethodNotAllowed => "method_not_allowed",
            K::ClientTimeout => "client_timeout",
            K::ClientGone => "client_gone",
            K::BodyTooLarge => "body_too_large",
            K::UriTooLong => "uri_too_long",
            K::HeaderTooLarge => "header_too_large",
            K::ExpectationFailed => "expectation_failed",
            K::Misdirected => "misdirected",
            K::UpstreamConnect => "upstream_connect",
            K::UpstreamReset => "upstream_reset",
            K::UpstreamProtocol => "upstream_protocol",
            K::UpstreamTimeout => "upstream_timeout",
            K::NoEndpoint => "no_endpoint",
            K::NotReady => "not_ready",
            K::Loop => "loop_detected",
            K::Internal => "internal",
        }
    }

    /// A sentence for people; never more than the client may know.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            K::BadRequest(reason) => reason,
            K::NoRoute => "no route matches this request",
            K::NotFound => "there is no such file",
            K::MethodNotAllowed => "a file can be asked for by GET and HEAD only",
            K::ClientTimeout => "the request was not complete in time",
            K::ClientGone => "the client went away",
            K::BodyTooLarge => "the request body is too large",
            K::UriTooLong => "the request target is too long",
            K::HeaderTooLarge => "the request headers are too large",
            K::ExpectationFailed => "only the expectation 100-continue can be met",
            K::Misdirected => "this host has to be asked on a connection of its own",
            K::UpstreamConnect => "the upstream cannot be reached",
            K::UpstreamReset => "the upstream closed the connection",
            K::UpstreamProtocol => "the upstream sent a malformed answer",
            K::UpstreamTimeout => "the upstream did not answer in time",
            K::NoEndpoint => "the upstream has no living endpoint",
            K::NotReady => "the gateway is not ready for this route",
            K::Loop => "the request came back to the gateway that sent it",
            K::Internal => "the gateway failed",
        }
    }

    /// Who has to mend it, as far as the kind alone says.
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            K::BadRequest(_)
            | K::NoRoute
            | K::NotFound
            | K::MethodNotAllowed
            | K::ClientTimeout
            | K::ClientGone
            | K::BodyTooLarge
            | K::UriTooLong
            | K::HeaderTooLarge
            | K::ExpectationFailed
            | K::Misdirected => Side::Client,
            K::UpstreamConnect
            | K::UpstreamReset
            | K::UpstreamProtocol
            | K::UpstreamTimeout
            | K::NoEndpoint => Side::Upstream,
            K::NotReady | K::Loop | K::Internal => Side::Gateway,
        }
    }

    /// True if nothing of the request was sent, so that any request may be tried elsewhere.
    #[must_use]
    pub fn retry_safe(self) -> bool {
        matches!(self, K::UpstreamConnect)
    }
}

impl Fault {
    /// A fault on the side that its kind says, without a cause.
    #[must_use]
    pub fn new(kind: FaultKind) -> Fault {
        Fault { side: kind.side(), kind, cause: None }
    }

    /// A malformed request.
    #[must_use]
    pub fn bad_request(reason: &'static str) -> Fault {
        Fault::new(K::BadRequest(reason))
    }

    /// Adds what lay below.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Fault {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    /// The status of the reply.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// True if nothing of the request was sent, so that any request may be tried elsewhere.
    #[must_use]
    pub fn retry_safe(&self) -> bool {
        self.kind.retry_safe()
    }
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Fault {
        Fault::new(kind)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.message())
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status_side_and_code() {
        use Side::{Client, Gateway, Upstream};
        let rows = [
            (K::BadRequest("why"), 400, Client, "bad_request"),
            (K::NoRoute, 404, Client, "no_route"),
            (K::NotFound, 404, Client, "not_found"),
            (K::MethodNotAllowed, 405, Client, "method_not_allowed"),
            (K::ClientTimeout, 408, Client, "client_timeout"),
            (K::ClientGone, 499, Client, "client_gone"),
            (K::BodyTooLarge, 413, Client, "body_too_large"),
            (K::UriTooLong, 414, Client, "uri_too_long"),
            (K::HeaderTooLarge, 431, Client, "header_too_large"),
            (K::ExpectationFailed, 417, Client, "expectation_failed"),
            (K::Misdirected, 421, Client, "misdirected"),
            (K::UpstreamConnect, 502, Upstream, "upstream_connect"),
            (K::UpstreamReset, 502, Upstream, "upstream_reset"),
            (K::UpstreamProtocol, 502, Upstream, "upstream_protocol"),
            (K::UpstreamTimeout, 504, Upstream, "upstream_timeout"),
            (K::NoEndpoint, 503, Upstream, "no_endpoint"),
            (K::NotReady, 503, Gateway, "not_ready"),
            (K::Loop, 508, Gateway, "loop_detected"),
            (K::Internal, 500, Gateway, "internal"),
        ];
        for (kind, status, side, code) in rows {
            assert_eq!((kind.status().as_u16(), kind.side(), kind.code()), (status, side, code));
            // Only a request of which nothing was sent may go elsewhere whatever it asks.
            assert_eq!(kind.retry_safe(), kind == K::UpstreamConnect, "{code}");
        }
        let codes: std::collections::BTreeSet<_> = rows.iter().map(|row| row.3).collect();
        assert_eq!(codes.len(), rows.len());
    }

    #[test]
    fn the_cause_is_kept_from_the_message() {
        let fault = Fault::new(K::UpstreamConnect).because("10.0.0.1 refused");
        assert_eq!(fault.to_string(), "the upstream cannot be reached");
        assert_eq!(fault.source().map(ToString::to_string).as_deref(), Some("10.0.0.1 refused"));
        assert_eq!(Fault::bad_request("bare LF").to_string(), "bare LF");
    }
}
