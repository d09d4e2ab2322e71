//! A worker's own handle on a listening socket.

use std::{io, os::fd::OwnedFd};

use evergate_contract::config::ListenAddress;
use evergate_wire::Plain;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Listening, Peer};

/// Takes connections from a socket.
pub(crate) enum Acceptor {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Acceptor {
    /// One for the worker of this thread.
    pub(crate) fn new(socket: &Listening) -> io::Result<Acceptor> {
        let fd = socket.duplicate()?;
        Ok(match socket.place.address {
            ListenAddress::Ip(_) => Acceptor::Tcp(TcpListener::from_std(fd.into())?),
            ListenAddress::Unix(_) => Acceptor::Unix(UnixListener::from_std(fd.into())?),
        })
    }

    /// The next connection. Nothing is lost if this is dropped before it is ready.
    pub(crate) async fn accept(&self) -> io::Result<(Plain, Peer)> {
        Ok(match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (stream.into(), Peer::Ip(peer))
            }
            Acceptor::Unix(listener) => (listener.accept().await?.0.into(), Peer::Unix),
        })
    }
}

/// A connection that waits in the queue now, if there is one.
pub(crate) fn accept_now(socket: &Listening) -> io::Result<(Plain, Peer)> {
    let (stream, peer) = socket.accept()?;
    stream.set_nonblocking(true)?;
    let fd = OwnedFd::from(stream);
    Ok(match (&socket.place.address, peer.as_socket()) {
        (ListenAddress::Ip(_), Some(peer)) => (TcpStream::from_std(fd.into())?.into(), Peer::Ip(peer)),
        (ListenAddress::Ip(_), None) => return Err(io::ErrorKind::NotConnected.into()),
        (ListenAddress::Unix(_), _) => (UnixStream::from_std(fd.into())?.into(), Peer::Unix),
    })
}
