//! Byte streams of any kind behind one type, and a way to look at the first bytes of one.

use std::{
    io::Result,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Anything that can be read and written: TCP, TLS, a Unix socket.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Any stream.
pub type BoxIo = Box<dyn Io>;

/// The first bytes that every HTTP/2 client sends (RFC 9113 §3.4), as far as they tell it from HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Reads until it is clear whether the client speaks HTTP/2, and gives back a stream that has lost nothing.
///
/// # Errors
/// If the stream fails. A stream that ends early is taken for HTTP/1.
pub async fn speaks_h2(mut io: BoxIo) -> Result<(bool, BoxIo)> {
    let mut seen = BytesMut::new();
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        if io.read_buf(&mut seen).await? == 0 {
            break;
        }
    }
    let h2 = seen.starts_with(PREFACE);
    Ok((h2, Box::new(Rewound { seen: seen.freeze(), io })))
}

/// A stream with some bytes put back in front.
struct Rewound {
    seen: Bytes,
    io: BoxIo,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.seen.len().min(buf.remaining());
        buf.put_slice(&self.seen[..n]);
        self.seen.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
