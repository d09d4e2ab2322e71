//! What is known of an endpoint. One for each upstream and URL, shared by all workers, kept over snapshots.
//!
//! Only numbers that may be read a moment late: no lock, no wait. Who decides by them is elsewhere.

use std::{
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use evergate_contract::config::Name;
use evergate_kit::{Keep, keep::Carry};

use crate::{
    ejection,
    verdict::{Streak, Verdict},
};

/// An endpoint's facts. Aligned, so that two endpoints never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointState {
    in_flight: AtomicU32,
    failed_in_row: AtomicU32,
    ejected_until_ms: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    ejected_in_row: AtomicU32,
    checks_in_row: AtomicU32,
    verdict: AtomicU8,
    born: Instant,
    upstream: Name,
    url: Box<str>,
}

impl EndpointState {
    /// The state of that endpoint of that upstream: the one that is known, or a new one.
    #[must_use]
    pub fn kept(keep: &Keep, upstream: &Name, url: &str) -> std::sync::Arc<EndpointState> {
        keep.carried("endpoint", &format!("{upstream}\0{url}"), |saved| {
            let state = EndpointState::new(upstream.clone(), url);
            if let Some(saved) = saved {
                state.restore(saved);
            }
            state
        })
    }

    fn new(upstream: Name, url: &str) -> EndpointState {
        EndpointState {
            in_flight: AtomicU32::new(0),
            failed_in_row: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            ejected_in_row: AtomicU32::new(0),
            checks_in_row: AtomicU32::new(0),
            verdict: AtomicU8::new(Verdict::Unknown as u8),
            born: Instant::now(),
            upstream,
            url: url.into(),
        }
    }

    /// The upstream it belongs to.
    #[must_use]
    pub fn upstream(&self) -> &Name {
        &self.upstream
    }

    /// Its URL in canonical form: scheme, host, port.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What health checks say.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.verdict.load(Relaxed) {
            v if v == Verdict::Healthy as u8 => Verdict::Healthy,
            v if v == Verdict::Unhealthy as u8 => Verdict::Unhealthy,
            _ => Verdict::Unknown,
        }
    }

    /// Requests in flight, of all workers.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Requests sent since it is known.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Of these, without a good answer: no connection, no answer, 502, 503 or 504.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// True while it is set aside since it failed real requests.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        let until = self.ejected_until_ms.load(Relaxed);
        until != 0 && self.age_ms() < until
    }

    /// Milliseconds since it is known: the time in which ejections are counted.
    pub(crate) fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// True if there is nothing that a success would wipe out.
    pub(crate) fn is_spotless(&self) -> bool {
        self.failed_in_row.load(Relaxed) == 0 && self.ejected_in_row.load(Relaxed) == 0
    }

    pub(crate) fn record(&self) -> ejection::Record {
        ejection::Record {
            failed_in_row: self.failed_in_row.load(Relaxed),
            ejected_in_row: self.ejected_in_row.load(Relaxed),
            until: match self.ejected_until_ms.load(Relaxed) {
                0 => None,
                ms => Some(Duration::from_millis(ms)),
            },
        }
    }

    /// Workers that write at the same time may lose a failure; an ejection then comes one failure later.
    pub(crate) fn set_record(&self, record: ejection::Record) {
        let until = record.until.map_or(0, |at| u64::try_from(at.as_millis()).unwrap_or(u64::MAX).max(1));
        self.failed_in_row.store(record.failed_in_row, Relaxed);
        self.ejected_in_row.store(record.ejected_in_row, Relaxed);
        self.ejected_until_ms.store(until, Relaxed);
    }

    /// Takes over what [`Carry::save`] said; of what it does not understand, nothing.
    fn restore(&self, saved: &str) {
        let mut numbers = saved.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next().and_then(Result::ok);
        let (Some(verdict), Some(checks), Some(failed), Some(ejected), Some(left_ms)) =
            (next(), next(), next(), next(), next())
        else {
            return;
        };
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.verdict.store(u8::try_from(verdict).unwrap_or_default(), Relaxed);
        self.checks_in_row.store(small(checks), Relaxed);
        self.failed_in_row.store(small(failed), Relaxed);
        self.ejected_in_row.store(small(ejected), Relaxed);
        if left_ms > 0 {
            self.ejected_until_ms.store(self.age_ms().saturating_add(left_ms), Relaxed);
        }
    }

    pub(crate) fn streak(&self) -> Streak {
        Streak { verdict: self.verdict(), in_row: self.checks_in_row.load(Relaxed) }
    }

    pub(crate) fn set_streak(&self, streak: Streak) {
        self.checks_in_row.store(streak.in_row, Relaxed);
        self.verdict.store(streak.verdict as u8, Relaxed);
    }
}

impl Carry for EndpointState {
    /// Verdict, checks that speak against it, failures, ejections, and milliseconds until an ejection ends.
    fn save(&self) -> String {
        let left_ms = self.ejected_until_ms.load(Relaxed).saturating_sub(self.age_ms());
        let counts =
            [&self.checks_in_row, &self.failed_in_row, &self.ejected_in_row].map(|n| n.load(Relaxed));
        format!("{} {} {} {} {left_ms}", self.verdict.load(Relaxed), counts[0], counts[1], counts[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_and_ejections_go_along_to_the_next_process() {
        let (old, new) = (Keep::new(), Keep::new());
        let (name, url) = (Name::from("api"), "http://a:1");
        let state = EndpointState::kept(&old, &name, url);
        state.set_streak(Streak { verdict: Verdict::Unhealthy, in_row: 1 });
        let until = Some(Duration::from_millis(state.age_ms()) + Duration::from_secs(100));
        state.set_record(ejection::Record { failed_in_row: 2, ejected_in_row: 3, until });
        new.carry(old.save());
        let restored = EndpointState::kept(&new, &name, url);
        assert_eq!(restored.streak(), state.streak());
        assert!(restored.is_ejected());
        let record = restored.record();
        assert_eq!((record.failed_in_row, record.ejected_in_row), (2, 3));
        assert!(!EndpointState::kept(&new, &name, "http://b:1").is_ejected());
    }

    #[test]
    fn what_another_version_saved_is_passed_over() {
        for saved in ["", "x", "1 2", "9 1 1 1 x", "99999999999 1 1 1 0"] {
            let state = EndpointState::new("api".into(), "http://a:1");
            state.restore(saved);
            assert_eq!(state.verdict(), Verdict::Unknown, "{saved}");
        }
    }
}
