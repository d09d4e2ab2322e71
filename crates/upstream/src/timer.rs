//! How long a call may take, as a whole and in each of its phases.

use std::{rc::Rc, time::Duration};

use evergate_kit::deadline::{Clock, Deadline, Expired};

/// The one deadline of a call: each phase has its own length, and the route's end cuts all.
pub(crate) struct Timer {
    /// Of the phase.
    pub(crate) deadline: Deadline,
    /// What it goes by.
    pub(crate) clock: Rc<Clock>,
    ends_ms: Option<u64>,
}

impl Timer {
    /// That ends after the whole time, if there is one.
    pub(crate) fn new(clock: &Rc<Clock>, whole: Option<Duration>) -> Timer {
        let end =
            |d: Duration| clock.now_ms().saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        Timer { deadline: clock.deadline(), clock: clock.clone(), ends_ms: whole.map(end) }
    }

    /// For a phase of that length.
    pub(crate) fn arm(&self, phase: Duration) {
        self.deadline.arm(self.left().map_or(phase, |left| left.min(phase)));
    }

    /// For a phase that may take as long as the route's end lets it.
    pub(crate) fn arm_end(&self) {
        match self.left() {
            Some(left) => self.deadline.arm(left),
            None => self.deadline.disarm(),
        }
    }

    fn left(&self) -> Option<Duration> {
        self.ends_ms.map(|end| Duration::from_millis(end.saturating_sub(self.clock.now_ms())))
    }

    /// True once the route's time has run out.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// The work's result, unless the phase ends first.
    pub(crate) async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Expired> {
        self.deadline.guard(work).await
    }
}
