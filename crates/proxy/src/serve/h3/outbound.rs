//! What a client is sent on the stream of a request: heads, and a body as fast as the client takes it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use evergate_kit::deadline::{Clock, Deadline, Expired};
use evergate_wire::{BodyError, Frame, Headers, Payload, ResponseParts, h3};
use http::StatusCode;
use quinn::{SendStream, VarInt, WriteError};

use crate::{conn::Settings, serve::taking::Taking};

/// The sending half of a stream.
pub(super) struct Writer {
    send: SendStream,
    /// Made, not yet sent: interim responses that did not fit, and what is small.
    small: BytesMut,
    taking: Taking,
    /// What the connection has taken.
    taken: u64,
    closing: Deadline,
    body_timeout: Duration,
    sent: u64,
}

/// Why a response could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Peer(#[from] WriteError),
    #[error("the client wants no more of it")]
    Unwanted,
    #[error("the client takes nothing")]
    Stalled,
}

impl Writer {
    /// A client that takes nothing for too long, or too little, is cut off.
    pub(super) fn new(send: SendStream, clock: &Rc<Clock>, settings: &Settings) -> Writer {
        let taking = Taking::new(clock);
        taking.begin(settings);
        let (closing, body_timeout) = (clock.deadline(), settings.body_timeout);
        Writer { send, small: BytesMut::new(), taking, taken: 0, closing, body_timeout, sent: 0 }
    }

    /// Relays an interim response (RFC 9110 §15.2). What does not fit now goes with the final one.
    pub(super) fn inform(&mut self, status: StatusCode, headers: Headers) {
        h3::response(&ResponseParts { status, headers }, &mut self.small);
        write_now(&mut self.send, &mut self.small);
    }

    /// Sends a whole response.
    pub(super) async fn respond(&mut self, parts: &ResponseParts, mut payload: Payload) -> Result<(), Cut> {
        h3::response(parts, &mut self.small);
        let mut stopped = pin!(self.send.stopped());
        loop {
            let frame = tokio::select! {
                biased;
                frame = payload.frame() => frame,
                // While nothing is there to be sent, this is how we learn that nobody wants it.
                _ = &mut stopped => return Err(Cut::Unwanted),
                // What was made goes out before we wait: events and chunks arrive as they are made.
                written = write(&mut self.send, &mut self.small), if !self.small.is_empty() => {
                    written?;
                    continue;
                }
            };
            match frame.transpose()? {
                Some(Frame::Data(data)) => {
                    h3::begin_data(data.len(), &mut self.small);
                    self.sent += data.len() as u64;
                    self.write(data).await?;
                }
                Some(Frame::Trailers(trailers)) => {
                    h3::write_trailers(&trailers, &mut self.small);
                    break;
                }
                None => break,
            }
        }
        self.write(Bytes::new()).await?;
        // It fails only on a stream that is closed already, which `stopped` says below.
        let _ = self.send.finish();
        // Until all has arrived: closing the connection would throw away what has not.
        self.closing.arm(self.body_timeout);
        match self.closing.guard(stopped).await {
            Ok(Ok(None)) => Ok(()),
            Ok(_) => Err(Cut::Unwanted),
            Err(Expired) => Err(Cut::Stalled),
        }
    }

    /// Writes what is made, then `data`.
    async fn write(&mut self, data: Bytes) -> Result<(), Cut> {
        let mut both = [self.small.split().freeze(), data];
        let mut rest = both.as_mut_slice();
        while rest.iter().any(|piece| !piece.is_empty()) {
            let written = {
                let mut writing = pin!(self.send.write_chunks(rest));
                poll_fn(|cx| match writing.as_mut().poll(cx) {
                    Poll::Ready(written) => Poll::Ready(Some(written)),
                    Poll::Pending => self.taking.poll_stalled(cx, self.taken).map(|()| None),
                })
                .await
            };
            let written = written.ok_or(Cut::Stalled)??;
            self.taken += written.bytes as u64;
            self.taking.goes_on(self.taken);
            rest = rest.get_mut(written.chunks..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the stream at once, with a reason for the client.
    pub(super) fn reset(&mut self, code: u32) {
        // A stream that is gone needs no word.
        let _ = self.send.reset(VarInt::from_u32(code));
    }

    /// Bytes of bodies that were handed to the connection.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }
}

async fn write(send: &mut SendStream, small: &mut BytesMut) -> Result<(), WriteError> {
    let written = send.write(small).await?;
    small.advance(written);
    Ok(())
}

/// Writes what fits now; the rest stays.
pub(super) fn write_now(send: &mut SendStream, small: &mut BytesMut) {
    let mut cx = Context::from_waker(Waker::noop());
    while !small.is_empty() {
        match Pin::new(&mut *send).poll_write(&mut cx, small) {
            Poll::Ready(Ok(written)) if written > 0 => small.advance(written),
            // A stream that is gone shows itself at the next write.
            _ => return,
        }
    }
}
