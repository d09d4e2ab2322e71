//! What a listener carries as streams of bytes, counted by one worker.

use std::cell::Cell;

use evergate_contract::{config::Name, status::StreamCount};
use evergate_kit::Counter;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides had said all.
    Whole,
    /// One side broke it off.
    Reset,
    /// It was silent for too long.
    Idle,
    /// There was no connection to an endpoint.
    Unreachable,
    /// It asked for no name that is known, or not well.
    Refused,
}

const ENDS: [(End, &str); 5] = [
    (End::Whole, "whole"),
    (End::Reset, "reset"),
    (End::Idle, "idle"),
    (End::Unreachable, "unreachable"),
    (End::Refused, "refused"),
];

/// Streams of one listener.
#[derive(Debug, Default)]
pub(crate) struct StreamMeter {
    /// Bytes from clients.
    pub received: Counter,
    /// Bytes to clients.
    pub sent: Counter,
    ended: [Cell<u64>; ENDS.len()],
}

impl StreamMeter {
    /// One is over.
    pub(crate) fn ended(&self, how: End) {
        for ((end, _), count) in ENDS.iter().zip(&self.ended) {
            count.set(count.get() + u64::from(*end == how));
        }
    }

    /// What was counted.
    pub(super) fn counts(&self) -> StreamSum {
        let ended = std::array::from_fn(|i| self.ended.get(i).map_or(0, Cell::get));
        StreamSum { received: self.received.get(), sent: self.sent.get(), ended }
    }
}

/// What several workers have counted.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamSum {
    received: u64,
    sent: u64,
    ended: [u64; ENDS.len()],
}

impl StreamSum {
    /// Adds what another one has counted.
    pub(super) fn merge(&mut self, other: &StreamSum) {
        self.received += other.received;
        self.sent += other.sent;
        for (sum, more) in self.ended.iter_mut().zip(other.ended) {
            *sum += more;
        }
    }

    /// As others read it.
    pub(super) fn into_count(self, listener: Name) -> StreamCount {
        let ended = ENDS.iter().zip(self.ended).map(|((_, word), count)| (*word, count)).collect();
        StreamCount { listener, ended, received: self.received, sent: self.sent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let meter = StreamMeter::default();
        for ((end, _), times) in ENDS.iter().zip(1..) {
            (0..times).for_each(|_| meter.ended(*end));
        }
        meter.received.add(5);
        let mut sum = meter.counts();
        sum.merge(&meter.counts());
        let count = sum.into_count("db".into());
        let expected = [("whole", 2), ("reset", 4), ("idle", 6), ("unreachable", 8), ("refused", 10)];
        assert_eq!(count.ended, expected);
        assert_eq!((count.received, count.sent), (10, 0));
    }
}
