//! One listening socket: opened, tuned while it listens, closed.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evergate_contract::config::{ListenAddress, Place, SocketOptions};
use evergate_kit::{
    Fds,
    fds::Lease,
    unix::{self, SocketFile, UnixError},
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// Unanswered probes after which a silent peer is given up.
const PROBES: u32 = 4;

/// A socket that is bound to its address, and listens from [`Listening::listen`] on.
#[derive(Debug)]
pub(crate) struct Listening {
    // Before the socket, since it is to be dropped first.
    kept: Kept,
    socket: Socket,
    /// Where it really is: a port of 0 in the document is a real one here.
    pub place: Place,
    listens: AtomicBool,
    closed: AtomicBool,
    tuned: Mutex<Option<SocketOptions>>,
}

/// What goes when the socket goes.
#[derive(Debug)]
enum Kept {
    File(SocketFile),
    Lease(#[expect(dead_code, reason = "its drop counts")] Lease),
}

impl Listening {
    /// The one place where a socket comes into being. `open` stands by while it is bound: sockets of our own on a part
    /// of this address, that give way to it or share it. `name` is how the next process finds it.
    pub(crate) fn bind(
        place: &Place,
        mode: u32,
        open: &[&Listening],
        fds: &Fds,
        name: &str,
    ) -> Result<Listening, UnixError> {
        match &place.address {
            ListenAddress::Ip(address) => {
                let (socket, place) = bind_tcp(*address, place.v6_only, open)?;
                let lease = fds.hold(name, &socket);
                Ok(Listening::new(socket, Kept::Lease(lease), place)?)
            }
            ListenAddress::Unix(path) => {
                let (listener, file) = unix::listen(path, mode, fds)?;
                let socket = Socket::from(OwnedFd::from(listener));
                Ok(Listening::new(socket, Kept::File(file), place.clone())?)
            }
        }
    }

    /// The socket of that name that the process before left, if it is one for this place.
    pub(crate) fn inherit(place: &Place, fds: &Fds, name: &str) -> Option<Listening> {
        let asked = place.address.ip()?;
        let (socket, lease) = fds.inherit(name)?;
        let socket = Socket::from(socket);
        let actual = socket.local_addr().ok()?.as_socket()?;
        let any = asked.is_ipv6() && asked.ip().is_unspecified();
        let fits = socket.is_listener().unwrap_or(false)
            && (actual == asked || asked.port() == 0)
            && (!any || socket.only_v6().is_ok_and(|only| only == place.v6_only));
        let place = Place { address: ListenAddress::Ip(actual), v6_only: place.v6_only };
        fits.then(|| Listening::new(socket, Kept::Lease(lease), place).ok())?
    }

    fn new(socket: Socket, kept: Kept, place: Place) -> io::Result<Listening> {
        socket.set_nonblocking(true)?;
        let listens = AtomicBool::new(socket.is_listener()?);
        Ok(Listening {
            kept,
            socket,
            place,
            listens,
            closed: AtomicBool::new(false),
            tuned: Mutex::default(),
        })
    }

    fn file(&self) -> Option<&SocketFile> {
        match &self.kept {
            Kept::File(file) => Some(file),
            Kept::Lease(_) => None,
        }
    }

    /// Listens, beside sockets of our own that share the address.
    pub(crate) fn listen(&self, options: &SocketOptions, open: &[&Listening]) -> io::Result<()> {
        let shared = Shared::begin(&self.socket, open)?;
        let listened = self.socket.listen(backlog(options));
        drop(shared);
        listened?;
        self.listens.store(true, Ordering::Release);
        Ok(())
    }

    /// True if connections come here.
    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Acquire)
    }

    /// Makes the socket what the document says. What waits in its queue stays there, as it was accepted by the kernel.
    pub(crate) fn tune(&self, options: &SocketOptions) {
        let mut tuned = self.tuned.lock().unwrap_or_else(PoisonError::into_inner);
        if tuned.as_ref() == Some(options) {
            return;
        }
        if let Err(error) = self.try_tune(options) {
            tracing::warn!(address = %self.place.address, %error, "the socket stays as it was");
        }
        *tuned = Some(options.clone());
    }

    fn try_tune(&self, options: &SocketOptions) -> io::Result<()> {
        if let Some(file) = self.file() {
            file.set_mode(options.mode())?;
        } else {
            // Connections have from their socket what is set here, which saves calls for each of them.
            self.socket.set_tcp_nodelay(true)?;
            self.socket.set_reuse_port(options.reuse_port)?;
            self.keep_alive(options.keep_alive())?;
        }
        if self.listens() {
            // Listening again changes the length of the queue and nothing else.
            self.socket.listen(backlog(options))?;
        }
        Ok(())
    }

    fn keep_alive(&self, after: Option<Duration>) -> io::Result<()> {
        self.socket.set_keepalive(after.is_some())?;
        let Some(after) = after else { return Ok(()) };
        let interval = (after / PROBES).max(Duration::from_secs(1));
        let parameters = TcpKeepalive::new().with_time(after).with_interval(interval).with_retries(PROBES);
        self.socket.set_tcp_keepalive(&parameters)
    }

    /// The same socket for one more worker.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    /// A connection that waits in the queue.
    pub(crate) fn accept(&self) -> io::Result<(Socket, SockAddr)> {
        self.socket.accept()
    }

    /// Nobody finds it any more, where that can be without losing who has found it.
    pub(crate) fn hide(&self) {
        if let Some(file) = self.file() {
            file.remove();
        }
    }

    /// True once nobody can connect any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses connections from now on, in all workers; what waits in the queue is lost.
    pub(crate) fn close(&self) {
        self.hide();
        // Without its file a Unix socket is found by nobody. Shut down, it would seem ready to those who still accept
        // from it, for ever.
        if self.file().is_none() {
            // It fails only on a socket that listens no more.
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
        self.closed.store(true, Ordering::Release);
    }
}

fn bind_tcp(asked: SocketAddr, v6_only: bool, open: &[&Listening]) -> io::Result<(Socket, Place)> {
    let socket = Socket::new(Domain::for_address(asked), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if asked.is_ipv6() {
        // `[::]` takes IPv4 too, so that `:8080` is one socket.
        socket.set_only_v6(v6_only || !asked.ip().is_unspecified())?;
    }
    let shared = Shared::begin(&socket, open)?;
    let bound = socket.bind(&asked.into());
    drop(shared);
    bound?;
    let actual = socket.local_addr()?.as_socket().unwrap_or(asked);
    Ok((socket, Place { address: ListenAddress::Ip(actual), v6_only }))
}

fn backlog(options: &SocketOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

/// The kernel lets two sockets share a port only if both say so at that moment. It is only said while one of our own
/// joins another: a second process must still be told that the address is in use.
struct Shared<'a>(Vec<(SockRef<'a>, bool)>);

impl<'a> Shared<'a> {
    fn begin(new: &'a Socket, open: &[&'a Listening]) -> io::Result<Shared<'a>> {
        let mut shared = Shared(Vec::new());
        if open.is_empty() {
            return Ok(shared);
        }
        for socket in std::iter::once(new).chain(open.iter().map(|l| &l.socket)) {
            let before = socket.reuse_port()?;
            socket.set_reuse_port(true)?;
            shared.0.push((SockRef::from(socket), before));
        }
        Ok(shared)
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        for (socket, before) in &self.0 {
            // What could be set can be set back.
            let _ = socket.set_reuse_port(*before);
        }
    }
}
