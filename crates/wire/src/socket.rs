//! A connection whose small writes wait for the end of the executor's turn, and then go out one after the other.
//!
//! A worker that has several requests at hand would by itself switch from reading one to writing the next and
//! back. Writing them all in a row costs the kernel less, since it stays in the same code and wakes each peer
//! once for several messages; so does HAProxy. Nothing waits longer than the tasks that are ready anyway.
//!
//! What is written by this way counts as sent once the [`Outbox`] has it. A socket that takes no more is seen by
//! the next write or flush, which wait then; what went wrong is reported by the next call.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use rustix::net::SendFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::plain::Plain;

/// A write up to this is copied and waits; a larger one goes out at once, if nothing waits before it.
const SMALL: usize = 4 << 10;
/// So much waits at most; then the writer does.
const WAITING_MAX: usize = 64 << 10;
/// A buffer up to this stays with its socket.
const KEPT_MAX: usize = 4 << 10;

/// The sockets of one thread that have something to send. Its [`Outbox::run`] is a task of that thread.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: RefCell<Vec<Rc<Shared>>>,
    waker: RefCell<Option<Waker>>,
}

impl Outbox {
    /// Sends what was put in, for ever: woken by the first write of a turn, it comes behind all tasks that
    /// were ready by then.
    pub async fn run(self: Rc<Self>) {
        let mut turn = Vec::new();
        poll_fn(|cx| {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            self.send_all(&mut turn);
            Poll::<()>::Pending
        })
        .await;
    }

    /// Sends what is in it now; for the end, when no task runs any more.
    pub fn close(&self) {
        self.send_all(&mut Vec::new());
    }

    fn send_all(&self, turn: &mut Vec<Rc<Shared>>) {
        std::mem::swap(turn, &mut *self.queue.borrow_mut());
        for socket in turn.drain(..) {
            socket.send_queued();
        }
    }

    fn put(&self, socket: &Rc<Shared>) {
        self.queue.borrow_mut().push(socket.clone());
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// What carries a connection: a worker's [`Socket`], or a plain one where nothing is gained by waiting.
pub trait Carrier: AsyncRead + AsyncWrite + Unpin {
    /// Ready if something came, or the peer has closed.
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Bytes that were written and not yet taken by the kernel.
    fn unsent(&self) -> usize {
        0
    }

    /// Bytes that the kernel has taken, where that is counted.
    fn sent(&self) -> u64 {
        0
    }

    /// True if the peer has to read before what waits can be sent.
    fn is_stalled(&self) -> bool {
        false
    }

    /// Ready once the kernel has all: what is dropped then is sent, and the connection's end behind it. A carrier without a buffer of its
    /// own has nothing more.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_flush(cx)
    }
}

impl Carrier for TcpStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TcpStream::poll_read_ready(self, cx)
    }
}

impl Carrier for Plain {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Plain::poll_read_ready(self, cx)
    }
}

/// A connection of a worker.
#[derive(Debug)]
pub struct Socket(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    plain: RefCell<Plain>,
    outbox: Rc<Outbox>,
    waiting: RefCell<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// Bytes that the kernel has taken so far.
    sent: u64,
    state: State,
    error: Option<io::ErrorKind>,
    /// Of whoever wants to write more, or to know that all is sent.
    writer: Option<Waker>,
    /// Of the task that waits for the peer to read.
    drainer: Option<Waker>,
    /// The [`Socket`] is dropped: what waits is tried once more, and nobody waits for the peer.
    gone: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing waits.
    #[default]
    Idle,
    /// In the outbox.
    Queued,
    /// The kernel takes no more; a task waits until it does.
    Stalled,
}

impl Socket {
    /// A connected socket whose writes go by that outbox.
    #[must_use]
    pub fn new(plain: impl Into<Plain>, outbox: &Rc<Outbox>) -> Socket {
        Socket(Rc::new(Shared {
            plain: RefCell::new(plain.into()),
            outbox: outbox.clone(),
            waiting: RefCell::default(),
        }))
    }

    /// Makes its end one that the peer takes for a fault (a reset): what was sent was not all. What waits is lost.
    pub fn reset(&self) {
        // It fails only on a socket that is dead already.
        let _ =
            rustix::net::sockopt::set_socket_linger(&*self.0.plain.borrow(), Some(std::time::Duration::ZERO));
        self.0.waiting.borrow_mut().bytes.clear();
    }
}

