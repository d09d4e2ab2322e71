//! A child as its supervisor sees it.

use std::time::Duration;

use super::Moment;
use crate::message::{Begin, Terms};

/// How far a child has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was started.
    Starting,
    /// It is there and waits.
    Greeted,
    /// It was told to begin.
    Beginning,
    /// It serves.
    Serving,
    /// It serves, and was told to make no changes.
    Pausing,
    /// It serves and makes no changes.
    Paused,
    /// It was told that another one serves, and drains.
    Left,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its number in the system; 0 until it is known.
    pub process: u32,
    /// How far it has come.
    pub phase: Phase,
    pub(crate) begin: Begin,
    pub(crate) terms: Terms,
    /// Its version.
    pub(crate) version: String,
    /// The form in which it would take over as supervisor.
    pub(crate) takeover: u32,
    /// When it began, or began to serve this revision.
    pub(crate) since: Moment,
    /// When it last said that it works.
    pub(crate) heard: Moment,
    /// Why it is being killed.
    pub(crate) killed_for: Option<String>,
    pub(crate) told_to_finish: bool,
    pub(crate) said_stopping: bool,
}

impl Child {
    pub(crate) fn new(begin: Begin, terms: Terms, now: Moment) -> Child {
        Child {
            process: 0,
            phase: Phase::Starting,
            begin,
            terms,
            version: String::new(),
            takeover: 0,
            since: now,
            heard: now,
            killed_for: None,
            told_to_finish: false,
            said_stopping: false,
        }
    }

    /// True once it has.
    pub(crate) fn has_served(&self) -> bool {
        !matches!(self.phase, Phase::Starting | Phase::Greeted | Phase::Beginning)
    }

    /// When it has said nothing for too long.
    pub(crate) fn hung_at(&self) -> Moment {
        self.heard.saturating_add(Duration::from_millis(u64::from(self.terms.watchdog_ms)))
    }
}
