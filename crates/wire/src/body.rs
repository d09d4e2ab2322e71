//! Bodies: frames of data, then perhaps trailers. One shape for both HTTP versions and both directions.

use std::{
    io,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::headers::Headers;

/// A piece of a body.
#[derive(Debug)]
pub enum Frame {
    /// Bytes, never empty.
    Data(Bytes),
    /// Trailers (RFC 9110 §6.5); nothing follows.
    Trailers(Headers),
}

/// A body that arrives in pieces. Polled by one task; not `Send`.
pub trait Body {
    /// The next frame, `None` at the end. After an error or `None` it is not polled again.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>>;

    /// Bytes still to come, if that is known.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// A body, cheap where it is small.
#[derive(Default)]
pub enum Payload {
    /// No body at all.
    #[default]
    Empty,
    /// All of it.
    Full(Bytes),
    /// In pieces.
    Stream(Box<dyn Body>),
}

/// Why a body ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender closed the connection in the middle.
    #[error("the sender closed the connection before the end of the body")]
    Closed,
    /// The sender broke the rules of the protocol.
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    /// More than the limit allows.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// Silence for too long.
    #[error("the sender was silent for too long")]
    Timeout,
    /// The stream was reset (RFC 9113 §6.4).
    #[error("the stream was reset by the sender")]
    Reset,
    /// The connection failed.
    #[error("connection failed: {0}")]
    Io(io::ErrorKind),
}

impl From<io::Error> for BodyError {
    fn from(e: io::Error) -> Self {
        BodyError::Io(e.kind())
    }
}

impl Payload {
    /// Bytes in all, if that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Payload::Empty => Some(0),
            Payload::Full(b) => Some(b.len() as u64),
            Payload::Stream(s) => s.length(),
        }
    }

    /// True if there is nothing to come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Payload::Empty => true,
            Payload::Full(b) => b.is_empty(),
            Payload::Stream(_) => false,
        }
    }

    /// The next frame, `None` at the end and ever after.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let frame = match self {
            Payload::Empty => return Poll::Ready(None),
            Payload::Full(b) if b.is_empty() => None,
            Payload::Full(b) => {
                let all = std::mem::take(b);
                *self = Payload::Empty;
                return Poll::Ready(Some(Ok(Frame::Data(all))));
            }
            Payload::Stream(s) => std::task::ready!(s.poll_frame(cx)),
        };
        if !matches!(frame, Some(Ok(Frame::Data(_)))) {
            *self = Payload::Empty;
        }
        Poll::Ready(frame)
    }

    /// The next frame, awaited.
    pub async fn frame(&mut self) -> Option<Result<Frame, BodyError>> {
        std::future::poll_fn(|cx| self.poll_frame(cx)).await
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Payload::Empty => f.write_str("Empty"),
            Payload::Full(b) => write!(f, "Full({})", b.len()),
            Payload::Stream(s) => write!(f, "Stream({:?})", s.length()),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(b: Bytes) -> Self {
        if b.is_empty() { Payload::Empty } else { Payload::Full(b) }
    }
}
