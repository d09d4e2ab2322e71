//! How long a connection without a request is waited for: as the listener says, also where that changes meanwhile.

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use evergate_kit::deadline::{Deadline, Expired};

use crate::{conn::Conn, worker::Worker};

/// The time of one connection without a request.
#[derive(Default)]
pub(super) struct Idle {
    since_ms: Cell<u64>,
}

impl Idle {
    /// It begins now.
    pub(super) fn begin(&self, worker: &Rc<Worker>, conn: &Conn, deadline: &Deadline) {
        conn.take_told();
        self.since_ms.set(worker.clock.now_ms());
        deadline.arm(conn.settings(&worker.view()).idle_timeout);
    }

    /// Ready once it has lasted too long, by the settings that there are then. [`Conn::wakes`] has to wake the task.
    pub(super) fn poll_over(
        &self,
        cx: &mut Context<'_>,
        worker: &Rc<Worker>,
        conn: &Conn,
        deadline: &Deadline,
    ) -> Poll<Expired> {
        if conn.take_told() {
            let lasted = worker.clock.now_ms().saturating_sub(self.since_ms.get());
            let most = conn.settings(&worker.view()).idle_timeout;
            deadline.arm(most.saturating_sub(Duration::from_millis(lasted)));
        }
        deadline.poll_expired(cx)
    }
}
