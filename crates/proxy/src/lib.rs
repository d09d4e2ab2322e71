//! The data plane: a checked configuration becomes a snapshot, workers serve requests by it.
//!
//! A change's way ends here ([`Plane::prepare`], [`Plane::publish`]); a request's way is listener, connection
//! (`serve`), exchange, route, upstream. They meet in `snapshot::Published` and nowhere else. Must not know:
//! files, formats, history, who asked for a change.

mod build;
mod carries;
mod client;
mod conn;
mod doors;
mod edits;
mod exchange;
mod expiry;
mod front;
mod gateway;
mod headers;
mod listen;
mod meter;
mod onward;
mod plane;
mod quic;
mod reaper;
mod reply;
mod route;
mod serve;
mod share;
mod snapshot;
mod starter;
mod thread;
mod view;
mod worker;

pub use carries::Carries;
pub use evergate_upstream::{HealthChange, health::Notice as HealthNotice};
pub use gateway::Gateway;
pub use plane::{Before, Plane, Prepared};
