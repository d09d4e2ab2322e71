//! The words of the gateway: the typed document, its checks, and the faults of requests.
//!
//! No tokio, no I/O: it says what is meant, others do it. Must not know: sockets, files, how a route is found.

mod at;
pub mod check;
pub mod config;
mod decode;
pub mod fault;
pub mod pattern;
mod schema;
pub mod status;

pub use check::{Checked, check};
pub use config::Config;
pub use fault::{Fault, FaultKind, Side};
pub use schema::schema;
