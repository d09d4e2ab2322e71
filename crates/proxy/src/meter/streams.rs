//! What a listener carries as streams of bytes or datagrams, counted by one worker.

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

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// There are as many clients as there may be.
    Sessions,
    /// There was no endpoint, or nobody takes it there.
    Unreachable,
    /// The kernel, or what waits for an endpoint, had no room.
    Full,
}

const DROPPED: [(Dropped, &str); 3] =
    [(Dropped::Sessions, "sessions"), (Dropped::Unreachable, "unreachable"), (Dropped::Full, "full")];

/// Datagrams, there and back.
#[derive(Debug, Default)]
pub(crate) struct Both {
    /// From clients.
    pub received: Counter,
    /// To clients.
    pub sent: Counter,
}

/// Streams of one listener, or datagrams.
#[derive(Debug, Default)]
pub(crate) struct StreamMeter {
    /// Datagrams, where they are what is carried.
    pub datagrams: Both,
    dropped: [Cell<u64>; DROPPED.len()],
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

    /// A datagram was dropped.
    pub(crate) fn dropped(&self, why: Dropped) {
        for ((reason, _), count) in DROPPED.iter().zip(&self.dropped) {
            count.set(count.get() + u64::from(*reason == why));
        }
    }

    /// What was counted.
    pub(super) fn counts(&self) -> StreamSum {
        let ended = std::array::from_fn(|i| self.ended.get(i).map_or(0, Cell::get));
        let dropped = std::array::from_fn(|i| self.dropped.get(i).map_or(0, Cell::get));
        let datagrams = [self.datagrams.received.get(), self.datagrams.sent.get()];
        StreamSum { received: self.received.get(), sent: self.sent.get(), ended, datagrams, dropped }
    }
}

/// What several workers have counted.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamSum {
    received: u64,
    sent: u64,
    ended: [u64; ENDS.len()],
    datagrams: [u64; 2],
    dropped: [u64; DROPPED.len()],
}

impl StreamSum {
    /// Adds what another one has counted.
    pub(super) fn merge(&mut self, other: &StreamSum) {
        self.received += other.received;
        self.sent += other.sent;
        let sums = self.ended.iter_mut().chain(&mut self.datagrams).chain(&mut self.dropped);
        for (sum, more) in sums.zip(other.ended.iter().chain(&other.datagrams).chain(&other.dropped)) {
            *sum += more;
        }
    }

    /// As others read it.
    pub(super) fn into_count(self, listener: Name) -> StreamCount {
        let ended = ENDS.iter().zip(self.ended).map(|((_, word), count)| (*word, count)).collect();
        let dropped = DROPPED.iter().zip(self.dropped).map(|((_, word), count)| (*word, count)).collect();
        let (received, sent, datagrams) = (self.received, self.sent, self.datagrams.into());
        StreamCount { listener, ended, received, sent, datagrams, dropped }
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
        meter.datagrams.sent.add(3);
        (0..2).for_each(|_| meter.dropped(Dropped::Full));
        let mut sum = meter.counts();
        sum.merge(&meter.counts());
        let count = sum.into_count("db".into());
        let expected = [("whole", 2), ("reset", 4), ("idle", 6), ("unreachable", 8), ("refused", 10)];
        assert_eq!(count.ended, expected);
        assert_eq!((count.received, count.sent, count.datagrams), (10, 0, (0, 6)));
        let expected = [("sessions", 0), ("unreachable", 0), ("full", 4)];
        assert_eq!(count.dropped, expected);
    }
}
