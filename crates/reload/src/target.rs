//! What is reloaded: the program's side of a transaction.

use std::sync::Arc;

use evergate_conf::{Node, Report};

use crate::{
    generation::Generation,
    inputs::Inputs,
    plan::{Plan, Touch},
    revision::RevisionId,
};

/// A program that can be changed while it runs. All calls come from the thread `change`, one at a time; they may
/// block, since nothing that serves waits for them.
pub trait Target: Send + 'static {
    /// The document as types, known to hang together.
    type Config: Send + Sync + 'static;
    /// Everything that the configuration needs, ready to be switched to: compiled, opened, bound. Dropping it
    /// undoes all.
    type Built: Send + 'static;

    /// Turns a document into a configuration, or says everything that is wrong with it. Warnings may be added beside
    /// a configuration; a report with an error refuses. The live configuration is given so that equal
    /// parts can be shared. Touches nothing outside.
    fn check(
        &mut self,
        candidate: Candidate<'_>,
        live: Option<Live<'_, Self::Config>>,
        report: &mut Report,
    ) -> Option<Self::Config>;

    /// What applying the plan will disturb, in words for people. Empty: nothing but new requests.
    fn touches(&self, live: &Self::Config, new: &Self::Config, plan: &Plan) -> Vec<Touch> {
        let _ = (live, new, plan);
        Vec::new()
    }

    /// Does everything that can fail.
    ///
    /// # Errors
    /// Why it cannot run; what was made so far is undone.
    fn build(&mut self, build: Build<'_, Self::Config>) -> Result<Self::Built, Report>;

    /// Switches. Cannot fail, and returns quickly: what ran before may go on for requests that hold it.
    fn publish(&mut self, built: Self::Built);

    /// Too many generations live: what still holds these should end soon. Called again if it does not help.
    fn drain(&mut self, oldest: &[RevisionId]) {
        let _ = oldest;
    }

    /// The engine's own settings, out of the configuration that is being published.
    fn settings(&self, config: &Self::Config) -> Settings;
}

/// A document that may become a configuration.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// All layers merged.
    pub document: &'a Node,
    /// The files that it refers to.
    pub inputs: &'a Inputs,
}

/// What runs while a candidate is looked at.
pub struct Live<'a, C> {
    /// Which revision.
    pub id: RevisionId,
    /// Its document. Parts of a candidate's document that are equal are often the very same allocation.
    pub document: &'a Node,
    /// Its configuration.
    pub config: &'a Arc<C>,
    /// Its pinned files.
    pub inputs: &'a Inputs,
}

impl<C> Clone for Live<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Live<'_, C> {}

/// What [`Target::build`] gets.
pub struct Build<'a, C> {
    /// The revision to be.
    pub id: RevisionId,
    /// Its configuration, as checked.
    pub config: &'a Arc<C>,
    /// Its document.
    pub document: &'a Node,
    /// The files that it refers to. Read them here and not from disk, where they may have changed meanwhile
    /// or, when the last good revision is started, be broken.
    pub inputs: &'a Inputs,
    /// How it differs from what runs.
    pub plan: &'a Plan,
    /// What runs; `None` at the start.
    pub live: Option<Live<'a, C>>,
    /// Keep it inside what requests hold: its drop says that the generation is gone.
    pub generation: Generation,
}

/// The engine's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Watch the files, and all that they refer to.
    pub watch: bool,
    /// Silence to wait for after a file event, so that a burst is one change. Never longer than ten times this in all.
    pub debounce: std::time::Duration,
    /// Revisions kept; at least 1.
    pub history: usize,
    /// Generations that may live at once; over it the oldest are told to drain. At least 1.
    pub generations: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            watch: true,
            debounce: std::time::Duration::from_millis(20),
            history: 100,
            generations: 64,
        }
    }
}
