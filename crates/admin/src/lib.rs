//! The admin API, metrics and health of a running gateway, over TCP and a Unix socket.
//!
//! An edge of the process: it hands drafts to the reload engine, shows what the engine and the data plane
//! say of themselves, and decides nothing. Must not know: how traffic is served.

mod access;
mod api;
mod bind;
mod health;
mod metrics;
mod problem;
mod process;
mod server;

pub use bind::BindError;
pub use health::HealthChange;
pub use problem::findings;
pub use server::{Admin, Prepared, Whereabouts};
