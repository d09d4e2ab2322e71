//! HTTP/2 towards clients (RFC 9113): one task drives the connection, each request is a task of its own.

mod inbound;
mod pulse;

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use evergate_contract::{Fault, FaultKind, config::Http2};
use evergate_kit::deadline::{Deadline, Expired};
use evergate_wire::{
    Headers, Payload, ResponseParts, Wire,
    h1::HeadError,
    h2::{Event, Failure, Limits, Link, Reason, RequestHead, Role, SendError, Sending, Stream},
};
use http::{Method, StatusCode, header};
use inbound::Inbound;
use pulse::Pulse;

use super::{
    h1::{LINGER, refusal},
    idle::Idle,
    taking::Taking,
};
use crate::{
    conn::{Conn, Settings},
    exchange::{self, Answer, Request, Tally},
    reply,
    view::View,
    worker::Worker,
};

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, conn: &Rc<Conn>, wire: Wire, deadline: Deadline) {
    // No view outlives this line: a connection without a request holds no snapshot.
    let link = Link::new(Role::Server, limits(conn, &worker.view()), wire);
    let pulse = Pulse::new(worker.clock.deadline());
    let (idle, streams) = (Idle::default(), Rc::default());
    let driver = Driver { worker, conn, link, deadline, idle, waits: None, pulse, settings: 0, streams };
    driver.run().await;
}

/// What the listener asks for in this view.
fn limits(conn: &Conn, view: &View) -> Limits {
    let settings = conn.settings(view);
    let gone = Http2::default();
    let newest = conn.newest(view);
    let http2 = newest.as_ref().map_or(&gone, |entrance| &entrance.config.http2);
    let size = |size: evergate_conf::units::ByteSize| u32::try_from(size.0).unwrap_or(u32::MAX);
    Limits {
        streams: settings.streams_max,
        stream_window: size(http2.stream_window),
        connection_window: size(http2.connection_window),
        frame: size(http2.frame_size),
        table: size(http2.header_table),
        head: settings.head,
        resets: http2.resets,
        control_frames: http2.control_frames,
    }
}

/// A connection, as the task that drives it sees it.
struct Driver<'a> {
    worker: &'a Rc<Worker>,
    conn: &'a Rc<Conn>,
    link: Link,
    deadline: Deadline,
    idle: Idle,
    /// What the deadline is armed for; nothing while a request is answered.
    waits: Option<Waits>,
    pulse: Pulse,
    /// The view whose settings the client knows.
    settings: u64,
    /// Requests that are answered.
    streams: Rc<Cell<usize>>,
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        // Whoever ended it: without a driver nothing moves, and requests that are under way are to let go.
        self.link.abandon();
    }
}

/// What a connection without a request waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The client's preface and SETTINGS.
    Hello,
    Request,
    /// The client knows that it is to go.
    End,
}

/// What the driver has to do something about.
#[expect(clippy::large_enum_variant, reason = "moved once for each stream; a box would be an allocation")]
enum Happened {
    Link(Event),
    /// The listener wants the connection to end.
    Closing,
    /// Nothing was asked for too long.
    Idle,
    /// The client does not say that it is there.
    Dead,
}

