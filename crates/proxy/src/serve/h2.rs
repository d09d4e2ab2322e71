//! HTTP/2 towards clients (RFC 9113): the framing is the `h2` crate's, each stream is a task of its own.

mod rewind;

use std::{cell::Cell, future::poll_fn, rc::Rc, task::Poll};

use bytes::Bytes;
use evergate_contract::{Fault, FaultKind};
use evergate_kit::deadline::{Deadline, Expired};
use evergate_wire::{
    Headers, RequestParts, ResponseParts, Wire,
    h2::{Received, SendError, Sending},
    headers::{Repeated, as_text},
};
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderValue, Method, StatusCode, header};
use rewind::Rewind;

use super::taking::Taking;

use crate::{
    conn::{Conn, Settings},
    exchange::{self, Answer, Request},
    reply,
    worker::Worker,
};

/// What a client may send ahead on one stream, and on the whole connection, before we have read it.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// What may wait to be sent on one stream.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that were reset and whose memory is kept for late frames; more is an attack (CVE-2023-44487).
const RESET_STREAMS_MAX: usize = 64;

type Connection = h2::server::Connection<Rewind, Bytes>;

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, conn: &Rc<Conn>, wire: Wire, deadline: Deadline) {
    let settings = conn.settings(&worker.view());
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(settings.head.bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX);
    deadline.arm(settings.handshake_timeout);
    let Wire { io, input, .. } = wire;
    match deadline.guard(builder.handshake(Rewind::new(io, input))).await {
        Ok(Ok(connection)) => accept(worker, conn, connection, deadline).await,
        Ok(Err(error)) => tracing::debug!(peer = %conn.peer(), %error, "HTTP/2 handshake failed"),
        Err(Expired) => {}
    }
}

/// What the accept loop waits for.
#[expect(clippy::large_enum_variant, reason = "moved once for each stream; a box would be an allocation")]
enum Event {
    Stream(http::Request<RecvStream>, SendResponse<Bytes>),
    Closing,
    Idle,
    End,
}

async fn accept(worker: &Rc<Worker>, conn: &Rc<Conn>, mut connection: Connection, deadline: Deadline) {
    let streams = Rc::new(Cell::new(0_usize));
    let mut goodbye = false;
    let mut was_busy = true;
    loop {
        let event = poll_fn(|cx| {
            // Drives the whole connection: frames of open streams move only while this is polled.
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    return Poll::Ready(Event::Stream(request, respond));
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %conn.peer(), %error, "HTTP/2 connection failed");
                    return Poll::Ready(Event::End);
                }
                Poll::Ready(None) => return Poll::Ready(Event::End),
                Poll::Pending => {}
            }
            if !goodbye && conn.poll_closing(cx).is_ready() {
                return Poll::Ready(Event::Closing);
            }
            if streams.get() > 0 {
                was_busy = true;
                return Poll::Pending;
            }
            if was_busy {
                was_busy = false;
                let settings = conn.settings(&worker.view());
                deadline.arm(if goodbye { settings.header_timeout } else { settings.idle_timeout });
            }
            deadline.poll_expired(cx).map(|Expired| Event::Idle)
        })
        .await;
        match event {
            Event::Stream(request, respond) => {
                streams.set(streams.get() + 1);
                let open = Open { streams: streams.clone(), conn: conn.clone() };
                tokio::task::spawn_local(stream(worker.clone(), open, request, respond));
            }
            Event::Idle if goodbye => return,
            Event::Closing | Event::Idle => {
                // GOAWAY now; then a client that does not go is given a moment more.
                (goodbye, was_busy) = (true, true);
                connection.graceful_shutdown();
            }
            Event::End => return,
        }
    }
}

/// Counts a stream for as long as it is open.
struct Open {
    streams: Rc<Cell<usize>>,
    conn: Rc<Conn>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            // The connection's task is to see that it is idle now.
            self.conn.wake();
        }
    }
}

