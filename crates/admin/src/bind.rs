//! The admin sockets: bound before a change is published, so that an address that cannot be had refuses
//! the change instead of losing the API.
//!
//! Knows nothing of HTTP. A bound socket that nobody adopts gives its address and its file back.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use evergate_kit::{
    Fds,
    fds::{self, Lease},
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
    /// Somebody answers on the Unix socket.
    #[error(
        "another process answers on the admin socket {0}: is a gateway running on the same data directory?"
    )]
    Taken(PathBuf),
    /// There is a file of that name that is no socket.
    #[error("the admin socket cannot be made: {0} exists and is no socket")]
    NoSocket(PathBuf),
    /// The Unix socket cannot be made.
    #[error("the admin socket {path} cannot be made: {source}")]
    Unix {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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
            BindError::Taken(_) => true,
            _ => false,
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
    pub(crate) listener: UnixListener,
    path: PathBuf,
    inode: u64,
    lease: Lease,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Another gateway may have put its own socket there since, or goes on with this one.
        if self.lease.is_ours() && fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a Unix socket of mode 0600, and its folder if that is missing. A socket that nobody answers on is
/// replaced; that of the process before is taken, if its file is still there.
pub(crate) fn unix(path: &Path, fds: &Fds) -> Result<UnixSocket, BindError> {
    let name = fds::unix(path);
    if let Some((socket, lease)) = fds.inherit(&name)
        && let Ok(inode) = fs::symlink_metadata(path).map(|found| found.ino())
        && let Ok(listener) = adopted(socket.into()).and_then(UnixListener::from_std)
    {
        return Ok(UnixSocket { listener, path: path.to_owned(), inode, lease });
    }
    let fail = |source| BindError::Unix { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(fail(e)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket(path.to_owned())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(BindError::Taken(path.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(e) => return Err(fail(e)),
        },
    }
    let (listener, inode) = make(path).map_err(fail)?;
    let lease = fds.hold(&name, &listener);
    Ok(UnixSocket { listener, path: path.to_owned(), inode, lease })
}

/// Under another name first: the real name then appears with the right mode, and replaces a stale one in one step.
fn make(path: &Path) -> io::Result<(UnixListener, u64)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_file_name(format!(".{}-{number}", std::process::id()));
    let _ = fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    let named = fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::symlink_metadata(&draft))
        .and_then(|m| fs::rename(&draft, path).map(|()| m.ino()));
    match named {
        Ok(inode) => Ok((listener, inode)),
        Err(e) => {
            let _ = fs::remove_file(&draft);
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
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
    async fn the_socket_file_is_private_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/evergate.sock");
        let socket = unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let living = unix(&path).unwrap();
        assert!(matches!(unix(&path), Err(BindError::Taken(_))));
        // A crash leaves the file behind.
        let copy = dir.path().join("copy");
        fs::hard_link(&path, &copy).unwrap();
        drop(living);
        fs::rename(&copy, &path).unwrap();
        let new = unix(&path).unwrap();
        assert!(path.exists());
        drop(new);
        fs::write(&path, "mine").unwrap();
        assert!(matches!(unix(&path), Err(BindError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_socket_that_another_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn sockets_of_the_process_before_are_taken_and_their_files_left_to_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (fds, address) = (Fds::default(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let (old_tcp, old_unix) = (tcp(address, None).unwrap(), super::unix(&path, &fds).unwrap());
        let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().unwrap();
        use std::os::fd::AsFd;
        let left = vec![
            (fds::tcp(address, WHO), copy(old_tcp.listener.as_fd())),
            (fds::unix(&path), copy(old_unix.listener.as_fd())),
        ];
        let next = Fds::new(left, None);
        let new_tcp = super::tcp(address, None, &next).unwrap();
        assert_eq!(new_tcp.listener.local_addr().unwrap(), old_tcp.listener.local_addr().unwrap());
        let new_unix = super::unix(&path, &next).unwrap();
        fds.leave();
        drop(old_unix);
        assert!(path.exists(), "the next process answers there");
        drop(new_unix);
        assert!(!path.exists());
    }
}
