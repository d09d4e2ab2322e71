//! Hot reload for any program: it gives types, a `check` and a `build`; this crate does the rest.
//!
//! Files, signals and calls hand in drafts; one at a time they are loaded, checked, planned, built, recorded and
//! published by a swap that cannot fail. Who asked gets a verdict. What ran is kept on disk, so that one can go back,
//! and start when the files are broken. Must not know: gateways, HTTP.

pub mod counters;
pub mod drive;
pub mod engine;
pub mod generation;
pub mod history;
pub mod inputs;
pub mod plan;
pub mod revision;
pub mod source;
pub mod status;
pub mod target;
pub mod verdict;

pub use drive::{Handle, Options, StartError, start};
pub use generation::{Generation, Generations, Holders};
pub use inputs::Inputs;
pub use plan::{Plan, Touch};
pub use revision::{Layers, Origin, Pin, Record, Revision, RevisionId};
pub use source::{Body, Draft, Intent, Notice};
pub use status::Status;
pub use target::{Build, Candidate, Live, Settings, Target};
pub use verdict::{Stage, Verdict};
