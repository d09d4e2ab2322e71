//! How a process ends, and how it is replaced by another.

use evergate_conf::Report;

use super::*;
use crate::at::{At, Rules};

/// How connections end when the process is stopped, or when another one has taken over (an upgrade).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// When stopped: `/readyz` says so, and connections are still taken, for so long; load balancers look away meanwhile.
    /// 0s to 10m.
    pub delay: Span,
    /// When stopped: what is under way may take so long after that; then it is cut. 0s to 24h.
    pub timeout: Span,
    /// After an upgrade: idle connections of the process before are closed spread over so long, so that their clients do
    /// not come back all at once. 0s to 1h.
    pub spread: Span,
    /// After an upgrade: requests of the process before are cut after this. 0s to 24h.
    pub requests: Span,
    /// The same for responses whose length is not known before they end: streams, events, gRPC. 0s to 168h.
    pub streams: Span,
    /// The same for WebSockets. 0s to 168h.
    pub websockets: Span,
    /// The same for other upgraded connections, and TCP and UDP that are forwarded. 0s to 168h.
    pub tunnels: Span,
    /// Processes that may drain at once; when there are more, the oldest has `timeout` to finish. 1 to 64.
    #[serde(deserialize_with = "short::within::<1, 64, _, _>")]
    #[schemars(range(min = 1, max = 64))]
    pub processes: u32,
}

/// The process that serves: how it is looked after, and how it ends.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// The supervisor ends and replaces a process whose threads have not answered for so long. 1s to 10m.
    pub watchdog: Span,
    /// How connections end when the process is stopped, or when another one has taken over (an upgrade).
    pub drain: Drain,
}

impl Default for Drain {
    fn default() -> Self {
        Drain {
            delay: Span::default(),
            timeout: Span::secs(30),
            spread: Span::secs(5),
            requests: Span::secs(60),
            streams: Span::secs(10 * 60),
            websockets: Span::secs(60 * 60),
            tunnels: Span::secs(60 * 60),
            processes: 4,
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        Process { watchdog: Span::secs(10), drain: Drain::default() }
    }
}

impl Rules for Drain {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        const HOUR: u64 = 60 * 60;
        for (key, span, most) in [
            ("delay", self.delay, HOUR / 6),
            ("timeout", self.timeout, 24 * HOUR),
            ("spread", self.spread, HOUR),
            ("requests", self.requests, 24 * HOUR),
            ("streams", self.streams, 7 * 24 * HOUR),
            ("websockets", self.websockets, 7 * 24 * HOUR),
            ("tunnels", self.tunnels, 7 * 24 * HOUR),
        ] {
            at.key(key).span(span, Span::default()..=Span::secs(most), report);
        }
    }
}

impl Rules for Process {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        at.key("watchdog").span(self.watchdog, Span::secs(1)..=Span::secs(600), report);
        self.drain.rules(at.key("drain"), report);
    }
}
