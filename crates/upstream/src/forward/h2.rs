//! One exchange over HTTP/2 (RFC 9113). The connection itself is driven by a task of its own on this worker.

mod download;

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use evergate_contract::{Fault, FaultKind};
use evergate_wire::{
    BodyError, Payload, ResponseParts, Stream,
    h2::{SendError, Sending},
    hop::{self, Kept},
};
use h2::{Reason, RecvStream, client::ResponseFuture};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri};

use super::{Again, Call, Failed, Incoming, client_failed, h1};
use crate::{
    connect::Connector,
    local::Picked,
    pool::{Pool, Slot},
};
use download::Download;

/// What an endpoint may have on its way to us on one stream, and on one connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// What an endpoint may send as a head.
const HEAD_MAX: u32 = 64 << 10;

/// Opens an HTTP/2 connection and shares it by the pool.
pub(super) async fn open(pool: &Rc<Pool>, stream: Stream) -> Result<Slot, Failed> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_MAX);
    let (send, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(|e| {
        let fault = Fault::new(FaultKind::UpstreamConnect).because(e);
        Failed { fault, again: Again::Elsewhere, blamed: true }
    })?;
    let closed = Rc::new(Cell::new(false));
    let flag = closed.clone();
    tokio::task::spawn_local(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "HTTP/2 connection to an endpoint ended");
        }
        flag.set(true);
    });
    Ok(pool.share(send, closed))
}

/// Sends the request on a new stream and takes the response's head.
pub(super) async fn exchange(
    call: &mut Call<'_>,
    picked: &Picked,
    slot: Slot,
    connector: &Connector,
) -> Result<(), Failed> {
    let request = match request(call, connector) {
        Ok(request) => request,
        Err(e) => {
            return Err(Failed {
                fault: Fault::new(FaultKind::Internal).because(e),
                again: Again::Nothing,
                blamed: false,
            });
        }
    };
    let mut sender = slot.sender();
    call.timer.arm(*call.timeouts().response);
    match call.timer.guard(std::future::poll_fn(|cx| sender.poll_ready(cx))).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return Err(broken(call, &slot, e, true)),
        Err(_) => return Err(timed_out(&slot)),
    }
    let bodiless = call.body.is_empty();
    let (response, stream) = match sender.send_request(request, bodiless) {
        Ok(pair) => pair,
        Err(e) => return Err(broken(call, &slot, e, true)),
    };
    let in_memory = !matches!(call.body, Payload::Stream(_));
    let sending = (!bodiless).then(|| Sending::new(stream, call.take_body()));
    let mut exchange = Exchange { response, sending, armed: None };
    match std::future::poll_fn(|cx| exchange.poll_head(call, cx)).await {
        Ok(response) => {
            call.answer = Some(exchange.finish(call, picked, slot, response));
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
fn request(call: &Call<'_>, connector: &Connector) -> Result<Request<()>, http::Error> {
    let mut headers = call.parts.headers.clone();
    hop::strip(&mut headers, Kept::Nothing);
    if call.connection.as_ref().is_some_and(|c| c == "te") {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers.remove(header::HOST);
    let host = call.parts.headers.get(header::HOST).filter(|host| !call.hostless && !host.is_empty());
    let authority = host.unwrap_or(connector.authority().as_bytes());
    if let Some(h1::BodyLength::Fixed(n)) = h1::framing(&call.parts.method, &call.body) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    let mut target = uri::Parts::default();
    target.scheme = Some(connector.scheme().parse::<uri::Scheme>()?);
    target.authority = Some(uri::Authority::try_from(authority)?);
    target.path_and_query = Some(match call.parts.uri.path_and_query() {
        Some(path) => path.clone(),
        None => uri::PathAndQuery::from_static("/"),
    });
    let mut request = Request::new(());
    *request.method_mut() = call.parts.method.clone();
    *request.uri_mut() = Uri::from_parts(target)?;
    *request.headers_mut() = headers.into();
    Ok(request)
}

/// An exchange whose response has not begun.
struct Exchange {
    response: ResponseFuture,
    sending: Option<Sending>,
    /// What the timer runs for: `None` after the end of the request, else how much of its body was sent and
    /// whether the endpoint holds up the rest.
    armed: Option<Option<(u64, bool)>>,
}

/// Why there is no head.
enum Broken {
    Client(BodyError),
    Peer(h2::Error),
    Informational,
    Timeout,
}

impl Exchange {
    fn poll_head(
        &mut self,
        call: &mut Call<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<RecvStream>, Broken>> {
        if let Some(sending) = &mut self.sending
            && let Poll::Ready(outcome) = sending.poll(cx)
        {
            self.sending = None;
            if let Err(SendError::Body(e)) = outcome {
                return Poll::Ready(Err(Broken::Client(e)));
            }
        }
        while let Poll::Ready(Some(Ok(interim))) = self.response.poll_informational(cx) {
            let (parts, ()) = interim.into_parts();
            if !call.inform(parts.into()) {
                return Poll::Ready(Err(Broken::Informational));
            }
        }
        if let Poll::Ready(outcome) = std::pin::Pin::new(&mut self.response).poll(cx) {
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

    fn finish(
        self,
        call: &mut Call<'_>,
        picked: &Picked,
        slot: Slot,
        response: Response<RecvStream>,
    ) -> Incoming {
        let (parts, stream) = response.into_parts();
        let mut parts = ResponseParts::from(parts);
        let bodiless = call.parts.method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
        let length = parts.headers.text(header::CONTENT_LENGTH).and_then(|v| v.parse().ok());
        hop::strip(&mut parts.headers, if bodiless { Kept::Length } else { Kept::Nothing });
        let lease = call.lease.take();
        let body = if stream.is_end_stream() {
            Payload::Empty
        } else {
            let silence = h1::Silence::new(call.timer.clock.deadline(), *call.timeouts().body);
            let length = if bodiless { None } else { length };
            Payload::Stream(Box::new(Download::new(stream, length, self.sending, (slot, lease), silence)))
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
fn broken(call: &Call<'_>, slot: &Slot, e: h2::Error, whole: bool) -> Failed {
    // A stream that was refused, or is beyond the last one that GOAWAY names, was not looked at (RFC 9113 §8.7).
    let refused = e.is_remote() && (e.is_go_away() || e.reason() == Some(Reason::REFUSED_STREAM));
    let lost = e.is_io() || (e.is_go_away() && !refused);
    let harmless = refused || (slot.reused && lost && call.parts.method.is_idempotent());
    let again = if whole && harmless { Again::Fresh } else { Again::Nothing };
    let kind = match (e.is_io(), e.is_remote(), e.reason()) {
        (true, ..) | (_, true, _) => FaultKind::UpstreamReset,
        _ => FaultKind::UpstreamProtocol,
    };
    Failed { fault: Fault::new(kind).because(e), again, blamed: true }
}

#[cfg(test)]
mod tests;
