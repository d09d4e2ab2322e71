//! HTTP/1.1 (RFC 9112): heads and bodies, read strictly and written plainly.
//!
//! What a lenient peer could read in two ways is an error: bare LF, whitespace before a colon, obs-fold,
//! both `Content-Length` and `Transfer-Encoding`, repeated lengths, anything but `chunked`.

pub mod decode;
pub mod encode;
pub mod head;
pub(crate) mod lines;

pub use decode::{Decoded, Decoder};
pub use encode::{Encoder, write_request_head, write_response_head};
pub use head::{HeadError, HeadLimits, RequestHead, ResponseHead, Scan, parse_request, parse_response};

/// How the length of a body is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes; 0 is no body.
    Fixed(u64),
    /// Chunked, trailers included.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

#[cfg(test)]
mod tests;
