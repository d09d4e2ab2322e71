//! Passive ejection: endpoints that fail real requests are set aside for a while.
//!
//! The decision is [`step`], pure: time and share of the others are handed in. A success between wipes the
//! count of failures; a success after the return wipes the count of ejections.

use std::time::Duration;

use evergate_contract::config::Ejection;

/// How often the duration may grow.
const GROWTH_MAX: u32 = 10;

/// What is remembered of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Failures since the last success.
    pub failed_in_row: u32,
    /// Ejections since the last success outside of one.
    pub ejected_in_row: u32,
    /// End of the last ejection; past or future.
    pub until: Option<Duration>,
}

/// How a request to the endpoint went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was answered.
    Success,
    /// No connection, no answer, 502, 503 or 504.
    Failure,
}

/// What is remembered next, and whether the endpoint is set aside by this. `now` counts from any fixed point;
/// `ejected` of `total` endpoints of the upstream are set aside, this one not counted.
#[must_use]
pub fn step(
    rules: &Ejection,
    record: Record,
    event: Event,
    now: Duration,
    ejected: usize,
    total: usize,
) -> (Record, bool) {
    if record.until.is_some_and(|until| now < until) {
        // Requests that were on their way when it was set aside say nothing new.
        return (record, false);
    }
    match event {
        Event::Success => (Record::default(), false),
        Event::Failure => {
            let failed_in_row = record.failed_in_row.saturating_add(1);
            let enough = failed_in_row >= u32::from(rules.failures);
            if !enough || !has_room(rules, ejected, total) {
                return (Record { failed_in_row, ..record }, false);
            }
            let ejected_in_row = record.ejected_in_row.saturating_add(1);
            let length = rules.duration.saturating_mul(ejected_in_row.min(GROWTH_MAX));
            (Record { failed_in_row: 0, ejected_in_row, until: Some(now.saturating_add(length)) }, true)
        }
    }
}

/// Whether one more may be set aside.
#[must_use]
pub fn has_room(rules: &Ejection, ejected: usize, total: usize) -> bool {
    (ejected + 1).saturating_mul(100) <= total.saturating_mul(usize::from(rules.max_percent))
}

#[cfg(test)]
mod tests;
