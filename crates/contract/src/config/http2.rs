//! HTTP/2 on a listener: what its clients are told (RFC 9113 §6.5.2), and how much of their misuse is borne.

use evergate_conf::{Report, units::ByteSize};

use super::*;
use crate::at::{At, Rules};

/// How HTTP/2 is spoken. A change reaches open connections as well: their clients are told by SETTINGS. How many
/// requests there may be at once is `limits.streams`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2 {
    /// What a client may send ahead on one stream before it is read. 1KiB to 16MiB.
    pub stream_window: ByteSize,
    /// What a client may send ahead on all streams of a connection together. 64KiB to 256MiB.
    pub connection_window: ByteSize,
    /// Largest frame that is taken. 16KiB to 1MiB.
    pub frame_size: ByteSize,
    /// Memory for headers that a client sends again and again (RFC 7541 §4.2). 0B to 64KiB.
    pub header_table: ByteSize,
    /// Ask clients that are silent whether they are there. Absent: they are not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<Http2Ping>,
    /// Requests that a client may cancel, or break, at once; the allowance grows back within ten seconds. More ends
    /// the connection (CVE-2023-44487). 1 to 100000.
    #[serde(deserialize_with = "short::within::<1, 100000, _, _>")]
    #[schemars(range(min = 1, max = 100000))]
    pub resets: u32,
    /// Frames that carry nothing forward (SETTINGS, PING, empty DATA, needless WINDOW_UPDATE …) that a client may send at
    /// once; the allowance grows back within ten seconds. More ends the connection. 100 to 1000000.
    #[serde(deserialize_with = "short::within::<100, 1000000, _, _>")]
    #[schemars(range(min = 100, max = 1000000))]
    pub control_frames: u32,
}

/// Whether a silent client is there.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2Ping {
    /// Silence after which a PING is sent. 1ms to 24h.
    pub interval: Span,
    /// A connection on which nothing comes for so long after it is closed. 1ms to 24h.
    pub timeout: Span,
}

impl Default for Http2 {
    fn default() -> Self {
        Http2 {
            stream_window: ByteSize(256 << 10),
            connection_window: ByteSize(2 << 20),
            frame_size: ByteSize(16 << 10),
            header_table: ByteSize(4 << 10),
            ping: None,
            resets: 400,
            control_frames: 4000,
        }
    }
}

impl Default for Http2Ping {
    fn default() -> Self {
        Http2Ping { interval: Span::secs(30), timeout: Span::secs(10) }
    }
}

impl Listener {
    /// What can be said of this part of a listener alone.
    pub(super) fn http2_rules(&self, at: At<'_>, report: &mut Report) {
        let Some(at) = at.part("http2") else { return };
        if !self.protocols.contains(&Protocol::Http2) {
            let why = "`http2` has no effect: `h2` is not among the `protocols`";
            at.key_problem("no_effect", why, report);
        }
        self.http2.rules(at, report);
    }
}

impl Rules for Http2 {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        let mut within = |key, size, bounds: std::ops::RangeInclusive<u64>| {
            at.key(key).size(size, ByteSize(*bounds.start())..=ByteSize(*bounds.end()), report);
        };
        within("stream_window", self.stream_window, 1 << 10..=16 << 20);
        within("connection_window", self.connection_window, 64 << 10..=256 << 20);
        within("frame_size", self.frame_size, 16 << 10..=1 << 20);
        within("header_table", self.header_table, 0..=64 << 10);
        if let Some(ping) = &self.ping {
            let at = at.key("ping");
            at.key("interval").timeout(ping.interval, report);
            at.key("timeout").timeout(ping.timeout, report);
        }
    }
}