async fn stream(
    worker: Rc<Worker>,
    open: Open,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let conn = &open.conn;
    let settings = conn.settings(&worker.view());
    conn.begin_request(&settings);
    let (parts, body) = request.into_parts();
    let mut parts = RequestParts::from(parts);
    let method = parts.method.clone();
    let (answer, tally) = match prepare(&mut parts, settings) {
        Ok(length) => {
            let payload = Received::payload(body, length);
            let request = Request { parts, body: payload, upgrade: false, settings };
            let mut inform = |status: StatusCode, headers: Headers| {
                if status != StatusCode::CONTINUE {
                    // A stream that is gone shows itself at the final response.
                    let _ = respond.send_informational(ResponseParts { status, headers }.into());
                }
            };
            let (answer, tally) = exchange::answer(&worker, conn, request, &mut inform).await;
            (answer, Some(tally))
        }
        Err(kind) => {
            worker.meter.refused(kind);
            let (parts, body) = reply::fault(&Fault::from(kind), &worker);
            (Answer::Response(parts, body), None)
        }
    };
    let Answer::Response(mut parts, payload) = answer else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    let bodiless =
        method == Method::HEAD || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless && let Some(n) = payload.length() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    let end = bodiless || payload.is_empty();
    let Ok(send) = respond.send_response(parts.into(), end) else { return };
    if !end {
        let mut sending = Sending::new(send, payload);
        let taking = Taking::new(&worker.clock);
        taking.begin(&settings);
        let result = poll_fn(|cx| {
            let polled = sending.poll(cx);
            if polled.is_pending() && sending.is_stalled() {
                return taking.poll_stalled(cx, sending.sent()).map(|()| None);
            }
            taking.goes_on(sending.sent());
            polled.map(Some)
        })
        .await;
        match result {
            Some(Ok(())) => {}
            Some(Err(SendError::Body(error))) => {
                tracing::debug!(peer = %conn.peer(), %error, "response cut short");
            }
            Some(Err(SendError::Peer(error))) => {
                tracing::debug!(peer = %conn.peer(), %error, "client went away");
            }
            None => sending.reset(Reason::CANCEL),
        }
        worker.meter.bytes_out.add(sending.sent());
    }
    drop(tally);
}

/// Makes the head look as HTTP/1 would have it: `Host` from `:authority`. Returns the length of the body,
/// if it is told.
pub(super) fn prepare(parts: &mut RequestParts, settings: Settings) -> Result<Option<u64>, FaultKind> {
    if parts.headers.len() > settings.head.headers {
        return Err(FaultKind::HeaderTooLarge);
    }
    if parts.method == Method::CONNECT {
        return Err(FaultKind::BadRequest("CONNECT is not offered"));
    }
    let host = parts.headers.only(&header::HOST);
    let host = host.map_err(|Repeated| FaultKind::BadRequest("more than one Host"))?;
    match (parts.uri.authority(), host) {
        (Some(a), Some(h)) if !a.as_str().as_bytes().eq_ignore_ascii_case(h) => {
            return Err(FaultKind::BadRequest(":authority and Host differ"));
        }
        (Some(a), _) if a.as_str().contains('@') => return Err(FaultKind::BadRequest("bad :authority")),
        (Some(a), _) => {
            let host =
                HeaderValue::from_str(a.as_str()).map_err(|_| FaultKind::BadRequest("bad :authority"))?;
            parts.headers.insert(header::HOST, host);
        }
        (None, Some(_)) => {}
        (None, None) => return Err(FaultKind::BadRequest("no :authority and no Host")),
    }
    match parts.headers.only(&header::CONTENT_LENGTH) {
        Err(Repeated) => Err(FaultKind::BadRequest("more than one Content-Length")),
        Ok(Some(one)) => {
            let digits = as_text(one).filter(|s| s.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|s| s.parse().ok()).map(Some).ok_or(FaultKind::BadRequest("bad Content-Length"))
        }
        Ok(None) => Ok(None),
    }
}
