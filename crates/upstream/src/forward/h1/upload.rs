//! The request's body on its way out, polled together with the response.

use std::task::{Context, Poll, ready};

use evergate_wire::{
    BodyError, Frame, Payload, Wire,
    h1::{BodyLength, Encoder},
};

/// A request that is being written: its head waits in the wire already.
pub(super) struct Upload {
    body: Payload,
    encoder: Encoder,
    stage: Stage,
    /// Bytes given to the wire.
    queued: u64,
    /// Something was taken from a body that cannot be read twice.
    consumed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    Flushing,
    Done,
    Failed,
}

/// Whom a request waits for that is not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// It is written, or never will be.
    Nothing,
    /// The client, for more of the body.
    Client,
    /// The endpoint, to read.
    Peer,
}

/// Why a request is not written to its end.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The body failed.
    Body(BodyError),
    /// The endpoint does not read.
    Peer,
}

impl Upload {
    /// `queued` bytes of head are in the wire.
    pub(super) fn new(body: Payload, length: Option<BodyLength>, queued: usize) -> Upload {
        let stage = if matches!(body, Payload::Empty) { Stage::Flushing } else { Stage::Open };
        Upload {
            body,
            encoder: Encoder::new(length.unwrap_or(BodyLength::Fixed(0))),
            stage,
            queued: queued as u64,
            consumed: false,
        }
    }

    /// Ready when all is written. After an error, ready ever after.
    pub(super) fn poll(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        let outcome = match self.stage {
            Stage::Done | Stage::Failed => return Poll::Ready(Ok(())),
            Stage::Open | Stage::Flushing => ready!(self.poll_open(wire, cx)),
        };
        self.stage = if outcome.is_ok() { Stage::Done } else { Stage::Failed };
        Poll::Ready(outcome)
    }

    fn poll_open(&mut self, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        while self.stage == Stage::Open {
            ready!(wire.poll_room(cx)).map_err(|_| UploadError::Peer)?;
            let before = wire.unsent();
            match self.body.poll_frame(cx) {
                Poll::Ready(Some(frame)) => self.push(frame.map_err(UploadError::Body)?, wire)?,
                Poll::Ready(None) => {
                    self.encoder.end(wire).map_err(|_| wrong_length())?;
                    self.stage = Stage::Flushing;
                }
                Poll::Pending => {
                    // What is there must not wait for what is to come.
                    ready!(wire.poll_flush(cx)).map_err(|_| UploadError::Peer)?;
                    return Poll::Pending;
                }
            }
            self.queued += (wire.unsent() - before) as u64;
        }
        wire.poll_flush(cx).map_err(|_| UploadError::Peer)
    }

    fn push(&mut self, frame: Frame, wire: &mut Wire) -> Result<(), UploadError> {
        self.consumed |= matches!(self.body, Payload::Stream(_)) || matches!(frame, Frame::Trailers(_));
        self.encoder.frame(frame, wire).map_err(|_| wrong_length())
    }

    /// True if the request was written to its end.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whom it waits for.
    pub(super) fn waits(&self, wire: &Wire) -> Waits {
        match self.stage {
            Stage::Done | Stage::Failed => Waits::Nothing,
            Stage::Open if !wire.is_stalled() => Waits::Client,
            Stage::Open | Stage::Flushing => Waits::Peer,
        }
    }

    /// Bytes that the kernel, or TLS, has taken.
    pub(super) fn sent(&self, wire: &Wire) -> u64 {
        self.queued.saturating_sub(wire.unsent() as u64)
    }

    /// Puts the body back for another try. True if all of it is still there.
    pub(super) fn give_back(self, body: &mut Payload) -> bool {
        if let Payload::Stream(_) = &self.body {
            *body = self.body;
        }
        !self.consumed
    }
}

fn wrong_length() -> UploadError {
    UploadError::Body(BodyError::Malformed("the body is not as long as its head promised"))
}
