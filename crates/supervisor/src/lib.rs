//! A parent process that never goes away: it owns the listening sockets of its child, starts it anew when it dies,
//! and replaces it by another program without losing a connection.
//!
//! The parent has no configuration, reads nothing that comes from outside, and is small. What it does is decided by a pure
//! state machine ([`core`]); a driver ([`run`](fn@run)) carries it out. A child speaks to it by [`child`]. Must not know:
//! gateways, what children do, their configuration.

pub mod channel;
pub mod child;
pub mod core;
mod inherit;
mod lean;
pub mod message;
pub mod notify;
mod pid_file;
mod run;
mod sockets;
mod spawn;
mod takeover;

pub use inherit::{Named, is_child};
pub use run::{Options, run};
