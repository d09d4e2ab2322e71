//! Hot reload for any program: it gives types, a `check` and a `build`; this crate does the rest.
//!
//! Files, signals and calls hand in drafts; one at a time they are loaded, checked, planned, built, recorded and
//! published by a swap that cannot fail. Who asked gets a verdict. What ran is kept on disk, so that one can go back,
//! and start when the files are broken. Must not know: gateways, HTTP.

mod change;
pub mod counters;
mod disk;
pub mod drive;
pub mod engine;
pub mod explain;
pub mod generation;
pub mod history;
pub mod inputs;
pub mod options;
pub mod plan;
pub mod revision;
pub mod signal;
pub mod source;
pub mod status;
pub mod target;
pub mod verdict;
mod view;
mod watch;

pub use drive::{Handle, WeakHandle, start};
pub use explain::Explained;
pub use generation::{Generation, Generations, Holders};
pub use history::ReadError;
pub use inputs::Inputs;
pub use options::{Begin, Options, StartError};
pub use plan::{Plan, Touch};
pub use revision::{Layers, Origin, Pin, Record, Revision, RevisionId};
pub use signal::Hangup;
pub use source::{Body, Draft, Intent, Notice};
pub use status::Status;
pub use target::{Build, Candidate, Live, Settings, Target};
pub use verdict::{Stage, Verdict};
