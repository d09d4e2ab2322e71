//! A request body that has to come: not too slowly on the whole, and on HTTP/2 not with too long a silence before
//! there is an answer. On HTTP/1 the connection watches for silence itself; once an answer has begun, both sides of a
//! stream may have nothing to say for long.

use std::{
    cell::Cell,
    mem,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use evergate_kit::{
    Pace,
    deadline::{Clock, Deadline, Expired},
};
use evergate_wire::{Body, BodyError, Frame, Payload};
use http::Version;

use super::Request;
use crate::worker::Worker;

struct Watched {
    inner: Payload,
    pace: Option<Pace>,
    silence: Option<Duration>,
    answered: Rc<Cell<bool>>,
    clock: Rc<Clock>,
    deadline: Deadline,
    /// While the client is waited for: since when.
    since_ms: Option<u64>,
}

/// Has the body of a request watched, if it is to be. The flag is to be set once the answer has begun.
pub(super) fn watch(worker: &Worker, request: &mut Request) -> Option<Rc<Cell<bool>>> {
    let settings = &request.settings;
    let silence = (request.parts.version == Version::HTTP_2).then_some(settings.body_timeout);
    if !matches!(request.body, Payload::Stream(_)) || (settings.pace.is_none() && silence.is_none()) {
        return None;
    }
    let answered = Rc::<Cell<bool>>::default();
    request.body = Payload::Stream(Box::new(Watched {
        inner: mem::take(&mut request.body),
        pace: settings.pace,
        silence,
        answered: answered.clone(),
        clock: worker.clock.clone(),
        deadline: worker.clock.deadline(),
        since_ms: None,
    }));
    Some(answered)
}

impl Watched {
    /// How long nothing may come.
    fn patience(&self) -> Option<Duration> {
        let silence = self.silence.filter(|_| !self.answered.get());
        let pace = self.pace.map(|pace| pace.left());
        [silence, pace].into_iter().flatten().min()
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now_ms = self.clock.now_ms();
        let Some(patience) = self.patience() else {
            self.since_ms.get_or_insert(now_ms);
            self.deadline.disarm();
            return Poll::Pending;
        };
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        let waited = Duration::from_millis(now_ms.saturating_sub(since_ms));
        // Anew each time: what was armed before the answer began holds no longer.
        self.deadline.arm(patience.saturating_sub(waited));
        if patience <= waited {
            return Poll::Ready(());
        }
        self.deadline.poll_expired(cx).map(|Expired| ())
    }
}

impl Body for Watched {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let Poll::Ready(frame) = self.inner.poll_frame(cx) else {
            return self.poll_patience(cx).map(|()| Some(Err(BodyError::Timeout)));
        };
        self.deadline.disarm();
        let waited = self.since_ms.take().map_or(0, |since| self.clock.now_ms().saturating_sub(since));
        if let (Some(Ok(Frame::Data(data))), Some(pace)) = (&frame, &mut self.pace) {
            pace.moved(data.len() as u64, Duration::from_millis(waited));
            if pace.left().is_zero() {
                return Poll::Ready(Some(Err(BodyError::Timeout)));
            }
        }
        Poll::Ready(frame)
    }

    fn length(&self) -> Option<u64> {
        self.inner.length()
    }
}
