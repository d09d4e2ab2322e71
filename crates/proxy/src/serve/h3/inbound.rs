//! What a client sends on the stream of a request: its head, then its body as it is asked for.

use std::{
    cell::RefCell,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use evergate_contract::FaultKind;
use evergate_kit::deadline::Deadline;
use evergate_wire::{
    Body, BodyError, Frame, RequestParts,
    h3::{self, FrameError, Frames, HeadError, HeadLimits, Place, code},
};
use quinn::{ReadError, RecvStream, VarInt};

use super::Session;
use crate::conn::Settings;

/// Asked of one read.
const PIECE: usize = 64 << 10;

/// Why no request came of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client took it back, or is gone.
    Gone,
    /// It gets an answer.
    Reply(FaultKind),
    /// The stream is reset with this code.
    Reset(u32),
    /// The connection ends with this code.
    End(u32),
}

/// The receiving half of a stream. It is closed when it is dropped: what is left is of no use then.
pub(super) struct Reader {
    recv: RecvStream,
    frames: Frames,
    limits: HeadLimits,
}

impl Reader {
    /// With the limits of its listener.
    pub(super) fn new(recv: RecvStream, settings: Settings) -> Reader {
        // Compressed it is hardly ever larger; our own count follows.
        let limits = HeadLimits { bytes: settings.head.bytes, fields: settings.head.headers };
        Reader { recv, frames: Frames::new(Place::Request, limits.bytes), limits }
    }

    /// Reads the head.
    pub(super) async fn head(&mut self) -> Result<RequestParts, Refusal> {
        match std::future::poll_fn(|cx| self.poll_frame(cx)).await? {
            Some(h3::Frame::Headers(section)) => {
                h3::request(&section, self.limits).map_err(|error| match error {
                    HeadError::Broken => Refusal::End(code::QPACK_DECOMPRESSION),
                    HeadError::Malformed(why) => {
                        tracing::debug!(why, "malformed request");
                        Refusal::Reset(code::MESSAGE)
                    }
                    HeadError::TooLarge => Refusal::Reply(FaultKind::HeaderTooLarge),
                })
            }
            Some(_) => Err(Refusal::End(code::FRAME_UNEXPECTED)),
            None => Err(Refusal::Reset(code::REQUEST_INCOMPLETE)),
        }
    }

    /// The next frame; nothing at the end of the stream.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<h3::Frame>, Refusal>> {
        loop {
            match self.frames.frame() {
                Ok(Some(frame)) => return Poll::Ready(Ok(Some(frame))),
                Ok(None) => {}
                Err(FrameError::TooLarge) => {
                    return Poll::Ready(Err(Refusal::Reply(FaultKind::HeaderTooLarge)));
                }
                Err(FrameError::Broken(code)) => return Poll::Ready(Err(Refusal::End(code))),
            }
            match ready!(pin!(self.recv.read_chunk(PIECE, true)).poll(cx)) {
                Ok(Some(chunk)) => self.frames.feed(chunk.bytes),
                Ok(None) if self.frames.is_between() => return Poll::Ready(Ok(None)),
                Ok(None) => return Poll::Ready(Err(Refusal::End(code::FRAME))),
                Err(error) => {
                    if !matches!(error, ReadError::Reset(_)) {
                        tracing::debug!(%error, "client went away");
                    }
                    return Poll::Ready(Err(Refusal::Gone));
                }
            }
        }
    }

    /// Asks the client to send no more of it.
    pub(super) fn stop(&mut self, code: u32) {
        // All may be there already.
        let _ = self.recv.stop(VarInt::from_u32(code));
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop(code::NO_ERROR);
    }
}

/// The body. Nothing is read ahead of who asks, beyond the window of the stream.
pub(super) struct Inbound {
    reader: Rc<RefCell<Reader>>,
    session: Rc<Session>,
    silence: Deadline,
    settings: Settings,
    /// Of what `Content-Length` said.
    left: Option<u64>,
}

impl Inbound {
    /// `length` is what `Content-Length` said.
    pub(super) fn new(
        reader: &Rc<RefCell<Reader>>,
        session: &Rc<Session>,
        settings: Settings,
        length: Option<u64>,
    ) -> Inbound {
        let silence = session.worker.clock.deadline();
        Inbound { reader: reader.clone(), session: session.clone(), silence, settings, left: length }
    }

    fn data(&mut self, data: Bytes) -> Result<Frame, BodyError> {
        self.session.worker.meter.bytes_in.add(data.len() as u64);
        if let Some(left) = &mut self.left {
            match left.checked_sub(data.len() as u64) {
                Some(less) => *left = less,
                None => return Err(self.malformed("the body is longer than its `Content-Length`")),
            }
        }
        Ok(Frame::Data(data))
    }

    fn trailers(&mut self, section: &[u8]) -> Result<Frame, BodyError> {
        let limits = self.reader.borrow().limits;
        match h3::trailers(section, limits) {
            Ok(_) if self.left.is_some_and(|left| left > 0) => Err(self.too_short()),
            Ok(trailers) => Ok(Frame::Trailers(trailers)),
            Err(HeadError::Broken) => {
                self.session.end(code::QPACK_DECOMPRESSION);
                Err(BodyError::Closed)
            }
            Err(HeadError::Malformed(why)) => Err(self.malformed(why)),
            Err(HeadError::TooLarge) => Err(self.malformed("trailers beyond the limit")),
        }
    }

    fn too_short(&mut self) -> BodyError {
        self.malformed("the body is shorter than its `Content-Length`")
    }

    fn malformed(&mut self, why: &'static str) -> BodyError {
        self.reader.borrow_mut().stop(code::MESSAGE);
        BodyError::Malformed(why)
    }

    fn refused(&mut self, refusal: Refusal) -> BodyError {
        match refusal {
            Refusal::Gone => BodyError::Reset,
            Refusal::Reply(_) => self.malformed("trailers beyond the limit"),
            Refusal::Reset(code) | Refusal::End(code) => {
                self.session.end(code);
                BodyError::Closed
            }
        }
    }
}

impl Body for Inbound {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let read = match self.reader.borrow_mut().poll_frame(cx) {
            Poll::Ready(read) => {
                self.silence.disarm();
                Some(read)
            }
            Poll::Pending => None,
        };
        let Some(read) = read else {
            if !self.silence.is_armed() {
                self.silence.arm(self.settings.body_timeout);
            }
            return self.silence.poll_expired(cx).map(|_| Some(Err(BodyError::Timeout)));
        };
        Poll::Ready(match read {
            Ok(Some(h3::Frame::Data(data))) => Some(self.data(data)),
            Ok(Some(h3::Frame::Headers(section))) => Some(self.trailers(&section)),
            Ok(Some(_)) => Some(Err(self.refused(Refusal::End(code::FRAME_UNEXPECTED)))),
            Ok(None) if self.left.is_some_and(|left| left > 0) => Some(Err(self.too_short())),
            Ok(None) => None,
            Err(refusal) => Some(Err(self.refused(refusal))),
        })
    }

    fn length(&self) -> Option<u64> {
        self.left
    }
}
