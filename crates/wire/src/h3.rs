//! HTTP/3 (RFC 9114) as bytes: frames, and heads in QPACK. QUIC itself is others' work.
//!
//! Parsers take what comes piece by piece and never hold more than a limit says. Must not know: QUIC streams,
//! who answers. What a peer did wrong is told with the code that the standard has for it.

mod frame;
mod message;
mod qpack;
mod table;
mod varint;

pub use frame::{Frame, FrameError, Frames, Place, begin_data, goaway, settings};
pub use message::{HeadError, HeadLimits, request, response, trailers, write_trailers};
pub use varint::{put as put_varint, read as read_varint};

/// Codes of errors (RFC 9114 §8.1, RFC 9204 §6).
pub mod code {
    /// Nothing is wrong.
    pub const NO_ERROR: u32 = 0x100;
    /// Rules are broken that have no code of their own.
    pub const GENERAL_PROTOCOL: u32 = 0x101;
    /// Ours.
    pub const INTERNAL: u32 = 0x102;
    /// A stream of a kind that may not be opened.
    pub const STREAM_CREATION: u32 = 0x103;
    /// A stream was closed that lasts as long as the connection.
    pub const CLOSED_CRITICAL_STREAM: u32 = 0x104;
    /// A frame where it may not be.
    pub const FRAME_UNEXPECTED: u32 = 0x105;
    /// A frame that is not laid out as it should be.
    pub const FRAME: u32 = 0x106;
    /// Too much at once.
    pub const EXCESSIVE_LOAD: u32 = 0x107;
    /// Settings that may not be.
    pub const SETTINGS: u32 = 0x109;
    /// The control stream does not begin with settings.
    pub const MISSING_SETTINGS: u32 = 0x10a;
    /// Not looked at: it may be sent again.
    pub const REQUEST_REJECTED: u32 = 0x10b;
    /// Not wanted any more.
    pub const REQUEST_CANCELLED: u32 = 0x10c;
    /// The stream ended within a request.
    pub const REQUEST_INCOMPLETE: u32 = 0x10d;
    /// A malformed message.
    pub const MESSAGE: u32 = 0x10e;
    /// A field section that cannot be read.
    pub const QPACK_DECOMPRESSION: u32 = 0x200;
    /// Instructions for a table that we do not have.
    pub const QPACK_ENCODER_STREAM: u32 = 0x201;
}

/// Kinds of streams in one direction (RFC 9114 §6.2, RFC 9204 §4.2).
pub mod stream {
    /// Settings and GOAWAY.
    pub const CONTROL: u64 = 0;
    /// Pushed responses: servers open them, and we do not.
    pub const PUSH: u64 = 1;
    /// Instructions for the receiver's table.
    pub const QPACK_ENCODER: u64 = 2;
    /// Acknowledgements of these.
    pub const QPACK_DECODER: u64 = 3;
}
