//! A connection as the kernel has it: TCP, or a Unix socket.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A stream socket of either kind.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// The same of either.
macro_rules! either {
    ($socket:expr, $io:ident => $do:expr) => {
        match $socket {
            Plain::Tcp($io) => $do,
            Plain::Unix($io) => $do,
        }
    };
}

impl Plain {
    /// Ready if something came, or the peer has closed.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read_ready(cx))
    }

    /// Ready once the kernel takes bytes again.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_write_ready(cx))
    }

    /// Ready once there is something to read.
    ///
    /// # Errors
    /// If the socket is dead.
    pub async fn readable(&self) -> io::Result<()> {
        either!(self, io => io.readable().await)
    }

    /// Its own address, if it is TCP.
    #[must_use]
    pub fn local_ip(&self) -> Option<SocketAddr> {
        match self {
            Plain::Tcp(tcp) => tcp.local_addr().ok(),
            Plain::Unix(_) => None,
        }
    }

    /// Does something on the socket itself; `WouldBlock` from it means that it is not ready any more.
    pub fn try_io<R>(&self, interest: Interest, what: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        either!(self, io => io.try_io(interest, what))
    }
}

impl From<TcpStream> for Plain {
    fn from(tcp: TcpStream) -> Plain {
        Plain::Tcp(tcp)
    }
}

impl From<UnixStream> for Plain {
    fn from(unix: UnixStream) -> Plain {
        Plain::Unix(unix)
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, io => io.as_fd())
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), io => Pin::new(io).poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}
