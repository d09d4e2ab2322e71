//! A request's body as the client sends it. How long it may be silent is the exchange's to watch.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use evergate_wire::{
    Body, BodyError, Frame, Payload, ResponseParts,
    h2::{Received, Stream},
};
use http::StatusCode;

use crate::worker::Worker;

/// A body that is still coming.
pub(super) struct Inbound {
    received: Received,
    stream: Stream,
    /// The client waits for `100 Continue` before it sends its body (RFC 9110 §10.1.1).
    expects: bool,
    worker: Rc<Worker>,
}

impl Inbound {
    /// The body of that request; one that is there already needs no watching.
    pub(super) fn payload(worker: &Rc<Worker>, stream: &Stream, expects: bool) -> Payload {
        if let Some(whole) = stream.take_whole() {
            worker.meter.bytes_in.add(whole.len() as u64);
            return whole.into();
        }
        Payload::Stream(Box::new(Inbound {
            received: Received::new(stream),
            stream: stream.clone(),
            expects,
            worker: worker.clone(),
        }))
    }
}

impl Body for Inbound {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if std::mem::take(&mut self.expects) {
            self.stream.inform(&ResponseParts::new(StatusCode::CONTINUE));
        }
        let polled = self.received.poll_frame(cx);
        if let Poll::Ready(Some(Ok(Frame::Data(data)))) = &polled {
            self.worker.meter.bytes_in.add(data.len() as u64);
        }
        polled
    }

    fn length(&self) -> Option<u64> {
        self.received.length()
    }
}
