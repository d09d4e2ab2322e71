//! The admin sockets: bound before a change is published, so that an address that cannot be had refuses
//! the change instead of losing the API.
//!
//! Knows nothing of HTTP. A bound socket that nobody adopts gives its address and its file back.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use evergate_kit::{
    Fds,
    fds::{self, Lease},
    unix::{self, SocketFile, UnixError},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

/// Connections that wait for `accept`.
const BACKLOG: i32 = 256;

/// Why an admin socket cannot be had; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The TCP address.
    #[error("the admin API cannot listen on {address}: {source}")]
    Tcp {
        /// As in the document.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The Unix socket.
    #[error("the admin socket {path} cannot be made: {source}{}", hint(source))]
    Unix {
        /// Where.
        path: PathBuf,
        /// Why.
        source: UnixError,
    },
}

fn hint(error: &UnixError) -> &'static str {
    match error {
        UnixError::Taken(_) => ": is a gateway running on the same data directory?",
        _ => "",
    }
}

impl BindError {
    /// The field of `admin` that names the socket.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            BindError::Tcp { .. } => "address",
            _ => "socket",
        }
    }

    /// True if another process holds it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        match self {
            BindError::Tcp { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            BindError::Unix { source, .. } => matches!(source, UnixError::Taken(_)),
        }
    }
}

/// Whose sockets these are, where the address alone does not say it.
const WHO: &str = "admin";

/// A TCP socket of the API.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    pub(crate) listener: TcpListener,
    _lease: Lease,
}

/// Takes the socket that the process before had at a TCP address, or binds it. `beside` is our own socket that will be
/// closed when this one takes over; both may cover the same port (`127.0.0.1:9090` to `0.0.0.0:9090`).
pub(crate) fn tcp(
    address: SocketAddr,
    beside: Option<&TcpSocket>,
    fds: &Fds,
) -> Result<TcpSocket, BindError> {
    let name = fds::tcp(address, WHO);
    if let Some((socket, lease)) = fds.inherit(&name)
        && let Ok(listener) = adopted(socket.into()).and_then(TcpListener::from_std)
    {
        return Ok(TcpSocket { listener, _lease: lease });
    }
    let bound = match beside {
        Some(own) if overlaps(&own.listener, address) => bind_beside(address, &own.listener),
        _ => listen(address, false),
    };
    let listener = bound.map_err(|source| BindError::Tcp { address, source })?;
    let lease = fds.hold(&name, &listener);
    Ok(TcpSocket { listener, _lease: lease })
}

/// A socket of the process before, as the runtime wants it.
fn adopted<L: From<Socket>>(socket: Socket) -> io::Result<L> {
    socket.set_nonblocking(true)?;
    match socket.is_listener()? {
        true => Ok(socket.into()),
        false => Err(io::Error::other("does not listen")),
    }
}

fn overlaps(own: &TcpListener, address: SocketAddr) -> bool {
    own.local_addr().is_ok_and(|a| a.port() == address.port() && address.port() != 0)
}

/// The kernel lets two sockets share a port only if both say so at that moment. It is taken back at once, so
/// that a stranger cannot join.
fn bind_beside(address: SocketAddr, own: &TcpListener) -> io::Result<TcpListener> {
    SockRef::from(own).set_reuse_port(true)?;
    let bound = listen(address, true);
    SockRef::from(own).set_reuse_port(false)?;
    bound
}

fn listen(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it an address is refused while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    if share {
        socket.set_reuse_port(false)?;
    }
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// A Unix socket and its file, which goes with it.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    // Before the socket, since it is to be dropped first.
    _file: SocketFile,
    pub(crate) listener: UnixListener,
}

/// Makes a Unix socket of mode 0600. A socket that nobody answers on is replaced; that of the process before is taken.
pub(crate) fn unix(path: &Path, fds: &Fds) -> Result<UnixSocket, BindError> {
    let fail = |source| BindError::Unix { path: path.to_owned(), source };
    let (listener, file) = unix::listen(path, 0o600, fds).map_err(fail)?;
    let listener =
        adopted(Socket::from(std::os::fd::OwnedFd::from(listener))).and_then(UnixListener::from_std);
    Ok(UnixSocket { _file: file, listener: listener.map_err(|e| fail(e.into()))? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn tcp(address: SocketAddr, beside: Option<&TcpSocket>) -> Result<TcpSocket, BindError> {
        super::tcp(address, beside, &Fds::default())
    }

    fn unix(path: &Path) -> Result<UnixSocket, BindError> {
        super::unix(path, &Fds::default())
    }

    #[tokio::test]
    async fn a_wider_address_is_bound_beside_the_old_one() {
        let old = tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let port = old.listener.local_addr().unwrap().port();
        let wide: SocketAddr = ([0, 0, 0, 0], port).into();
        assert!(tcp(wide, None).unwrap_err().is_taken(), "a stranger's port is not shared");
        let new = tcp(wide, Some(&old)).unwrap();
        assert_eq!(new.listener.local_addr().unwrap(), wide);
        assert!(tcp(([127, 0, 0, 2], port).into(), None).unwrap_err().is_taken());
        drop(old);
        assert!(tcp(([127, 0, 0, 1], port).into(), None).unwrap_err().is_taken());
    }

    #[tokio::test]
    async fn the_socket_is_private_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/evergate.sock");
        let socket = unix(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(unix(&path).unwrap_err().is_taken());
        drop(socket);
        assert!(!path.exists());
    }
}