impl Driver<'_> {
    async fn run(mut self) {
        let mut goodbye = false;
        loop {
            match poll_fn(|cx| self.poll(cx, goodbye)).await {
                Happened::Link(Event::Request(head, stream)) => {
                    self.streams.set(self.streams.get() + 1);
                    let open = Open { streams: self.streams.clone(), conn: self.conn.clone() };
                    tokio::task::spawn_local(serve_stream(self.worker.clone(), open, head, stream));
                }
                Happened::Link(Event::End(failure)) => return self.finish(failure).await,
                Happened::Idle if goodbye || !self.link.is_settled() => return,
                Happened::Idle | Happened::Closing => {
                    // GOAWAY now; then a client that does not go is given a moment more.
                    goodbye = true;
                    self.link.say_goodbye(self.worker.clock.now_ms());
                }
                Happened::Dead => return tracing::debug!(peer = %self.conn.peer(), "no answer to PING"),
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, goodbye: bool) -> Poll<Happened> {
        self.take_settings();
        // Drives the whole connection: frames of open streams move only while this is polled.
        if let Poll::Ready(event) = self.link.poll_event(cx, self.worker.clock.now_ms()) {
            return Poll::Ready(Happened::Link(event));
        }
        // Also after the goodbye: the last request to end wakes us.
        self.conn.wakes(cx);
        if !goodbye && self.conn.is_closing() {
            return Poll::Ready(Happened::Closing);
        }
        if self.pulse.poll_dead(&self.link, cx).is_ready() {
            return Poll::Ready(Happened::Dead);
        }
        if self.streams.get() > 0 {
            self.waits = None;
            return Poll::Pending;
        }
        self.poll_waited(cx, goodbye).map(|Expired| Happened::Idle)
    }

    /// Ready once what a connection without a request waits for has not come in its time.
    fn poll_waited(&mut self, cx: &mut Context<'_>, goodbye: bool) -> Poll<Expired> {
        let waits = match (self.link.is_settled(), goodbye) {
            (false, _) => Waits::Hello,
            (true, false) => Waits::Request,
            (true, true) => Waits::End,
        };
        if self.waits.replace(waits) != Some(waits) {
            let settings = self.conn.settings(&self.worker.view());
            match waits {
                Waits::Hello => self.deadline.arm(settings.handshake_timeout),
                Waits::Request => self.idle.begin(self.worker, self.conn, &self.deadline),
                Waits::End => self.deadline.arm(settings.header_timeout),
            }
        }
        match waits {
            Waits::Request => self.idle.poll_over(cx, self.worker, self.conn, &self.deadline),
            Waits::Hello | Waits::End => self.deadline.poll_expired(cx),
        }
    }

    /// Tells the client what has changed since.
    fn take_settings(&mut self) {
        let view = self.worker.view();
        if std::mem::replace(&mut self.settings, view.sequence) != view.sequence {
            self.link.set_limits(limits(self.conn, &view));
            let newest = self.conn.newest(&view);
            self.pulse.set(newest.and_then(|entrance| entrance.config.http2.ping), &self.link);
        }
    }

    /// After the last word: what the client still sends is read for a moment, so that no reset overtakes it.
    async fn finish(self, failure: Option<Failure>) {
        match failure {
            Some(Failure::Closed | Failure::Io(_)) => return,
            Some(failure) => tracing::debug!(peer = %self.conn.peer(), %failure, "HTTP/2 connection ended"),
            None => {}
        }
        self.deadline.arm(LINGER);
        let lingering = async {
            if poll_fn(|cx| self.link.poll_shutdown(cx)).await.is_ok() {
                poll_fn(|cx| self.link.poll_discard(cx)).await;
            }
        };
        // However it ends, the connection is dropped now.
        let _ = self.deadline.guard(lingering).await;
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

async fn serve_stream(worker: Rc<Worker>, open: Open, head: Result<RequestHead, HeadError>, stream: Stream) {
    let settings = open.conn.settings(&worker.view());
    open.conn.begin_request(&settings);
    let method = head.as_ref().map_or(Method::GET, |head| head.parts.method.clone());
    let answer = match head {
        Ok(head) => {
            let expects = expects_continue(&head.parts.headers);
            let body = Inbound::payload(&worker, &stream, expects);
            let request = Request { parts: head.parts, body, upgrade: false, settings };
            let mut inform = |status: StatusCode, headers: Headers| {
                if status != StatusCode::CONTINUE {
                    stream.inform(&ResponseParts { status, headers });
                }
            };
            let mut answering = pin!(exchange::answer(&worker, &open.conn, request, &mut inform));
            // A client that cancels is not worked for any longer.
            poll_fn(|cx| match stream.poll_failed(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => {
                    answering.as_mut().poll(cx).map(|(answer, tally)| Some((answer, Some(tally))))
                }
            })
            .await
        }
        Err(e) => Some(refused(&worker, refusal(e))),
    };
    match answer {
        Some((Answer::Response(parts, payload), tally)) => {
            respond(&worker, &open.conn, settings, (&method, &stream), parts, payload).await;
            drop(tally);
        }
        Some((Answer::Tunnel(..), _)) => stream.reset(Reason::INTERNAL_ERROR),
        None => {}
    }
}

fn expects_continue(headers: &Headers) -> bool {
    headers.get(header::EXPECT).is_some_and(|expect| expect.eq_ignore_ascii_case(b"100-continue"))
}

/// The answer to a request that is none.
fn refused(worker: &Worker, kind: FaultKind) -> (Answer, Option<Tally>) {
    worker.meter.refused(kind);
    let (parts, body) = reply::fault(&Fault::from(kind), worker);
    (Answer::Response(parts, body), None)
}

async fn respond(
    worker: &Rc<Worker>,
    conn: &Conn,
    settings: Settings,
    (method, stream): (&Method, &Stream),
    parts: ResponseParts,
    payload: Payload,
) {
    let bodiless =
        *method == Method::HEAD || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = if bodiless { None } else { payload.length() };
    let end = bodiless || payload.is_empty();
    stream.respond(&parts, length, end);
    if end {
        return stream.flush();
    }
    let mut sending = Sending::new(stream.clone(), payload);
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
