//! Random numbers for decisions on the request path: fast, seeded, one for each thread. Not for secrets.

use std::cell::Cell;

/// wyrand (Wang Yi, github.com/wangyi-fudan/wyhash): 64 bits of state, one multiplication for each number,
/// passes BigCrush and PractRand. The same seed gives the same numbers.
#[derive(Debug)]
pub struct Rng {
    state: Cell<u64>,
}

impl Rng {
    /// Numbers by this seed. Near seeds (worker 0, worker 1) give numbers that have nothing in common.
    #[must_use]
    pub const fn new(seed: u64) -> Rng {
        // The finish of SplitMix64: wyrand alone only steps its state, so near seeds would start alike.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng { state: Cell::new(z ^ (z >> 31)) }
    }

    /// Any number, each as likely.
    pub fn u64(&self) -> u64 {
        let state = self.state.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.state.set(state);
        let (low, high) = multiply(state, state ^ 0xe703_7ed1_a0b4_28db);
        low ^ high
    }

    /// A number from 0 to `n - 1`, each as likely; 0 if `n` is 0.
    pub fn below(&self, n: u64) -> u64 {
        // Lemire, "Fast Random Integer Generation in an Interval" (2019).
        let (mut low, mut high) = multiply(self.u64(), n);
        if low < n {
            let uneven = n.wrapping_neg() % n;
            while low < uneven {
                (low, high) = multiply(self.u64(), n);
            }
        }
        high
    }
}

/// The low and the high half of the product.
fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    (product as u64, (product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64) -> Vec<u64> {
        let rng = Rng::new(seed);
        (0..8).map(|_| rng.u64()).collect()
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(first(7), first(7));
        let mut all: Vec<u64> = (0..1000).flat_map(first).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8000);
    }

    #[test]
    fn near_seeds_differ_in_half_of_the_bits() {
        for seed in 0..1000 {
            let apart = (Rng::new(seed).u64() ^ Rng::new(seed + 1).u64()).count_ones();
            assert!((8..=56).contains(&apart), "seed {seed}: {apart}");
        }
    }

    #[test]
    fn below_is_below_and_even() {
        let rng = Rng::new(1);
        for n in [1_u64, 2, 3, 7, 10] {
            let mut seen = vec![0_u32; n as usize];
            for _ in 0..10_000 * n {
                seen[rng.below(n) as usize] += 1;
            }
            // Five standard deviations of a fair count.
            assert!(seen.iter().all(|count| count.abs_diff(10_000) <= 500), "{n}: {seen:?}");
        }
        // The largest ranges are where a plain product would be uneven.
        let n = 3 << 62;
        assert!((0..1000).all(|_| rng.below(n) < n));
        let lower = (0..30_000).filter(|_| rng.below(n) < 1 << 62).count();
        assert!(lower.abs_diff(10_000) <= 500, "{lower}");
    }

    #[test]
    fn below_nothing_is_zero() {
        assert_eq!(Rng::new(1).below(0), 0);
        assert_eq!(Rng::new(1).below(1), 0);
    }
}
