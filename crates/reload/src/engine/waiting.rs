//! What waits for its turn: one reload of the files, and edits in their order.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use evergate_conf::{Path, Report, node::Place};

use super::{Asker, Moment};
use crate::{
    source::{Draft, Intent},
    status::Pending,
    verdict::Stage,
};

/// Edits, and askers of the waiting reload, that may wait at once. More are refused.
pub(super) const WAITING_MAX: usize = 1024;

/// Endless file events put a reload off by this many times the debounce and no longer.
const PATIENCE: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    debounce: Duration,
    reload: Option<Reload>,
    edits: VecDeque<Turn>,
}

/// A transaction that may begin.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) draft: Draft,
    pub(super) askers: Vec<Asker>,
    pub(super) since: Moment,
}

#[derive(Debug)]
struct Reload {
    turn: Turn,
    ready_at: Moment,
}

impl Waiting {
    pub(super) fn set_debounce(&mut self, debounce: Duration) {
        self.debounce = debounce;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reload.is_none() && self.edits.is_empty()
    }

    /// The files changed: they are read when they are quiet.
    pub(super) fn disturbed(&mut self, now: Moment) {
        let reload = self.reload.get_or_insert_with(|| Reload {
            turn: Turn {
                draft: Draft::new(crate::Origin::File, Intent::Reload { insist: false }),
                askers: Vec::new(),
                since: now,
            },
            ready_at: now + self.debounce,
        });
        // Somebody who asks does not wait for silence.
        if reload.turn.askers.is_empty() {
            let latest = reload.turn.since + self.debounce * PATIENCE;
            reload.ready_at = (now + self.debounce).min(latest);
        }
    }

    /// Takes a draft in. Reloads that nothing tells apart become one.
    ///
    /// # Errors
    /// If too many wait.
    pub(super) fn draft(&mut self, now: Moment, asker: Asker, draft: Draft) -> Result<(), Report> {
        let askers = self.reload.as_ref().map_or(0, |r| r.turn.askers.len());
        if self.edits.len() + askers >= WAITING_MAX {
            let mut report = Report::new();
            let text = format!("{WAITING_MAX} changes wait already");
            report.problem("busy", &Path::root(), Place::default(), text).help("try again in a moment");
            return Err(report);
        }
        let turn = Turn { draft, askers: vec![asker], since: now };
        match (&turn.draft, &mut self.reload) {
            (Draft { intent: Intent::Reload { insist }, if_match: None, dry_run: false, .. }, waiting) => {
                if let Some(old) = waiting {
                    let insist = *insist || matches!(old.turn.draft.intent, Intent::Reload { insist: true });
                    old.turn.askers.push(asker);
                    old.turn.draft = Draft { intent: Intent::Reload { insist }, ..turn.draft };
                    old.ready_at = now;
                } else {
                    *waiting = Some(Reload { turn, ready_at: now });
                }
            }
            _ => self.edits.push_back(turn),
        }
        Ok(())
    }

    /// When the next turn may begin; in the past if it may now.
    pub(super) fn ready_at(&self) -> Option<Moment> {
        let edit = self.edits.front().map(|t| t.since);
        let reload = self.reload.as_ref().map(|r| r.ready_at);
        edit.into_iter().chain(reload).min()
    }

    /// Whoever came first of those who are ready.
    pub(super) fn next(&mut self, now: Moment) -> Option<Turn> {
        let edit_since = self.edits.front().map(|t| t.since);
        let reload = self
            .reload
            .take_if(|r| r.ready_at <= now && edit_since.is_none_or(|since| r.turn.since <= since));
        match reload {
            Some(reload) => Some(reload.turn),
            None => self.edits.pop_front(),
        }
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = Pending> {
        let pending = |turn: &Turn| Pending {
            origin: turn.draft.origin,
            author: turn.draft.author.as_ref().map(Arc::clone),
            stage: Stage::Queue,
        };
        self.reload.iter().map(|r| &r.turn).chain(&self.edits).map(pending)
    }
}
