//! What the engine is told, and what it wants done.

use std::{sync::Arc, time::Duration};

use evergate_conf::{Digest, Format, Node, Report};

use crate::{
    plan::Plan,
    revision::{Origin, Pin, Revision, RevisionId},
    source::Draft,
    verdict::{Stage, Verdict},
};

/// Time since some fixed moment, handed in by the caller; never goes back.
pub type Moment = Duration;

/// Names who waits for a verdict.
pub type Asker = u64;

/// What the engine is told.
#[derive(Debug)]
pub enum Event {
    /// Something on disk changed.
    Disturbed,
    /// Somebody wants a change.
    Drafted(Asker, Draft),
    /// The moment of [`super::Engine::wake_at`] has come.
    Tick,
    /// [`Effect::Load`] is done.
    Loaded(Result<Loaded, Report>),
    /// [`Effect::Check`] is done.
    Checked(Result<Checked, Report>),
    /// [`Effect::Build`] is done.
    Built(Result<(), Report>),
    /// [`Effect::Publish`] is done.
    Published,
}

/// What the engine wants done. At most one of `Load`, `Check`, `Build` and `Publish` is under way; each is answered by
/// its event.
#[derive(Debug)]
pub enum Effect {
    /// A transaction begins.
    Begin(Head),
    /// Get what the candidate is made of.
    Load(Load),
    /// Read what the document refers to, check it, and see how it differs from what runs.
    Check(Check),
    /// Build what was checked, under that name.
    Build(RevisionId),
    /// Write the revision down unless it is already, then switch to what was built.
    Publish {
        /// What runs from now on.
        revision: Arc<Revision>,
        /// False if it came from the history as it is.
        record: bool,
    },
    /// The files could not be used at the start; the last good revision is tried instead.
    FallBack(Stage, Arc<Report>),
    /// What runs is the same, but where it is written or what is held differs.
    Amend(Arc<Revision>),
    /// The transaction ends: drop what it left, answer who asked.
    End(Head, Vec<Asker>, Verdict),
    /// A draft that was not taken in.
    TurnAway(Asker, Verdict),
}

/// What is said of a transaction.
#[derive(Clone, Debug)]
pub struct Head {
    /// Counts transactions from 1.
    pub transaction: u64,
    /// What asked.
    pub origin: Origin,
    /// Who asked.
    pub author: Option<Arc<str>>,
    /// Asked only what would happen: it counts as a look, not as a change that failed.
    pub dry_run: bool,
    /// When the first event that led to it came.
    pub since: Moment,
}

/// Where a candidate comes from.
#[derive(Clone, Debug)]
pub enum Load {
    /// The files.
    Files {
        /// Reads also those that show no sign of a change.
        distrust: bool,
    },
    /// A text.
    Text(Arc<str>, Format),
    /// That revision.
    Revision(RevisionId),
    /// The one that ran before that revision.
    Before(RevisionId),
    /// The newest complete one with a smaller number.
    Older(u64),
}

/// What was loaded.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// The files, merged, with the digest of them and of what they refer to.
    Files(Node, Digest),
    /// A text.
    Text(Node),
    /// A revision.
    Revision(Arc<Revision>),
}

/// A document to check.
#[derive(Clone, Debug)]
pub struct Check {
    /// All layers merged.
    pub document: Node,
    /// Where the files that it refers to are read.
    pub pins: PinsFrom,
}

/// Where referred files are read.
#[derive(Clone, Debug)]
pub enum PinsFrom {
    /// All from disk, as they are.
    Disk,
    /// As they were then; what was not referred to then, from disk.
    Kept(Arc<[Pin]>),
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Hash of the document and of what it refers to.
    pub digest: Digest,
    /// What it refers to.
    pub pins: Arc<[Pin]>,
    /// How it differs from what runs.
    pub plan: Arc<Plan>,
    /// What works, but perhaps not as meant.
    pub warnings: Report,
    /// When this happened, for the revision.
    pub time: std::time::SystemTime,
}

/// Where the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing to do.
    Idle,
    /// Waiting until the files are quiet.
    Settling,
    /// A candidate is loaded and checked.
    Loading,
    /// A candidate is built.
    Building,
    /// A candidate is written down and switched to.
    Publishing,
}
