//! The body of the request that is being answered, read from the client as it is asked for.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::BufMut;
use evergate_kit::deadline::Expired;
use evergate_wire::{Body, BodyError, Frame, h1::Decoded};

use super::H1;

/// Reads from the connection's wire; nothing is read ahead of who asks, so a slow upstream slows the client.
pub(super) struct Inbound {
    h1: Rc<H1>,
}

impl Inbound {
    /// The body of the current request.
    pub(super) fn new(h1: Rc<H1>) -> Inbound {
        Inbound { h1 }
    }
}

impl Body for Inbound {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let h1 = &self.h1;
        let mut wire = h1.wire.borrow_mut();
        if h1.expects.replace(false) && wire.input.is_empty() {
            // Somebody wants the body now: the client may send it (RFC 9110 §10.1.1).
            wire.small().put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            let _ = wire.poll_flush(cx)?;
        }
        loop {
            match h1.decoder.borrow_mut().decode(&mut wire.input) {
                Ok(Decoded::Frame(frame)) => {
                    h1.reading.disarm();
                    if let Frame::Data(data) = &frame {
                        h1.worker.meter.bytes_in.add(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Decoded::End) => return Poll::Ready(None),
                Err(e) => return Poll::Ready(Some(Err(e))),
                Ok(Decoded::More) => {}
            }
            if !h1.reading.is_armed() {
                h1.reading.arm(h1.body_timeout.get());
            }
            let read = match wire.poll_fill(cx) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    let Expired = ready!(h1.reading.poll_expired(cx));
                    return Poll::Ready(Some(Err(BodyError::Timeout)));
                }
            };
            h1.reading.disarm();
            if read == 0 {
                return Poll::Ready(h1.decoder.borrow_mut().closed().err().map(Err));
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.h1.decoder.borrow().length()
    }
}
