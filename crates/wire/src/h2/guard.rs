//! What a peer may do that costs us and carries nothing forward.
//!
//! An allowance that each such thing takes from, and that time gives back. Time comes in as a value.

/// How long an empty allowance takes to fill up.
const FILL_MS: u64 = 10_000;

/// How much of an allowance is used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    used: u32,
    at_ms: u64,
}

impl Allowance {
    /// Takes `n` of `max`. False if there is not so much left.
    #[must_use]
    pub(super) fn take(&mut self, n: u32, max: u32, now_ms: u64) -> bool {
        let back = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(max)) / FILL_MS;
        if back > 0 || self.used == 0 {
            self.used = self.used.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
            self.at_ms = now_ms;
        }
        self.used = self.used.saturating_add(n);
        self.used <= max
    }

    /// Gives `n` back: the peer's frames belong to what we sent.
    pub(super) fn give(&mut self, n: u32) {
        self.used = self.used.saturating_sub(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_work_give_back() {
        let mut allowance = Allowance::default();
        let mut take = |n, now| allowance.take(n, 100, now);
        assert!(take(100, 0));
        assert!(!take(1, 50));
        // A tenth of the time gives a tenth back.
        assert!(!take(1, 150));
        assert!(take(1, 1_200));
        assert!(take(100, 20_000));
        assert!(!take(1, 20_000));
        allowance.give(2);
        assert!(allowance.take(1, 100, 20_000));
        assert!(!allowance.take(1, 100, 20_000));
    }
}
