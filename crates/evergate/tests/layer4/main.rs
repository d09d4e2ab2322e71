//! What is carried that is not HTTP: streams of bytes and datagrams, while everything around them changes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions fail the test")]

mod passthrough;
mod stand;
mod tcp;
mod udp;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_evergate");
