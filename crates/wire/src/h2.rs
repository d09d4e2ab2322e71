//! HTTP/2 (RFC 9113), both sides: frames, header blocks, streams, flow control, and the guards against peers that
//! misuse them.
//!
//! [`Conn`](conn::Conn) is the protocol, pure; [`Link`] joins it to a wire and to the tasks of its streams.

pub mod body;
pub mod conn;
pub mod frame;
mod guard;
pub mod hpack;
pub mod link;
mod message;
mod settings;

pub use body::{Received, SendError, Sending};
pub use conn::{Failure, Role};
pub use frame::{PREFACE, Reason};
pub use link::{Event, Link, Stream};
pub use message::{RequestHead, ResponseHead, Sent};
pub use settings::{FRAME_DEFAULT, FRAME_MAX, Limits, WINDOW_DEFAULT, WINDOW_MAX};
