//! One exchange over HTTP/2 (RFC 9113). A task of this worker reads the connection; requests write to it themselves.

mod download;

use std::task::{Context, Poll};
use std::{future::poll_fn, rc::Rc};

use bytes::BytesMut;
use evergate_contract::{Fault, FaultKind};
use evergate_wire::{
    BodyError, Payload, Stream, Wire,
    h1::HeadLimits,
    h2::{self, Failure, Limits, Link, ResponseHead, Role, SendError, Sending, Sent},
    hop::{self, Kept},
};
use http::{Method, StatusCode, header};

use super::{Again, Call, Failed, Incoming, client_failed, h1};
use crate::{
    connect::Connector,
    local::Picked,
    pool::{Pool, Slot},
};
use download::Download;

/// What an endpoint may have on its way to us on one stream and on one connection, may send as a head, and may do
/// that carries nothing forward.
pub(crate) const LIMITS: Limits = Limits {
    streams: 0,
    stream_window: 1 << 20,
    connection_window: 16 << 20,
    frame: h2::FRAME_DEFAULT,
    table: 4096,
    head: HeadLimits { bytes: 64 << 10, headers: 100 },
    resets: u32::MAX,
    control_frames: 100_000,
};

/// Begins HTTP/2 on a connection and shares it by the pool.
pub(crate) fn open(pool: &Rc<Pool>, stream: Stream) -> Slot {
    let link = Link::new(Role::Client, LIMITS, Wire::new(stream, BytesMut::new()));
    let slot = pool.share(link.clone());
    let clock = slot.clock().clone();
    tokio::task::spawn_local(async move {
        let failure = poll_fn(|cx| link.poll_end(cx, clock.now_ms())).await;
        tracing::debug!(
            failure = failure.map(tracing::field::display),
            "HTTP/2 connection to an endpoint ended"
        );
        // Over TLS the endpoint is told; what it does not take at once is dropped.
        let _ = poll_fn(|cx| Poll::Ready(link.poll_shutdown(cx).is_ready())).await;
    });
    slot
}

/// Sends the request on a new stream and takes the response's head.
pub(super) async fn exchange(
    call: &mut Call<'_>,
    picked: &Picked,
    slot: Slot,
    connector: &Connector,
) -> Result<(), Failed> {
    let bodiless = call.body.is_empty();
    call.timer.arm(*call.timeouts().response);
    let opened = {
        let request = request(call, connector);
        call.timer.guard(poll_fn(|cx| slot.link().poll_open(&request, bodiless, cx))).await
    };
    let stream = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return Err(broken(call, &slot, e, true)),
        Err(_) => return Err(timed_out(&slot)),
    };
    let in_memory = !matches!(call.body, Payload::Stream(_));
    let sending = if bodiless {
        stream.flush();
        None
    } else {
        Some(Sending::new(stream.clone(), call.take_body()))
    };
    let mut exchange = Exchange { stream, sending, armed: None };
    match poll_fn(|cx| exchange.poll_head(call, cx)).await {
        Ok(head) => {
            call.answer = Some(exchange.finish(call, picked, slot, head));
            Ok(())
        }
        Err(Broken::Client(e)) => Err(client_failed(e)),
        Err(Broken::Peer(e)) => Err(broken(call, &slot, e, in_memory)),
        Err(Broken::Informational) => {
            Err(Failed { fault: FaultKind::UpstreamProtocol.into(), again: Again::Nothing, blamed: true })
        }
        Err(Broken::Timeout) => Err(timed_out(&slot)),
    }
}

/// The head as HTTP/2 has it: `Host` becomes `:authority` (RFC 9113 §8.3.1).
fn request<'a>(call: &'a Call<'_>, connector: &'a Connector) -> Sent<'a> {
    let parts = &call.parts;
    let host = parts.headers.get(header::HOST).filter(|host| !call.hostless && !host.is_empty());
    let length = match h1::framing(&parts.method, &call.body) {
        Some(h1::BodyLength::Fixed(n)) => Some(n),
        _ => None,
    };
    Sent {
        method: &parts.method,
        scheme: connector.scheme(),
        authority: host.unwrap_or(connector.authority().as_bytes()),
        path: parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes(),
        headers: &parts.headers,
        trailers: call.connection.as_ref().is_some_and(|c| c == "te"),
        length,
    }
}

/// An exchange whose response has not begun.
struct Exchange {
    stream: h2::Stream,
    sending: Option<Sending>,
    /// What the timer runs for: `None` after the end of the request, else how much of its body was sent and
    /// whether the endpoint holds up the rest.
    armed: Option<Option<(u64, bool)>>,
}

/// Why there is no head.
enum Broken {
    Client(BodyError),
    Peer(Failure),
    Informational,
    Timeout,
}

impl Exchange {
    fn poll_head(&mut self, call: &mut Call<'_>, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Broken>> {
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(outcome) = sending.poll(cx)
        {
            self.sending = None;
            if let Err(SendError::Body(e)) = outcome {
                return Poll::Ready(Err(Broken::Client(e)));
            }
        }
        while let Some(interim) = self.stream.interim() {
            if !call.inform(interim) {
                return Poll::Ready(Err(Broken::Informational));
            }
        }
        if let Poll::Ready(outcome) = self.stream.poll_response(cx) {
            return Poll::Ready(outcome.map_err(Broken::Peer));
        }
        let now = self.sending.as_ref().map(|sending| (sending.sent(), sending.is_stalled()));
        if self.armed != Some(now) {
            self.armed = Some(now);
            match now {
                // The client's pace is the client's side's to watch.
                Some((_, false)) => call.timer.arm_end(),
                _ => call.timer.arm(*call.timeouts().response),
            }
        }
        call.timer.deadline.poll_expired(cx).map(|_| Err(Broken::Timeout))
    }

    fn finish(self, call: &mut Call<'_>, picked: &Picked, slot: Slot, head: ResponseHead) -> Incoming {
        let mut parts = head.parts;
        let bodiless = call.parts.method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
        hop::strip(&mut parts.headers, if bodiless { Kept::Length } else { Kept::Nothing });
        let lease = call.lease.take();
        let body = match self.stream.take_whole() {
            // Short responses come in one piece: then no body needs to be driven.
            Some(whole) => whole.into(),
            None => {
                let silence = h1::Silence::new(call.timer.clock.deadline(), *call.timeouts().body);
                Payload::Stream(Box::new(Download::new(&self.stream, self.sending, (slot, lease), silence)))
            }
        };
        Incoming { parts, body, tunnel: None, endpoint: picked.clone() }
    }
}

/// Too late. The connection may be dead without saying so: later requests take another.
fn timed_out(slot: &Slot) -> Failed {
    slot.retire();
    Failed { fault: FaultKind::UpstreamTimeout.into(), again: Again::Nothing, blamed: true }
}

/// What a failure of the stream allows. `whole` if the body can be sent once more.
fn broken(call: &Call<'_>, slot: &Slot, failure: Failure, whole: bool) -> Failed {
    // A stream that was refused, or is beyond the last one that GOAWAY names, was not looked at (RFC 9113 §8.7).
    let refused = failure == Failure::Refused;
    let lost = matches!(failure, Failure::Closed | Failure::Io(_));
    let harmless = refused || (slot.reused && lost && call.parts.method.is_idempotent());
    let again = if whole && harmless { Again::Fresh } else { Again::Nothing };
    let kind = match failure {
        Failure::Broken(..) => FaultKind::UpstreamProtocol,
        _ => FaultKind::UpstreamReset,
    };
    Failed { fault: Fault::new(kind).because(failure), again, blamed: true }
}

#[cfg(test)]
mod tests;
