//! Never down: the process itself is replaced, dies, hangs and is stopped, and nobody loses what could be kept.

mod crash;
mod upgrade;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_evergate");
