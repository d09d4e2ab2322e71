//! Bodies over HTTP/2 (RFC 9113), with its flow control; the framing itself is the `h2` crate's.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use crate::{
    body::{Body, BodyError, Frame, Payload},
    headers::Headers,
};

/// The receiving half of a stream as a body. Window is given back as frames are taken, so that a slow
/// reader slows the sender and nothing piles up.
pub struct Received {
    stream: RecvStream,
    left: Option<u64>,
    data_done: bool,
}

impl Received {
    /// `length` is what `content-length` said; `h2` itself resets streams that break it.
    #[must_use]
    pub fn new(stream: RecvStream, length: Option<u64>) -> Received {
        Received { stream, left: length, data_done: false }
    }

    /// As a payload; empty if the stream has ended already.
    #[must_use]
    pub fn payload(stream: RecvStream, length: Option<u64>) -> Payload {
        if stream.is_end_stream() {
            Payload::Empty
        } else {
            Payload::Stream(Box::new(Received::new(stream, length)))
        }
    }
}

impl Body for Received {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        while !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Giving window back fails only on a stream that is gone, which the next poll says.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::Data(data))));
                    }
                }
                Some(Err(e)) => return Poll::Ready(Some(Err(body_error(&e)))),
                None => self.data_done = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(map)) => Poll::Ready(Some(Ok(Frame::Trailers(map.into())))),
            Ok(None) => Poll::Ready(None),
            Err(e) => Poll::Ready(Some(Err(body_error(&e)))),
        }
    }

    fn length(&self) -> Option<u64> {
        self.left
    }
}

/// What a failure of the stream means for its body.
#[must_use]
pub fn body_error(e: &h2::Error) -> BodyError {
    match e.get_io() {
        Some(io) => BodyError::Io(io.kind()),
        None if e.is_reset() => BodyError::Reset,
        None => BodyError::Closed,
    }
}

/// Sends a payload down a stream as its window allows.
pub struct Sending {
    stream: SendStream<Bytes>,
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
    Peer(h2::Error),
}

impl Sending {
    /// Sends `payload` on a stream whose head went out without the end-of-stream flag.
    #[must_use]
    pub fn new(stream: SendStream<Bytes>, payload: Payload) -> Sending {
        Sending { stream, payload, waiting: Bytes::new(), sent: 0 }
    }

    /// Ready when all is handed to the connection, trailers and end included.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            if !self.waiting.is_empty() {
                ready!(self.poll_send(cx))?;
                continue;
            }
            if let Poll::Ready(r) = self.stream.poll_reset(cx) {
                return Poll::Ready(Err(SendError::Peer(r.map_or_else(|e| e, h2::Error::from))));
            }
            match ready!(self.payload.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => {
                    self.stream.reserve_capacity(data.len());
                    self.waiting = data;
                }
                Some(Ok(Frame::Trailers(map))) => return Poll::Ready(self.end(Some(map))),
                None => return Poll::Ready(self.end(None)),
                Some(Err(e)) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Err(SendError::Body(e)));
                }
            }
        }
    }

    /// True while data is there and the peer's window is not.
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
        self.stream.send_reset(reason);
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(e)) => return Poll::Ready(Err(SendError::Peer(e))),
                None => return Poll::Ready(Err(SendError::Peer(Reason::CANCEL.into()))),
            }
        }
        let n = self.stream.capacity().min(self.waiting.len());
        let piece = self.waiting.split_to(n);
        self.sent += n as u64;
        Poll::Ready(self.stream.send_data(piece, false).map_err(SendError::Peer))
    }

    fn end(&mut self, trailers: Option<Headers>) -> Result<(), SendError> {
        match trailers {
            Some(map) => self.stream.send_trailers(map.into()),
            None => self.stream.send_data(Bytes::new(), true),
        }
        .map_err(SendError::Peer)
    }
}
