//! The response's body over HTTP/2; the rest of the request's body goes out meanwhile.

use std::task::{Context, Poll};

use evergate_wire::{
    Body, BodyError, Frame,
    h2::{Received, SendError, Sending, Stream},
};

use super::super::h1::Silence;
use crate::{local::Lease, pool::Slot};

/// A response's body. Dropped before its end, it resets the stream.
pub(super) struct Download {
    received: Received,
    sending: Option<Sending>,
    /// The stream's share of the connection, and the request's count as in flight.
    held: Option<(Slot, Option<Lease>)>,
    silence: Silence,
}

impl Download {
    pub(super) fn new(
        stream: &Stream,
        sending: Option<Sending>,
        held: (Slot, Option<Lease>),
        silence: Silence,
    ) -> Download {
        Download { received: Received::new(stream), sending, held: Some(held), silence }
    }
}

impl Body for Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(outcome) = sending.poll(cx)
        {
            self.sending = None;
            if let Err(SendError::Body(e)) = outcome {
                return Poll::Ready(Some(Err(e)));
            }
        }
        let polled = match self.received.poll_frame(cx) {
            Poll::Pending => {
                let sent = self.sending.as_ref().map_or(0, Sending::sent);
                return self.silence.poll(sent, cx).map(|e| Some(Err(e)));
            }
            Poll::Ready(polled) => polled,
        };
        self.silence.broken();
        if !matches!(polled, Some(Ok(Frame::Data(_)))) {
            self.held = None;
        }
        Poll::Ready(polled)
    }

    fn length(&self) -> Option<u64> {
        self.received.length()
    }
}
