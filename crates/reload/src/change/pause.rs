//! A pause: another process may become the one that makes changes here, and either does or does not.

use std::{sync::mpsc::RecvTimeoutError, time::Duration};

use tokio::sync::oneshot;

use super::{Change, Message};
use crate::{
    history::{History, OpenError},
    source::Notice,
    target::Target,
};

/// How often it is looked whether the data directory is free again.
const LOOK: Duration = Duration::from_millis(50);

impl<T: Target> Change<T> {
    /// Leaves the data directory to others, and waits until it is told to go on or to stop. What comes meanwhile waits.
    pub(super) fn paused(&mut self, paused: oneshot::Sender<()>) {
        self.history.release();
        let _ = paused.send(());
        let mut waiting = Vec::new();
        while self.stop.is_none() {
            match self.inbox.recv() {
                Ok(Message::Resume) => break,
                Ok(Message::Stop(stopped)) => self.stop = Some(stopped),
                Ok(message) => waiting.push(message),
                Err(_) => return,
            }
        }
        if self.stop.is_some() || !self.reopen(&mut waiting) {
            // Who waits for a verdict is told that there is nobody to give it.
            return;
        }
        for message in waiting {
            let effects = self.take(message);
            self.carry_out_all(effects);
        }
    }

    /// Takes the data directory again; the other process may have written to it. False: told to stop meanwhile.
    fn reopen(&mut self, waiting: &mut Vec<Message>) -> bool {
        let Some(folder) = self.data_dir.clone() else { return true };
        loop {
            match History::open(&folder, &self.shared.redactor) {
                Ok((history, found)) => {
                    self.history = history;
                    self.engine.numbers_up_to(found.last_seq);
                    return true;
                }
                Err(OpenError::Locked) => {}
                Err(OpenError::Io(error)) => {
                    self.notice(Notice::HistoryDegraded { reason: error.to_string() });
                }
            }
            match self.inbox.recv_timeout(LOOK) {
                Ok(Message::Stop(stopped)) => {
                    self.stop = Some(stopped);
                    return false;
                }
                Ok(message) => waiting.push(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}
