//! What rules look at of a request.

use evergate_wire::Headers;
use http::Method;

/// What of a request the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method; case counts.
    pub method: &'a Method,
    /// `Host` or `:authority`, with or without port. A request without one is taken by rules without hosts only.
    pub host: Option<&'a str>,
    /// The path in its [normal form](crate::normalized).
    pub path: &'a str,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a Headers,
}
