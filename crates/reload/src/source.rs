//! Both ends of every source: the drafts it hands in, the notices it may listen to.
//!
//! A file watcher, a signal, an API: all do these two things and nothing else. The engine has no special cases.

use std::{path::PathBuf, sync::Arc, time::Duration};

use evergate_conf::{Format, Node};
use serde::Serialize;

use crate::{
    plan::Plan,
    revision::{Origin, RevisionId},
    verdict::{Stage, Verdict},
};

/// A change that somebody wants.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it should do.
    pub intent: Intent,
    /// What asked.
    pub origin: Origin,
    /// Who asked, if that is known.
    pub author: Option<Arc<str>>,
    /// Only if this is what runs when it is this draft's turn; otherwise [`Verdict::Conflict`].
    pub if_match: Option<RevisionId>,
    /// Stop before anything is built and answer [`Verdict::Planned`].
    pub dry_run: bool,
}

/// What a draft should do.
#[derive(Clone, Debug)]
pub enum Intent {
    /// Read the files again. Several that wait are one.
    Reload {
        /// Also if the files are held, or say next to nothing any more: a person insists.
        insist: bool,
    },
    /// Change the overlay by a merge patch (RFC 7396).
    Patch(Body),
    /// Set the whole overlay.
    Replace(Body),
    /// Go back to that revision; `None`: to the one before what runs.
    Rollback(Option<RevisionId>),
    /// At a start: run what an earlier process ran last, without a look at the files. They are looked at once it runs.
    Recover {
        /// Run what was before that instead; the files are held if they are what made it.
        previous: bool,
    },
}

/// A piece of document that came with a draft.
#[derive(Clone, Debug)]
pub enum Body {
    /// As it was sent. Read in the transaction, so that problems have lines.
    Text(Arc<str>, Format),
    /// Already a tree.
    Node(Node),
}

/// What happens, for logs, event streams and tests. In the order in which it happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// A transaction began.
    Received {
        /// Counts transactions of this process from 1.
        transaction: u64,
        /// What asked.
        origin: Origin,
        /// Who asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        author: Option<Arc<str>>,
    },
    /// A step of it was done.
    Step {
        /// Which transaction.
        transaction: u64,
        /// Which step.
        stage: Stage,
        /// How long it took.
        #[serde(serialize_with = "as_millis")]
        took: Duration,
    },
    /// It is known what it changes.
    Planned {
        /// Which transaction.
        transaction: u64,
        /// What changes.
        plan: Arc<Plan>,
    },
    /// A transaction ended.
    Ended {
        /// Which transaction.
        transaction: u64,
        /// What asked for it.
        origin: Origin,
        /// How.
        verdict: Verdict,
        /// From the first event to the end.
        #[serde(serialize_with = "as_millis")]
        took: Duration,
    },
    /// A new revision runs.
    Published {
        /// Which.
        revision: RevisionId,
        /// The revision that it brought back.
        #[serde(skip_serializing_if = "Option::is_none")]
        restores: Option<RevisionId>,
    },
    /// The last request of a generation is done and everything it had is freed.
    GenerationFreed {
        /// Which.
        revision: RevisionId,
        /// How long it lived.
        #[serde(serialize_with = "as_millis")]
        age: Duration,
    },
    /// More generations live than allowed: the oldest are told to drain.
    Draining {
        /// Those that are.
        revisions: Vec<RevisionId>,
    },
    /// A revision runs that could not be written down; a restart would not find it.
    HistoryDegraded {
        /// Why.
        reason: String,
    },
    /// A file of the history is broken and was skipped.
    HistorySkipped {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Changes on disk are noticed late or not at all.
    SourceDown {
        /// Which source.
        origin: Origin,
        /// Why, and what is done instead.
        reason: String,
    },
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

impl Draft {
    /// A draft that is applied whatever runs.
    #[must_use]
    pub fn new(origin: Origin, intent: Intent) -> Draft {
        Draft { intent, origin, author: None, if_match: None, dry_run: false }
    }
}
