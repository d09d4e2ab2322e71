//! Admin endpoint, log and reload settings.

use evergate_conf::{Report, secret::Secret, units::Location};

use super::*;
use crate::at::{At, Rules};

/// The admin API, metrics and health.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    pub address: Address,
    /// Unix socket for the local command line, mode 0600. Absent: `evergate.sock` in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<Location>,
    /// Present: calls over TCP, `/healthz` and `/readyz` aside, need `Authorization: Bearer …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// What the program says of itself, on standard error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least grave line that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// Log levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what needs a hand.
    Error,
    /// And what may soon.
    Warn,
    /// And each change.
    #[default]
    Info,
    /// And each step.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// How this document is watched, and how much of its past is kept.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Watch the files, and all that they refer to.
    pub watch: bool,
    /// Wait for silence this long after a file event, so that a burst is one change. 0s to 10s.
    pub debounce: Span,
    /// Revisions kept on disk. 1 to 10000.
    #[serde(deserialize_with = "short::within::<1, 10000, _, _>")]
    #[schemars(range(min = 1, max = 10000))]
    pub history: u32,
    /// Snapshots that may live at once; over it the oldest are told to drain. 2 to 10000.
    #[serde(deserialize_with = "short::within::<2, 10000, _, _>")]
    #[schemars(range(min = 2, max = 10000))]
    pub generations: u32,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            address: Address(std::net::SocketAddr::from(([127, 0, 0, 1], 9090))),
            socket: None,
            token: None,
        }
    }
}

impl Default for Reload {
    fn default() -> Self {
        Reload { watch: true, debounce: Span::millis(20), history: 100, generations: 64 }
    }
}

impl Rules for Admin {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        // It goes into a header field, and a client must be able to send it.
        let sendable = |token: &Secret| token.expose().bytes().all(|b| b.is_ascii_graphic());
        if self.token.as_ref().is_some_and(|token| !sendable(token)) {
            at.key("token")
                .problem("bad_token", "a token has only visible ASCII characters", report)
                .sensitive();
        }
    }
}

impl Rules for Reload {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        at.key("debounce").span(self.debounce, Span::default()..=Span::secs(10), report);
    }
}
