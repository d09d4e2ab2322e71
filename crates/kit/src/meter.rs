//! Counters of one thread: plain cells, no atomics. Their counts are plain data that is sent to who adds up
//! those of all threads.

use std::{cell::Cell, time::Duration};

/// Counts up.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// The count since the start.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Upper bounds of a histogram's buckets in seconds, inclusive as Prometheus reads `le`. Steps of about two,
/// from a fast answer of a near endpoint to a long poll; what is longer counts in a last bucket without bound.
pub const BOUNDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// [`BOUNDS`] in nanoseconds.
const BOUNDS_NANOS: [u64; BOUNDS.len()] = {
    let mut nanos = [0; BOUNDS.len()];
    let mut i = 0;
    while i < nanos.len() {
        nanos[i] = (BOUNDS[i] * 1e9) as u64;
        i += 1;
    }
    nanos
};

const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts durations by size.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    /// 64 bits would overflow after weeks of ten thousand requests in flight.
    sum_nanos: Cell<u128>,
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.one();
        }
        self.sum_nanos.set(self.sum_nanos.get().wrapping_add(duration.as_nanos()));
    }

    /// The counts since the start.
    #[must_use]
    pub fn counts(&self) -> HistogramCounts {
        HistogramCounts {
            buckets: std::array::from_fn(|i| self.buckets.get(i).map_or(0, Counter::get)),
            sum_nanos: self.sum_nanos.get(),
        }
    }
}

/// What a [`Histogram`] has counted, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    buckets: [u64; BUCKETS],
    sum_nanos: u128,
}

impl HistogramCounts {
    /// Adds the counts of another thread.
    pub fn merge(&mut self, other: &HistogramCounts) {
        for (ours, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *ours += theirs;
        }
        self.sum_nanos += other.sum_nanos;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos as f64 / 1e9
    }

    /// For each bucket its upper bound in seconds, and how many were at most that. The last bound is infinity
    /// and its number is [`HistogramCounts::count`]. This is what Prometheus calls `le`.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.buckets).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(durations: &[Duration]) -> HistogramCounts {
        let histogram = Histogram::default();
        durations.iter().for_each(|duration| histogram.record(*duration));
        histogram.counts()
    }

    #[test]
    fn counters_count() {
        let counter = Counter::default();
        counter.one();
        counter.add(41);
        assert_eq!(counter.get(), 42);
    }

    #[test]
    fn bounds_rise_and_belong_to_their_bucket() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
        for (i, bound) in BOUNDS.into_iter().enumerate() {
            let at = Duration::from_nanos(BOUNDS_NANOS[i]);
            assert_eq!(at, Duration::from_secs_f64(bound));
            assert_eq!(counted(&[at]).buckets[i], 1, "{bound} is inclusive");
            assert_eq!(counted(&[at + Duration::from_nanos(1)]).buckets[i + 1], 1, "past {bound}");
        }
    }

    #[test]
    fn the_shortest_and_the_longest_count_too() {
        let counts = counted(&[Duration::ZERO, Duration::from_secs(3600)]);
        assert_eq!((counts.buckets[0], counts.buckets[BUCKETS - 1]), (1, 1));
        let years = counted(&[Duration::MAX, Duration::MAX]);
        assert_eq!((years.buckets[BUCKETS - 1], years.sum_seconds()), (2, 2.0 * Duration::MAX.as_secs_f64()));
    }

    #[test]
    fn cumulative_as_prometheus_wants_it() {
        let counts = counted(&[1, 3, 3, 700, 100_000].map(Duration::from_millis));
        let rows: Vec<(f64, u64)> = counts.cumulative().collect();
        assert_eq!(rows.len(), BOUNDS.len() + 1);
        for row in [(0.0005, 0), (0.001, 1), (0.0025, 1), (0.005, 3), (1.0, 4), (60.0, 4), (f64::INFINITY, 5)]
        {
            assert!(rows.contains(&row), "{row:?} in {rows:?}");
        }
        assert_eq!((counts.count(), counts.sum_seconds()), (5, 100.707));
    }

    proptest! {
        #[test]
        fn merged_is_as_counted_in_one(durations in prop::collection::vec(0..100_000_000_000_u64, 0..50), cut in 0..50_usize) {
            let durations: Vec<Duration> = durations.into_iter().map(Duration::from_nanos).collect();
            let (left, right) = durations.split_at(cut.min(durations.len()));
            let mut merged = counted(left);
            merged.merge(&counted(right));
            prop_assert_eq!(merged, counted(&durations));
        }
    }
}
