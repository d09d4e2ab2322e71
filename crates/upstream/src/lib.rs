//! The request's way out: which endpoint, over which connection, and what comes back.
//!
//! A [`Cluster`] is an upstream as a snapshot knows it; an [`EndpointState`] outlives snapshots and is shared by
//! all workers; a [`Local`] is what one worker keeps of its own (pools, turns). [`send`] is the call.
//! Must not know: routes, listeners, the client's connection, where configuration comes from.
//! Invariant: a request is sent twice only if the first time cannot have had an effect.

pub mod balance;
mod build;
pub mod cluster;
pub mod connect;
pub mod datagram;
pub mod ejection;
pub mod endpoint;
pub mod forward;
pub mod health;
pub mod local;
pub mod member;
mod pool;
pub mod stream;
#[cfg(test)]
mod testing;
mod timer;
pub mod verdict;

pub use build::Build;
pub use cluster::Cluster;
pub use endpoint::EndpointState;
pub use forward::{Incoming, Outgoing, Tunnel, send};
pub use health::{Checkers, HealthChange};
pub use local::{Lease, Local, Picked};
pub use member::Member;
pub use verdict::Verdict;
