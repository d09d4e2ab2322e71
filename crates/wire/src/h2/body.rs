//! Bodies over HTTP/2, with its flow control: a stream's data as a body, and a body as a stream's data.

use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Failure, Reason, conn::Data, link::Stream};
use crate::body::{Body, BodyError, Frame, Payload};

/// The receiving half of a stream as a body. Window is given back as pieces are taken, so that a slow reader slows
/// the sender and nothing piles up.
pub struct Received(Stream);

impl Received {
    /// The body of that stream.
    #[must_use]
    pub fn new(stream: &Stream) -> Received {
        Received(stream.clone())
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.0.forget_body();
    }
}

impl Body for Received {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(match ready!(self.0.poll_data(cx)) {
            Data::Piece(piece) => Some(Ok(Frame::Data(piece))),
            Data::Trailers(trailers) => Some(Ok(Frame::Trailers(trailers))),
            Data::Failed(failure) => Some(Err(body_error(failure))),
            Data::End | Data::Wait => None,
        })
    }

    fn length(&self) -> Option<u64> {
        self.0.left()
    }
}

/// What a failure of the stream means for its body.
fn body_error(failure: Failure) -> BodyError {
    match failure {
        Failure::Reset(_) | Failure::Refused | Failure::Cancelled => BodyError::Reset,
        Failure::Closed => BodyError::Closed,
        Failure::Io(kind) => BodyError::Io(kind),
        Failure::Broken(_, why) => BodyError::Malformed(why),
    }
}

/// Sends a payload down a stream as its window allows.
pub struct Sending {
    stream: Stream,
    payload: Payload,
    waiting: Bytes,
    sent: u64,
}

/// How sending ended early.
#[derive(Debug)]
pub enum SendError {
    /// The payload failed; the stream has been reset.
    Body(BodyError),
    /// The peer does not want the rest, or is gone.
    Peer(Failure),
}

impl Sending {
    /// Sends `payload` on a stream whose head went out without the end of the stream.
    #[must_use]
    pub fn new(stream: Stream, payload: Payload) -> Sending {
        Sending { stream, payload, waiting: Bytes::new(), sent: 0 }
    }

    /// Ready when all is handed to the connection, trailers and end included.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let polled = self.poll_rest(cx);
        // What is there goes out before we wait: events arrive as they are made.
        self.stream.flush();
        polled
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            while !self.waiting.is_empty() {
                let last = self.payload.length() == Some(0);
                let n = ready!(self.stream.poll_send(&mut self.waiting, last, cx));
                self.sent += n.map_err(SendError::Peer)? as u64;
                if last && self.waiting.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            if let Poll::Ready(failure) = self.stream.poll_failed(cx) {
                return Poll::Ready(Err(SendError::Peer(failure)));
            }
            match ready!(self.payload.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => self.waiting = data,
                Some(Ok(Frame::Trailers(trailers))) => {
                    self.stream.finish_body(Some(&trailers));
                    return Poll::Ready(Ok(()));
                }
                None => {
                    self.stream.finish_body(None);
                    return Poll::Ready(Ok(()));
                }
                Some(Err(e)) => {
                    self.stream.reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Err(SendError::Body(e)));
                }
            }
        }
    }

    /// True while data is there and the peer does not take it.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Bytes of data handed to the connection.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Ends the stream at once, with a reason for the peer.
    pub fn reset(&mut self, reason: Reason) {
        self.stream.reset(reason);
    }
}
