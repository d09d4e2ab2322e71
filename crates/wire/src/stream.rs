//! Byte streams, and the buffers on top of them that HTTP/1 reads from and writes to.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::socket::{Carrier, Socket};

/// What is asked of a read at least; large bodies grow to [`READ_MAX`].
const READ_MIN: usize = 8 << 10;
/// Largest single read.
const READ_MAX: usize = 128 << 10;
/// Frames up to this are copied beside what waits already: one write is cheaper than two.
const COPY_MAX: usize = 4 << 10;
/// A writer waits when so much is unsent.
const OUT_MAX: usize = 64 << 10;

/// A connection's bytes: TCP, or TLS over it.
#[derive(Debug)]
pub enum Stream<S = Socket> {
    /// Clear text.
    Tcp(S),
    /// TLS, either side.
    Tls(Box<TlsStream<S>>),
}

impl<S> Stream<S> {
    /// What is underneath.
    #[must_use]
    pub fn carrier(&self) -> &S {
        match self {
            Stream::Tcp(s) => s,
            Stream::Tls(s) => s.get_ref().0,
        }
    }

    /// True over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// The protocol that ALPN agreed on (RFC 7301).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Tcp(_) => None,
            Stream::Tls(s) => s.get_ref().1.alpn_protocol(),
        }
    }
}

impl<S: Carrier> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl<S: Carrier> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// A stream with what was read and not yet parsed, and what was made and not yet sent.
#[derive(Debug)]
pub struct Wire<S = Socket> {
    /// The connection.
    pub io: Stream<S>,
    /// Read, not yet parsed.
    pub input: BytesMut,
    out: Out,
    read_size: usize,
}

/// What waits to be sent, in this order: small pieces copied together, one large piece as it is, what follows it.
#[derive(Debug, Default)]
struct Out {
    front: BytesMut,
    large: Bytes,
    back: BytesMut,
}

impl Out {
    fn len(&self) -> usize {
        self.front.len() + self.large.len() + self.back.len()
    }

    fn advance(&mut self, mut n: usize) {
        let front = n.min(self.front.len());
        self.front.advance(front);
        n -= front;
        let large = n.min(self.large.len());
        self.large.advance(large);
        self.back.advance(n - large);
        if self.front.is_empty() && self.large.is_empty() {
            self.large = Bytes::new();
            std::mem::swap(&mut self.front, &mut self.back);
        }
    }
}

impl<S: Carrier> Wire<S> {
    /// Wraps a stream; `input` is what was read from it already.
    #[must_use]
    pub fn new(io: Stream<S>, input: BytesMut) -> Wire<S> {
        Wire { io, input, out: Out::default(), read_size: READ_MIN }
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.read_size);
        let n = ready!(pin!(self.io.read_buf(&mut self.input)).poll(cx))?;
        // A full buffer says that more is waiting; a small read that the sender is slow.
        if n >= self.read_size {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        } else if n < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(READ_MIN);
        }
        Poll::Ready(Ok(n))
    }

    /// The buffer for heads and other small things, sent before all that is pushed later.
    pub fn small(&mut self) -> &mut BytesMut {
        if self.out.large.is_empty() { &mut self.out.front } else { &mut self.out.back }
    }

    /// Adds data to what waits; large pieces are not copied.
    pub fn push(&mut self, data: Bytes) {
        if data.len() <= COPY_MAX || !self.out.large.is_empty() {
            self.small().extend_from_slice(&data);
        } else {
            self.out.large = data;
        }
    }

    /// Bytes that the kernel, or TLS, has not taken yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.out.len() + if self.io.is_tls() { 0 } else { self.io.carrier().unsent() }
    }

    /// True if the peer has to read before what waits can be sent.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.out.len() > 0 || self.io.carrier().is_stalled()
    }

    /// True while so little is unsent that more may be pushed, perhaps as a copy.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.out.len() < OUT_MAX
    }

    /// True if something was put in that the socket has not been offered, or has not taken.
    #[must_use]
    pub fn has_unflushed(&self) -> bool {
        self.out.len() > 0
    }

    /// Ready once so little is unsent that more may be pushed.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.len() >= OUT_MAX || !self.out.large.is_empty() {
            ready!(self.poll_write_some(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once all is on its way (see [`Socket`]).
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.len() > 0 {
            ready!(self.poll_write_some(cx))?;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Ready once it may be dropped: all is the kernel's, and over TLS the peer is told that this was all (RFC 8446 §6.1).
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out.len() > 0 {
            ready!(self.poll_write_some(cx))?;
        }
        match &mut self.io {
            Stream::Tcp(io) => io.poll_sent(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let out = &mut self.out;
        let io = Pin::new(&mut self.io);
        let n = if out.large.is_empty() {
            ready!(io.poll_write(cx, &out.front))?
        } else {
            let slices = [IoSlice::new(&out.front), IoSlice::new(&out.large), IoSlice::new(&out.back)];
            ready!(io.poll_write_vectored(cx, &slices))?
        };
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        out.advance(n);
        Poll::Ready(Ok(()))
    }

    /// [`Wire::poll_fill`], awaited.
    pub async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// [`Wire::poll_flush`], awaited.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }
}