impl Carrier for Socket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.plain.borrow().poll_read_ready(cx)
    }

    fn unsent(&self) -> usize {
        self.0.waiting.borrow().bytes.len()
    }

    fn is_stalled(&self) -> bool {
        self.0.waiting.borrow().state == State::Stalled
    }

    fn sent(&self) -> u64 {
        self.0.waiting.borrow().sent
    }

    /// Without the outbox.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.send_queued();
        self.0.waiting.borrow_mut().poll_taken(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.borrow_mut();
        waiting.gone = true;
        if let Some(drainer) = waiting.drainer.take() {
            drainer.wake();
        }
    }
}

impl Waiting {
    /// Ready unless the peer has to read first.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error {
            return Poll::Ready(Err(error.into()));
        }
        if self.state == State::Stalled {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready with the room that there is.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(error) = self.error {
            return Poll::Ready(Err(error.into()));
        }
        if self.bytes.len() >= WAITING_MAX {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(WAITING_MAX - self.bytes.len()))
    }

    /// Nothing is to be sent any more: it is, or it failed.
    fn settled(&mut self) {
        self.state = State::Idle;
        if self.bytes.capacity() > KEPT_MAX {
            self.bytes = BytesMut::new();
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Shared {
    /// [`Shared::send`], if there is something that nobody sends yet.
    fn send_queued(self: &Rc<Self>) {
        let state = self.waiting.borrow().state;
        if state == State::Queued {
            self.send();
        }
    }

    /// Hands what waits to the kernel; leaves what it does not take to a task.
    fn send(self: &Rc<Self>) {
        if !self.try_send() {
            self.waiting.borrow_mut().state = State::Stalled;
            let shared = self.clone();
            tokio::task::spawn_local(async move { poll_fn(|cx| shared.poll_drained(cx)).await });
        }
    }

    /// False if the kernel takes no more until the peer has read.
    fn try_send(&self) -> bool {
        let (plain, mut waiting) = (self.plain.borrow(), self.waiting.borrow_mut());
        while !waiting.bytes.is_empty() && waiting.error.is_none() {
            let write = || Ok(rustix::net::send(&*plain, &waiting.bytes, SendFlags::NOSIGNAL)?);
            match plain.try_io(Interest::WRITABLE, write) {
                Ok(n) => {
                    waiting.bytes.advance(n);
                    waiting.sent += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Err(e) => waiting.error = Some(e.kind()),
            }
        }
        waiting.settled();
        true
    }

    fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            {
                let mut waiting = self.waiting.borrow_mut();
                // A peer that does not read holds no socket that nobody has any more.
                if waiting.gone {
                    return Poll::Ready(());
                }
                waiting.drainer = Some(cx.waker().clone());
            }
            let writable = ready!(self.plain.borrow().poll_write_ready(cx));
            if let Err(e) = writable {
                self.waiting.borrow_mut().error = Some(e.kind());
            }
            if self.try_send() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if waiting.bytes.len() < WAITING_MAX
                && let Some(writer) = waiting.writer.take()
            {
                writer.wake();
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.plain.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let shared = &self.0;
        let mut waiting = shared.waiting.borrow_mut();
        let mut room = ready!(waiting.poll_room(cx))?;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if length > SMALL && waiting.bytes.is_empty() {
            let n = ready!(Pin::new(&mut *shared.plain.borrow_mut()).poll_write_vectored(cx, pieces))?;
            waiting.sent += n as u64;
            return Poll::Ready(Ok(n));
        }
        let before = waiting.bytes.len();
        for piece in pieces {
            let part = piece.get(..room).unwrap_or(piece);
            waiting.bytes.extend_from_slice(part);
            room -= part.len();
        }
        if waiting.state == State::Idle {
            waiting.state = State::Queued;
            shared.outbox.put(shared);
        }
        Poll::Ready(Ok(waiting.bytes.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready once the outbox has it, unless the peer has to read before anything can be sent.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.waiting.borrow_mut().poll_taken(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_sent(cx))?;
        Pin::new(&mut *self.0.plain.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
