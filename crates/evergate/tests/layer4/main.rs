//! What is carried that is not HTTP: streams of bytes, while everything around them changes.

mod stand;
mod tcp;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_evergate");
