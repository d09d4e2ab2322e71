//! Listening sockets: opened once for each address, shared by all workers, closed when no revision names them.
//!
//! Every worker accepts from the same socket, so its accept queue belongs to nobody and nothing that waits in
//! it is lost when workers come and go. Knows nothing of what is spoken on a connection.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use evergate_contract::config::{Carried, Name};
use evergate_kit::{
    Fds,
    fds::{self, Lease},
};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel keeps for us before they are accepted.
const BACKLOG: i32 = 4096;

/// A bound, listening socket.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: Socket,
    /// What the document asked for.
    pub asked: SocketAddr,
    /// Where it really listens: a port of 0 is a real one here.
    pub actual: SocketAddr,
    /// Sockets that were open before on a part of this address. The kernel gives them the connections to that
    /// part for as long as they are open, so closing one would reset who is in its queue just then.
    absorbed: Vec<Arc<Bound>>,
    _lease: Lease,
}

impl Bound {
    /// The socket of the listener `who` at that address: the one that the process before had there, or a new one.
    pub(crate) fn at(asked: SocketAddr, who: &str, own: &[Arc<Bound>], fds: &Fds) -> io::Result<Bound> {
        match Bound::inherited(asked, &fds::tcp(asked, who), fds) {
            Some(bound) => Ok(bound),
            None => Bound::open(asked, who, own, fds),
        }
    }

    /// The socket of that name that the process before left, with those that it had absorbed.
    fn inherited(asked: SocketAddr, name: &str, fds: &Fds) -> Option<Bound> {
        let (socket, lease) = fds.inherit(name)?;
        let socket = Socket::from(socket);
        let actual = socket.local_addr().ok()?.as_socket()?;
        let fits = socket.is_listener().unwrap_or(false) && (actual == asked || asked.port() == 0);
        if !fits || socket.set_nonblocking(true).is_err() {
            return None;
        }
        let parts = fds.inherited().into_iter().filter_map(|name| {
            let part = name.strip_prefix("tcp ")?.parse().ok()?;
            (part != asked && covers(asked, part))
                .then(|| Bound::inherited(part, &name, fds).map(Arc::new))?
        });
        let absorbed = if asked.ip().is_unspecified() { parts.collect() } else { Vec::new() };
        Some(Bound { socket, asked, actual, absorbed, _lease: lease })
    }

    /// Opens a socket. `own` are those that are open already: where an address overlaps with one of them
    /// (`0.0.0.0:80` and `127.0.0.1:80`), both may be open at once while the one gives way to the other.
    fn open(asked: SocketAddr, who: &str, own: &[Arc<Bound>], fds: &Fds) -> io::Result<Bound> {
        let socket = Socket::new(Domain::for_address(asked), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        if asked.is_ipv6() {
            // `[::]` takes IPv4 too, so that `:8080` is one socket.
            socket.set_only_v6(!asked.ip().is_unspecified())?;
        }
        let overlapping: Vec<_> = own.iter().filter(|b| overlaps(asked, b.actual)).collect();
        share_port(&socket, &overlapping, true)?;
        let opened = socket.bind(&asked.into()).and_then(|()| socket.listen(BACKLOG));
        share_port(&socket, &overlapping, false)?;
        opened?;
        let actual = socket.local_addr()?.as_socket().unwrap_or(asked);
        let absorbed = overlapping.into_iter().filter(|b| covers(asked, b.actual)).cloned().collect();
        let lease = fds.hold(&fds::tcp(asked, who), &socket);
        Ok(Bound { socket, asked, actual, absorbed, _lease: lease })
    }

    /// This one and all that it has absorbed.
    pub(crate) fn all(self: &Arc<Bound>) -> Vec<Arc<Bound>> {
        let inner = self.absorbed.iter().flat_map(Bound::all);
        std::iter::once(self.clone()).chain(inner).collect()
    }

    /// True if the other is this one, or one that it has absorbed.
    pub(crate) fn has(self: &Arc<Bound>, other: &Arc<Bound>) -> bool {
        Arc::ptr_eq(self, other) || self.absorbed.iter().any(|inner| inner.has(other))
    }

    /// Refuses connections from now on, in all workers; what waits in the queue is lost.
    pub(crate) fn close(&self) {
        // It fails only on a socket that listens no more.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// The same socket for one more worker.
    pub(crate) fn for_worker(&self) -> io::Result<TcpListener> {
        Ok(self.socket.try_clone()?.into())
    }
}

/// Only between our own sockets and only while one replaces the other: a second process must still be told
/// that the address is in use.
fn share_port(new: &Socket, own: &[&Arc<Bound>], on: bool) -> io::Result<()> {
    if own.is_empty() {
        return Ok(());
    }
    new.set_reuse_port(on)?;
    own.iter().try_for_each(|b| b.socket.set_reuse_port(on))
}

fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    a.port() != 0 && a.port() == b.port() && (any(a.ip()) || any(b.ip()))
}

/// True if every connection to `b` could be taken by `a`.
fn covers(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().is_unspecified()
        && (a.is_ipv6() || b.is_ipv4())
        && !(b.ip().is_unspecified() && a.is_ipv4() == b.is_ipv4())
}

/// A listener from when it appears in the document to when its name, address, kind of security, or what it carries
/// changes. Connections belong to one; when it is over, they finish what they do and are closed politely.
#[derive(Debug)]
pub(crate) struct Incarnation {
    /// Name of the listener.
    pub name: Name,
    /// Its socket.
    pub bound: Arc<Bound>,
    /// Whether connections begin with TLS.
    pub tls: bool,
    /// What they carry.
    pub carries: Carried,
    over: AtomicBool,
    connections: AtomicU64,
}

impl Incarnation {
    /// A new one.
    #[must_use]
    pub(crate) fn new(name: Name, bound: Arc<Bound>, tls: bool, carries: Carried) -> Incarnation {
        Incarnation {
            name,
            bound,
            tls,
            carries,
            over: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        }
    }

