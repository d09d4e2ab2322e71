//! Whether a client takes what it is sent: not for too long nothing, and not too slowly on the whole.

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use evergate_kit::{
    Pace,
    deadline::{Clock, Deadline, Expired},
};

use crate::conn::Settings;

/// Watches the answers of a connection, or of one stream, go out.
pub(super) struct Taking {
    clock: Rc<Clock>,
    deadline: Deadline,
    silence: Cell<Duration>,
    pace: Cell<Option<Pace>>,
    /// While the client has to read first: since when, and what it had taken by then.
    waiting: Cell<Option<(u64, u64)>>,
}

impl Taking {
    pub(super) fn new(clock: &Rc<Clock>) -> Taking {
        Taking {
            clock: clock.clone(),
            deadline: clock.deadline(),
            silence: Cell::new(Duration::ZERO),
            pace: Cell::new(None),
            waiting: Cell::new(None),
        }
    }

    /// An answer begins.
    pub(super) fn begin(&self, settings: &Settings) {
        self.silence.set(settings.body_timeout);
        self.pace.set(settings.pace);
        self.waiting.set(None);
        self.deadline.disarm();
    }

    /// The client does not have to read first. `sent` are the bytes that it was sent so far.
    pub(super) fn goes_on(&self, sent: u64) {
        if self.waiting.get().is_some() {
            self.account(sent);
            self.waiting.set(None);
            self.deadline.disarm();
        }
    }

    /// It has to. Ready if that has lasted too long.
    pub(super) fn poll_stalled(&self, cx: &mut Context<'_>, sent: u64) -> Poll<()> {
        let taken = self.waiting.get().map(|(_, taken)| taken);
        if taken != Some(sent) {
            self.account(sent);
            self.waiting.set(Some((self.clock.now_ms(), sent)));
            let left = self.pace.get().map_or(Duration::MAX, |pace| pace.left());
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.deadline.arm(left.min(self.silence.get()));
        }
        self.deadline.poll_expired(cx).map(|Expired| ())
    }

    /// Puts what was taken against the time that it took.
    fn account(&self, sent: u64) {
        if let (Some(mut pace), Some((since_ms, taken))) = (self.pace.get(), self.waiting.get()) {
            let waited = self.clock.now_ms().saturating_sub(since_ms);
            pace.moved(sent.saturating_sub(taken), Duration::from_millis(waited));
            self.pace.set(Some(pace));
        }
    }
}
