//! HPACK (RFC 7541): header blocks of HTTP/2, read and written.
//!
//! Knows fields as names and values only; what they mean to a message is its reader's. Both tables are bounded by
//! what the two sides have agreed on, and nothing grows by what a block claims.

mod decode;
mod encode;
mod fixed;
mod table;

pub use decode::{Decoder, Field, HpackError};
pub use encode::Encoder;

/// What each entry counts for beside its bytes (§4.1).
const ENTRY_OVERHEAD: usize = 32;
/// Size of both tables before anything is said (RFC 9113 §6.5.2).
pub const TABLE_DEFAULT: usize = 4096;

#[cfg(test)]
mod tests;
