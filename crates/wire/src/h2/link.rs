//! A connection that is shared by the task that reads from it and by the tasks of its streams, all of one thread.
//!
//! Whoever has something to send puts it among what waits and hands it on at once; nothing goes from task to task
//! but wakers. One task, the driver, polls the connection: it reads, and sends on what the peer was slow to take.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::{
    Failure, Limits,
    conn::{Conn, Data, Out, Role},
    message::{RequestHead, ResponseHead, Sent},
};
use crate::{h1::HeadError, headers::Headers, parts::ResponseParts, socket::Carrier, stream::Wire};

/// While so much is unsent that the peer does not take, nothing is read: answers to its frames would pile up.
const UNSENT_MAX: usize = 64 << 10;

impl<S: Carrier> Out for Wire<S> {
    fn small(&mut self) -> &mut BytesMut {
        Wire::small(self)
    }

    fn push(&mut self, data: Bytes) {
        Wire::push(self, data);
    }
}

/// A connection; clones are the same one.
#[derive(Clone)]
pub struct Link(Rc<RefCell<State>>);

struct State {
    conn: Conn,
    wire: Wire,
    driver: Option<Waker>,
    /// Times that something came from the peer.
    heard: u64,
}

/// What a server's driver is told.
#[expect(clippy::large_enum_variant, reason = "moved once for each stream; a box would be an allocation")]
pub enum Event {
    /// A request came; a fault in its head is to be answered.
    Request(Result<RequestHead, HeadError>, Stream),
    /// The connection is over, and what was to be said is sent. `None`: without fault.
    End(Option<Failure>),
}

