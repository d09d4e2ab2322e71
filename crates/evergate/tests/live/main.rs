//! Every setting changes under load: what it touches changes, and nobody else notices.

mod clients;
mod connections;
mod listeners;
mod process;
mod proxies;
mod slow;
mod sockets;
mod state;
mod upstreams;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_evergate");
