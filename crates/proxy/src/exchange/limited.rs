//! A request body that may not grow beyond a limit, however its length is told.

use std::task::{Context, Poll, ready};

use evergate_wire::{Body, BodyError, Frame, Payload};

struct Limited {
    inner: Payload,
    left: u64,
}

/// The same body; an error in place of what is too much.
pub(super) fn at_most(body: Payload, most: u64) -> Payload {
    match body {
        Payload::Stream(_) => Payload::Stream(Box::new(Limited { inner: body, left: most })),
        small => small,
    }
}

impl Body for Limited {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let frame = ready!(self.inner.poll_frame(cx));
        if let Some(Ok(Frame::Data(data))) = &frame {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLarge))),
            }
        }
        Poll::Ready(frame)
    }

    fn length(&self) -> Option<u64> {
        self.inner.length()
    }
}
