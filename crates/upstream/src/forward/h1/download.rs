//! The response's body on its way in; the rest of the request's body goes out meanwhile.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use evergate_kit::deadline::Deadline;
use evergate_wire::{
    Body, BodyError, Frame,
    h1::{Decoded, Decoder},
};

use super::upload::{Upload, UploadError};
use crate::{
    local::Lease,
    pool::{Conn, Pool},
};

/// A response's body. At its end the connection goes back to the pool, if it can be used again; dropped before, it
/// is closed.
pub(super) struct Download {
    /// Until the end.
    pub(super) open: Option<Open>,
    pub(super) decoder: Decoder,
    /// Taken off already.
    pub(super) first: Option<Frame>,
    pub(super) silence: Silence,
}

/// What is held until the end.
pub(super) struct Open {
    pub(super) conn: Box<Conn>,
    pub(super) pool: Rc<Pool>,
    /// Counts the request as in flight.
    pub(super) _lease: Option<Lease>,
    pub(super) upload: Upload,
    pub(super) keep_alive: bool,
}

/// Watches for silence: it runs only while the endpoint is waited for.
pub(crate) struct Silence {
    deadline: Deadline,
    longest: Duration,
    /// How far the request's own body was when it was armed; while that moves, there is no silence.
    armed: Option<u64>,
}

impl Silence {
    pub(crate) fn new(deadline: Deadline, longest: Duration) -> Silence {
        Silence { deadline, longest, armed: None }
    }

    /// Ready if the endpoint has been silent for too long.
    pub(crate) fn poll(&mut self, sent: u64, cx: &mut Context<'_>) -> Poll<BodyError> {
        if self.armed != Some(sent) {
            self.armed = Some(sent);
            self.deadline.arm(self.longest);
        }
        self.deadline.poll_expired(cx).map(|_| BodyError::Timeout)
    }

    pub(crate) fn broken(&mut self) {
        self.armed = None;
        self.deadline.disarm();
    }
}

impl Body for Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let outcome = ready!(self.poll_open(cx));
        if !matches!(outcome, Some(Ok(_))) || self.decoder.is_done() {
            self.close(!matches!(outcome, Some(Err(_))));
        }
        Poll::Ready(outcome)
    }

    fn length(&self) -> Option<u64> {
        let first = match &self.first {
            Some(Frame::Data(data)) => data.len() as u64,
            _ => 0,
        };
        self.decoder.length().map(|rest| rest + first)
    }
}

impl Download {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Some(open) = &mut self.open else { return Poll::Ready(None) };
        let wire = &mut open.conn.wire;
        // An endpoint that reads no further may still answer; a client that fails ends both.
        if let Poll::Ready(Err(UploadError::Body(e))) = open.upload.poll(wire, cx) {
            return Poll::Ready(Some(Err(e)));
        }
        loop {
            match self.decoder.decode(&mut wire.input) {
                Ok(Decoded::Frame(frame)) => {
                    self.silence.broken();
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(e) => return Poll::Ready(Some(Err(e))),
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    // The end that `until close` waits for, or one too early.
                    open.keep_alive = false;
                    if let Err(e) = self.decoder.closed() {
                        return Poll::Ready(Some(Err(e)));
                    }
                }
                Poll::Ready(Ok(_)) => self.silence.broken(),
                Poll::Ready(Err(e)) => return Poll::Ready(Some(Err(e.into()))),
                Poll::Pending => return self.silence.poll(open.upload.sent(wire), cx).map(|e| Some(Err(e))),
            }
        }
    }

    /// Lets go of the connection: to the pool after a good end, else for good.
    fn close(&mut self, good: bool) {
        if let Some(Open { conn, pool, upload, keep_alive, .. }) = self.open.take()
            && good
            && keep_alive
            && upload.is_done()
            && conn.wire.input.is_empty()
        {
            pool.put(conn);
        }
    }
}
