//! Changes of endpoints' health on their way to the event streams.

use evergate_contract::{config::Name, status::HealthStatus};
use serde::Serialize;

/// Changes that a slow reader may be behind.
pub(crate) const BEHIND_MAX: usize = 1024;

/// Health checks judge an endpoint otherwise than before.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename = "health")]
pub struct HealthChange {
    /// The upstream it belongs to.
    pub upstream: Name,
    /// The endpoint's URL.
    pub url: String,
    /// What it is now.
    pub health: HealthStatus,
    /// The answer that tipped it, for people.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_an_event() {
        let (url, reason) = ("http://a".to_owned(), "status 500".to_owned());
        let change = HealthChange { upstream: "api".into(), url, health: HealthStatus::Unhealthy, reason };
        let expected = r#"{"event":"health","upstream":"api","url":"http://a","health":"unhealthy","reason":"status 500"}"#;
        assert_eq!(serde_json::to_string(&change).unwrap(), expected);
    }
}
