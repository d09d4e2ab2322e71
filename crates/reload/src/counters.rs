//! What the engine counts, for a metrics page.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use crate::verdict::{Stage, Verdict};

/// Upper bounds of the buckets of every duration here, in seconds.
pub const BUCKETS: [f64; 13] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Words of [`Counters::reloads`], as [`Verdict::word`] says them.
pub const STATUSES: [&str; 5] = ["applied", "unchanged", "planned", "refused", "conflict"];

/// All counts since the start of the process. Read at any time, written by the thread `change`.
#[derive(Debug, Default)]
pub struct Counters {
    reloads: [AtomicU64; STATUSES.len()],
    errors: [AtomicU64; Stage::ALL.len()],
    components: Mutex<BTreeMap<Box<str>, Component>>,
    durations: Histogram,
    steps: [Histogram; Stage::ALL.len()],
    last_success: AtomicU64,
    watcher_running: AtomicBool,
}

/// How the changes of one section of the document went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// Changes applied.
    pub success: u64,
    /// Changes refused because of it.
    pub failure: u64,
}

/// Durations in [`BUCKETS`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanos: AtomicU64,
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// How many were at most as long as each of [`BUCKETS`]; the last is how many there were.
    pub cumulative: [u64; BUCKETS.len() + 1],
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Counters {
    /// Transactions by how they ended: the word of the verdict and how many.
    pub fn reloads(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        STATUSES.into_iter().zip(self.reloads.iter().map(|n| n.load(Relaxed)))
    }

    /// Refusals by the step that refused.
    pub fn errors(&self) -> impl Iterator<Item = (Stage, u64)> + '_ {
        Stage::ALL.into_iter().zip(self.errors.iter().map(|n| n.load(Relaxed)))
    }

    /// Changes by section of the document. At most 64 sections are told apart.
    #[must_use]
    pub fn components(&self) -> Vec<(Box<str>, Component)> {
        let components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        components.iter().map(|(name, c)| (name.clone(), *c)).collect()
    }

    /// How long transactions took, waiting for silence included.
    #[must_use]
    pub fn durations(&self) -> Durations {
        self.durations.read()
    }

    /// How long each step took.
    pub fn steps(&self) -> impl Iterator<Item = (Stage, Durations)> + '_ {
        Stage::ALL.into_iter().zip(self.steps.iter().map(Histogram::read))
    }

    /// When a change was last applied or found to be what runs, in seconds since 1970; 0: never.
    #[must_use]
    pub fn last_success(&self) -> u64 {
        self.last_success.load(Relaxed)
    }

    /// True while the system tells of changes on disk; false if nobody looks, or only every second.
    #[must_use]
    pub fn watcher_running(&self) -> bool {
        self.watcher_running.load(Relaxed)
    }

    pub(crate) fn set_watcher_running(&self, running: bool) {
        self.watcher_running.store(running, Relaxed);
    }

    pub(crate) fn step(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = self.steps.get(stage as usize) {
            histogram.add(took);
        }
    }

    pub(crate) fn verdict(&self, verdict: &Verdict, dry_run: bool, took: Duration, now: SystemTime) {
        self.durations.add(took);
        let word = if dry_run { "planned" } else { verdict.word() };
        if let Some(at) = STATUSES.iter().position(|status| *status == word)
            && let Some(count) = self.reloads.get(at)
        {
            count.fetch_add(1, Relaxed);
        }
        if dry_run {
            return;
        }
        match verdict {
            Verdict::Applied { plan, .. } => {
                self.succeeded(now);
                let sections = plan.objects.iter().filter_map(|o| o.object.segments().first());
                self.component(sections.map(AsRef::as_ref), |c| c.success += 1);
            }
            Verdict::Unchanged { .. } => self.succeeded(now),
            Verdict::Refused { stage, report, .. } => {
                if let Some(count) = self.errors.get(*stage as usize) {
                    count.fetch_add(1, Relaxed);
                }
                let section =
                    |path: &str| path.split('.').next().filter(|s| !s.is_empty()).map(str::to_owned);
                let sections: Vec<String> = report.iter().filter_map(|d| section(&d.path)).collect();
                self.component(sections.iter().map(String::as_str), |c| c.failure += 1);
            }
            Verdict::Planned { .. } | Verdict::Conflict { .. } => {}
        }
    }

    fn succeeded(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_success.store(since.as_secs(), Relaxed);
    }

    /// Counts each section once, however many of its objects changed. Names come from documents, which may
    /// be wrong, so their number has a bound.
    fn component<'a>(&self, sections: impl Iterator<Item = &'a str>, count: impl Fn(&mut Component)) {
        const COMPONENTS_MAX: usize = 64;
        let sections: std::collections::BTreeSet<&str> = sections.collect();
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        for section in sections {
            let full = components.len() >= COMPONENTS_MAX;
            match components.get_mut(section) {
                Some(component) => count(component),
                None if full => {}
                None => count(components.entry(section.into()).or_default()),
            }
        }
    }
}

impl Histogram {
    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn read(&self) -> Durations {
        let mut cumulative = [0; BUCKETS.len() + 1];
        let mut sum = 0;
        for (total, bucket) in cumulative.iter_mut().zip(&self.buckets) {
            sum += bucket.load(Relaxed);
            *total = sum;
        }
        Durations { cumulative, sum: self.nanos.load(Relaxed) as f64 / 1e9 }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evergate_conf::{Digest, Path, Report, node::Place};

    use super::*;
    use crate::revision::RevisionId;

    #[test]
    fn verdicts_are_counted_once_and_by_section() {
        let counters = Counters::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut report = Report::new();
        report.problem("x", &Path::from(["routes", "a"]), Place::default(), "a");
        report.problem("x", &Path::from(["routes", "b"]), Place::default(), "b");
        let refused = Verdict::Refused { running: None, stage: Stage::Check, report: Arc::new(report) };
        counters.verdict(&refused, true, Duration::from_millis(3), now);
        counters.verdict(&refused, false, Duration::from_millis(3), now);
        assert_eq!(counters.last_success(), 0);
        let revision = RevisionId::new(1, Digest::of(b""));
        counters.verdict(&Verdict::Unchanged { revision, held: false }, false, Duration::from_secs(20), now);
        assert_eq!(counters.last_success(), 1000);

        let reloads: Vec<_> = counters.reloads().filter(|(_, n)| *n > 0).collect();
        assert_eq!(reloads, [("unchanged", 1), ("planned", 1), ("refused", 1)]);
        assert_eq!(counters.errors().filter(|(_, n)| *n > 0).collect::<Vec<_>>(), [(Stage::Check, 1)]);
        assert_eq!(counters.components(), [("routes".into(), Component { success: 0, failure: 1 })]);
        let durations = counters.durations();
        assert_eq!(durations.cumulative, [0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3]);
        assert!((durations.sum - 20.006).abs() < 1e-6);
    }
}
