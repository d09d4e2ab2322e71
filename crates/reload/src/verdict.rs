//! The one answer to "change this".

use std::{fmt, sync::Arc};

use evergate_conf::Report;
use serde::Serialize;

use crate::{plan::Plan, revision::RevisionId};

/// What became of a change. Everyone who asks gets exactly one.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It runs.
    Applied {
        /// The new revision.
        revision: RevisionId,
        /// What changed.
        plan: Arc<Plan>,
        /// What works, but perhaps not as meant.
        #[serde(skip_serializing_if = "Report::is_empty")]
        warnings: Report,
    },
    /// It is what runs already, or it is held: nothing was done.
    Unchanged {
        /// What runs.
        revision: RevisionId,
        /// True if the files differ from what runs but are held since a rollback.
        held: bool,
    },
    /// A dry run: it would be applied. Only building it could still fail.
    Planned {
        /// What runs, and still does.
        running: Option<RevisionId>,
        /// What would change.
        plan: Arc<Plan>,
        /// What works, but perhaps not as meant.
        #[serde(skip_serializing_if = "Report::is_empty")]
        warnings: Report,
    },
    /// It is wrong or cannot be built; what ran before runs on untouched.
    Refused {
        /// What runs.
        running: Option<RevisionId>,
        /// How far it came.
        stage: Stage,
        /// Why, with places.
        report: Arc<Report>,
    },
    /// It was meant for another revision than the one that runs.
    Conflict {
        /// What runs.
        running: Option<RevisionId>,
    },
}

/// A step of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Waiting for its turn.
    #[default]
    Queue,
    /// Files and texts to a document.
    Load,
    /// Document to types, and whether it hangs together.
    Check,
    /// What changes.
    Plan,
    /// Everything else that can fail.
    Build,
    /// Writing it down.
    Record,
    /// The swap.
    Publish,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Stage; 7] =
        [Stage::Queue, Stage::Load, Stage::Check, Stage::Plan, Stage::Build, Stage::Record, Stage::Publish];

    /// Its word, as in JSON and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Stage::Queue => "queue",
            Stage::Load => "load",
            Stage::Check => "check",
            Stage::Plan => "plan",
            Stage::Build => "build",
            Stage::Record => "record",
            Stage::Publish => "publish",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Verdict {
    /// True if what was asked for is what runs now.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Applied { .. } | Verdict::Unchanged { .. } | Verdict::Planned { .. })
    }

    /// Its word, as in JSON and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Applied { .. } => "applied",
            Verdict::Unchanged { .. } => "unchanged",
            Verdict::Planned { .. } => "planned",
            Verdict::Refused { .. } => "refused",
            Verdict::Conflict { .. } => "conflict",
        }
    }
}