    /// Its time has come; workers look at it when they adopt the next snapshot.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// True once it has ended.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Connections that are open.
    #[must_use]
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection until the guard is dropped; `None` if there are `most` already.
    #[must_use]
    pub(crate) fn admit(self: &Arc<Self>, most: Option<u32>) -> Option<Admitted> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(self.clone());
        (most.is_none_or(|most| before < u64::from(most))).then_some(admitted)
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Incarnation>);

impl Admitted {
    /// What it was accepted by.
    #[must_use]
    pub(crate) fn by(&self) -> &Arc<Incarnation> {
        &self.0
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(asked: &str, own: &[Arc<Bound>]) -> io::Result<Bound> {
        Bound::at(asked.parse().unwrap(), "web", own, &Fds::default())
    }

    #[test]
    fn overlapping_addresses_of_our_own_can_follow_each_other() {
        let any = Arc::new(open("0.0.0.0:0", &[]).unwrap());
        let loopback = SocketAddr::from(([127, 0, 0, 1], any.actual.port()));
        assert!(open(&loopback.to_string(), &[]).is_err(), "a stranger's address is in use");
        let moved = open(&loopback.to_string(), std::slice::from_ref(&any)).unwrap();
        assert_eq!(moved.actual, loopback);
        assert!(open(&loopback.to_string(), &[]).is_err(), "and stays so");
        let (asked, moved) = (SocketAddr::new(any.asked.ip(), moved.actual.port()), Arc::new(moved));
        drop(any);
        let again = Arc::new(open(&asked.to_string(), &[moved]).unwrap());
        assert_eq!(again.all().len(), 2, "the narrower one goes on for its part");
    }

    #[test]
    fn what_the_process_before_left_is_taken() {
        let left = |address: &str| std::net::TcpListener::bind(address).unwrap();
        let wide = left("0.0.0.0:0");
        let port = wide.local_addr().unwrap().port();
        let asked = format!("0.0.0.0:{port}");
        let other = left("127.0.0.1:0");
        let inherited = vec![
            (format!("tcp {asked}"), wide.into()),
            ("tcp 127.0.0.1:0 web".to_owned(), other.try_clone().unwrap().into()),
        ];
        let fds = Fds::new(inherited, None);
        let taken = Bound::at(asked.parse().unwrap(), "web", &[], &fds).unwrap();
        assert_eq!(taken.actual.port(), port);
        let zero = Bound::at("127.0.0.1:0".parse().unwrap(), "web", &[], &fds).unwrap();
        assert_eq!(zero.actual, other.local_addr().unwrap());
        let someone_elses = Bound::at("127.0.0.1:0".parse().unwrap(), "api", &[], &fds).unwrap();
        assert_ne!(someone_elses.actual, other.local_addr().unwrap());
    }

    #[test]
    fn a_part_that_was_absorbed_is_taken_with_the_whole() {
        let any = Arc::new(open("0.0.0.0:0", &[]).unwrap());
        let narrow = SocketAddr::from(([127, 0, 0, 1], any.actual.port()));
        let moved = Arc::new(open(&narrow.to_string(), std::slice::from_ref(&any)).unwrap());
        let name = |b: &Bound| (format!("tcp {}", b.actual), b.socket.try_clone().unwrap().into());
        let fds = Fds::new(vec![name(&any), name(&moved)], None);
        let taken = Bound::at(any.actual, "web", &[], &fds).unwrap();
        assert_eq!(Arc::new(taken).all().len(), 2);
    }

    #[test]
    fn connections_are_counted_and_bounded() {
        let bound = Arc::new(open("127.0.0.1:0", &[]).unwrap());
        let listener = Arc::new(Incarnation::new("a".into(), bound, false, Carried::Http));
        let first = listener.admit(Some(1));
        assert!(first.is_some() && listener.admit(Some(1)).is_none());
        assert_eq!(listener.connections(), 1);
        drop(first);
        assert!(listener.admit(Some(1)).is_some());
    }
}
