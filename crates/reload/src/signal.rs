//! SIGHUP as a source of drafts.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use crate::{
    drive::Handle,
    revision::Origin,
    source::{Draft, Intent},
};

/// SIGHUP, caught from [`Hangup::catch`] on.
pub struct Hangup {
    signals: Signal,
}

impl Hangup {
    /// Catches the signal, which otherwise ends the process. Needs a tokio runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn catch() -> io::Result<Hangup> {
        Ok(Hangup { signals: signal(SignalKind::hangup())? })
    }

    /// Reloads at each signal, also files that are held, until the engine ends. One that came before this call
    /// counts.
    pub fn reload(mut self, handle: &Handle) -> JoinHandle<()> {
        let handle = handle.downgrade();
        tokio::spawn(async move {
            while self.signals.recv().await.is_some() {
                let Some(handle) = handle.upgrade() else { break };
                // The engine says in the log how it ended.
                let _ = handle.submit(Draft::new(Origin::Signal, Intent::Reload { insist: true })).await;
            }
        })
    }
}