impl State {
    /// Hands what waits to the socket. What it does not take the driver sends later.
    fn flush(&mut self) {
        let Some(driver) = &self.driver else { return };
        let flushed = self.wire.poll_flush(&mut Context::from_waker(driver));
        if let Poll::Ready(Err(e)) = flushed {
            self.conn.lost(Failure::Io(e.kind()));
        }
        if self.conn.end().is_some() || self.conn.is_drained() {
            self.wake_driver();
        }
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    fn feed(&mut self, now_ms: u64) {
        self.heard += 1;
        let mut input = std::mem::take(&mut self.wire.input);
        self.conn.receive(&mut input, now_ms, &mut self.wire);
        self.wire.input = input;
    }

    /// Reads once and takes what came. Pending: nothing did, or the peer has to read first.
    fn poll_read(&mut self, cx: &mut Context<'_>, now_ms: u64, stalled: bool) -> Poll<()> {
        if stalled && self.wire.unsent() > UNSENT_MAX {
            return Poll::Pending;
        }
        match ready!(self.wire.poll_fill(cx)) {
            Ok(0) => self.conn.lost(Failure::Closed),
            Ok(_) => self.feed(now_ms),
            Err(e) => self.conn.lost(Failure::Io(e.kind())),
        }
        Poll::Ready(())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        now_ms: u64,
    ) -> Poll<Option<(usize, Result<RequestHead, HeadError>)>> {
        match &self.driver {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => self.driver = Some(cx.waker().clone()),
        }
        loop {
            if let Some(accepted) = self.conn.accept(&mut self.wire) {
                return Poll::Ready(Some(accepted));
            }
            let flushed = self.wire.poll_flush(cx);
            if self.conn.end().is_some() || self.conn.is_drained() {
                // However the last words fare, there is nothing more to do.
                return flushed.map(|_| None);
            }
            if let Poll::Ready(Err(e)) = flushed {
                self.conn.lost(Failure::Io(e.kind()));
                continue;
            }
            if self.wire.has_room() {
                self.conn.has_room();
            }
            if self.poll_read(cx, now_ms, flushed.is_pending()).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Link {
    /// Begins to speak HTTP/2. What was read from the wire already is taken with the first poll.
    #[must_use]
    pub fn new(role: Role, limits: Limits, mut wire: Wire) -> Link {
        let conn = Conn::new(role, limits, &mut wire);
        let mut state = State { conn, wire, driver: None, heard: 0 };
        if !state.wire.input.is_empty() {
            state.feed(0);
        }
        Link(Rc::new(RefCell::new(state)))
    }

    /// The server's driver: drives the connection until it has something for it.
    pub fn poll_event(&self, cx: &mut Context<'_>, now_ms: u64) -> Poll<Event> {
        let accepted = ready!(self.0.borrow_mut().poll(cx, now_ms));
        Poll::Ready(match accepted {
            Some((key, head)) => Event::Request(head, Stream { link: self.clone(), key }),
            None => Event::End(self.0.borrow().conn.end()),
        })
    }

    /// The client's driver: ready at the end of the connection, with what ended it. What the peer has not read by
    /// then is dropped.
    pub fn poll_end(&self, cx: &mut Context<'_>, now_ms: u64) -> Poll<Option<Failure>> {
        // No peer of ours opens streams.
        let ended = self.poll_event(cx, now_ms).is_ready();
        let end = self.0.borrow().conn.end();
        if ended || end.is_some() { Poll::Ready(end) } else { Poll::Pending }
    }

    /// Says goodbye to the socket: over TLS the peer is told that nothing was cut off.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().wire.io).poll_shutdown(cx)
    }

    /// Reads and forgets what still comes; ready at the end.
    pub fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let wire = &mut self.0.borrow_mut().wire;
        loop {
            wire.input.clear();
            match ready!(wire.poll_fill(cx)) {
                Ok(n) if n > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// True once the peer's first SETTINGS are there: both sides may go on.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.0.borrow().conn.is_settled()
    }

    /// A number that rises when something comes from the peer.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.0.borrow().heard
    }

    fn tell(&self, say: impl FnOnce(&mut Conn, &mut Wire)) {
        let State { conn, wire, .. } = &mut *self.0.borrow_mut();
        say(conn, wire);
    }

    /// As [`Conn::set_limits`].
    pub fn set_limits(&self, limits: Limits) {
        self.tell(|conn, wire| conn.set_limits(limits, wire));
    }

    /// As [`Conn::ping`], sent at once.
    pub fn ping(&self) {
        self.tell(Conn::ping);
        self.0.borrow_mut().flush();
    }

    /// As [`Conn::say_goodbye`].
    pub fn say_goodbye(&self, now_ms: u64) {
        self.tell(|conn, wire| conn.say_goodbye(now_ms, wire));
    }

    /// The driver is no more: streams that are open fail. The socket is closed when the last of them is let go.
    pub fn abandon(&self) {
        self.0.borrow_mut().conn.lost(Failure::Cancelled);
    }

    /// As [`Conn::close`]; the driver comes to its end.
    pub fn close(&self) {
        self.tell(Conn::close);
        self.0.borrow_mut().wake_driver();
    }

    /// As [`Conn::takes_streams`].
    #[must_use]
    pub fn takes_streams(&self) -> bool {
        self.0.borrow().conn.takes_streams()
    }

    /// As [`Conn::peer_streams_max`].
    #[must_use]
    pub fn streams_max(&self) -> u32 {
        self.0.borrow().conn.peer_streams_max()
    }

    /// Opens a stream with a request, once the peer lets us; it is not on its way before [`Stream::flush`].
    pub fn poll_open(
        &self,
        request: &Sent<'_>,
        end: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, Failure>> {
        let State { conn, wire, .. } = &mut *self.0.borrow_mut();
        match conn.may_open(cx.waker()) {
            None => Poll::Pending,
            Some(Err(failure)) => Poll::Ready(Err(failure)),
            Some(Ok(())) => {
                let key = conn.open(request, end, wire);
                Poll::Ready(Ok(Stream { link: self.clone(), key }))
            }
        }
    }
}

/// A stream, and the right to look at it. It is over when the last clone is dropped; only one task may hold them.
pub struct Stream {
    link: Link,
    key: usize,
}

impl Clone for Stream {
    fn clone(&self) -> Stream {
        self.link.0.borrow_mut().conn.hold(self.key);
        Stream { link: self.link.clone(), key: self.key }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = &mut *self.link.0.borrow_mut();
        state.conn.release(self.key, &mut state.wire);
        if state.wire.has_unflushed() || state.conn.is_drained() {
            state.flush();
        }
    }
}

impl Stream {
    fn with<R>(&self, then: impl FnOnce(&mut Conn, &mut Wire, usize) -> R) -> R {
        let State { conn, wire, .. } = &mut *self.link.0.borrow_mut();
        then(conn, wire, self.key)
    }

    /// Sends what waits on the connection.
    pub fn flush(&self) {
        self.link.0.borrow_mut().flush();
    }

    /// As [`Conn::respond`].
    pub fn respond(&self, parts: &ResponseParts, length: Option<u64>, end: bool) {
        self.with(|conn, wire, key| conn.respond(key, parts, length, end, wire));
    }

    /// As [`Conn::inform`], sent at once.
    pub fn inform(&self, parts: &ResponseParts) {
        self.with(|conn, wire, key| conn.inform(key, parts, wire));
        self.flush();
    }

    /// As [`Conn::reset`], sent at once.
    pub fn reset(&self, reason: super::Reason) {
        self.with(|conn, wire, key| conn.reset(key, reason, wire));
        self.flush();
    }

    /// Ready if the stream failed; the task is woken when anything happens to it.
    pub fn poll_failed(&self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.with(|conn, _, key| match conn.failure(key) {
            Some(failure) => Poll::Ready(failure),
            None => {
                conn.set_waker(key, cx.waker());
                Poll::Pending
            }
        })
    }

    /// An interim response, if one came.
    #[must_use]
    pub fn interim(&self) -> Option<ResponseParts> {
        self.with(|conn, _, key| conn.interim(key))
    }

    /// The response's head.
    pub fn poll_response(&self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Failure>> {
        self.with(|conn, _, key| match conn.response(key) {
            Some(head) => Poll::Ready(head),
            None => {
                conn.set_waker(key, cx.waker());
                Poll::Pending
            }
        })
    }

    /// As [`Conn::take_whole`].
    #[must_use]
    pub fn take_whole(&self) -> Option<Bytes> {
        self.with(|conn, wire, key| conn.take_whole(key, wire))
    }

    /// As [`Conn::left`].
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.with(|conn, _, key| conn.left(key))
    }

    /// As [`Conn::forget_body`].
    pub fn forget_body(&self) {
        self.with(|conn, wire, key| conn.forget_body(key, wire));
    }

    /// The next piece of the body.
    pub fn poll_data(&self, cx: &mut Context<'_>) -> Poll<Data> {
        let state = &mut *self.link.0.borrow_mut();
        let data = state.conn.take(self.key, &mut state.wire);
        match data {
            Data::Wait => {
                state.conn.set_waker(self.key, cx.waker());
                if state.wire.has_unflushed() {
                    state.flush();
                }
                Poll::Pending
            }
            data => Poll::Ready(data),
        }
    }

    /// Sends what goes out now of `data`, one frame; `end`: nothing follows. Ready with how much it was.
    pub fn poll_send(
        &self,
        data: &mut Bytes,
        end: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Failure>> {
        let state = &mut *self.link.0.borrow_mut();
        if let Some(failure) = state.conn.failure(self.key) {
            return Poll::Ready(Err(failure));
        }
        if !state.wire.has_room() {
            state.flush();
        }
        if !state.wire.has_room() {
            state.conn.wait_for_room(self.key);
            state.conn.set_waker(self.key, cx.waker());
            return Poll::Pending;
        }
        match state.conn.send(self.key, data, end, &mut state.wire) {
            0 => {
                state.conn.set_waker(self.key, cx.waker());
                if state.wire.has_unflushed() {
                    state.flush();
                }
                Poll::Pending
            }
            n => Poll::Ready(Ok(n)),
        }
    }

    /// As [`Conn::finish_body`].
    pub fn finish_body(&self, trailers: Option<&Headers>) {
        self.with(|conn, wire, key| conn.finish_body(key, trailers, wire));
    }

    /// True while neither the peer's windows nor its slowness hold data back.
    #[must_use]
    pub fn may_send(&self) -> bool {
        let state = self.link.0.borrow();
        state.wire.has_room() && state.conn.has_window(self.key)
    }
}
