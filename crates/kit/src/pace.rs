//! Whether a transfer keeps up with a least speed, as far as it has to be waited for.
//!
//! Pure: bytes and time come in as values. It may fall behind by a grace, and gets ahead by no more than that: who was
//! quick once may not be slow for ever.

use std::time::Duration;

/// A least speed, and what is left of the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    bytes_per_second: u64,
    grace_us: u64,
    /// How far it is behind.
    debt_us: u64,
}

impl Pace {
    /// At the beginning of a transfer.
    #[must_use]
    pub fn new(bytes_per_second: u64, grace: Duration) -> Pace {
        let grace_us = u64::try_from(grace.as_micros()).unwrap_or(u64::MAX);
        Pace { bytes_per_second: bytes_per_second.max(1), grace_us, debt_us: 0 }
    }

    /// So many bytes came after so long a wait for them.
    pub fn moved(&mut self, bytes: u64, waited: Duration) {
        let worth = u128::from(bytes) * 1_000_000 / u128::from(self.bytes_per_second);
        let worth = u64::try_from(worth).unwrap_or(u64::MAX);
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.debt_us = self.debt_us.saturating_add(waited).saturating_sub(worth);
    }

    /// How long nothing may come; zero once it has fallen too far behind.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_micros(self.grace_us.saturating_sub(self.debt_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_keeps_up_may_go_on_for_ever() {
        let mut pace = Pace::new(1000, SECOND * 5);
        for _ in 0..1000 {
            pace.moved(1000, SECOND);
        }
        assert_eq!(pace.left(), SECOND * 5);
    }

    #[test]
    fn who_falls_behind_uses_the_grace_up() {
        let mut pace = Pace::new(1000, SECOND * 5);
        let mut seconds = 0;
        while pace.left() > Duration::ZERO {
            pace.moved(500, SECOND);
            seconds += 1;
        }
        assert_eq!(seconds, 10, "half of a second is lost in each");
        pace.moved(100, SECOND);
        assert_eq!(pace.left(), Duration::ZERO, "and what comes too late does not help");
    }

    #[test]
    fn nobody_gets_ahead() {
        let mut pace = Pace::new(1, SECOND);
        pace.moved(u64::MAX, Duration::ZERO);
        assert_eq!(pace.left(), SECOND);
        pace.moved(0, SECOND * 2);
        assert_eq!(pace.left(), Duration::ZERO);
    }
}
