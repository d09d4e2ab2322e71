//! The wire: HTTP/1, HTTP/2 and HTTP/3 codecs, bodies, and byte streams, shared by both sides of the gateway.
//!
//! Everything here is about bytes on a connection. Must not know: routes, upstreams, configuration,
//! which side of the gateway it serves (the few rules that differ are named `request` and `response`).
//! Invariant: bytes that two parsers could read differently are refused here and nowhere else.

pub mod body;
pub mod h1;
pub mod h2;
pub mod h3;
pub mod headers;
pub mod hello;
pub mod hop;
mod huffman;
pub mod parts;
pub mod plain;
pub mod proxy_protocol;
pub mod socket;
pub mod stream;
pub mod tunnel;

pub use body::{Body, BodyError, Frame, Payload};
pub use headers::Headers;
pub use hello::{Hello, HelloError};
pub use parts::{RequestParts, ResponseParts};
pub use plain::Plain;
pub use socket::{Carrier, Outbox, Socket};
pub use stream::{Stream, Wire};
