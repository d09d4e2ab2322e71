//! UDP sockets: of listeners that speak HTTP/3, at the address of their TCP socket and found again by that address; and of
//! listeners that carry datagrams.
//!
//! QUIC connections outlive the wish for new ones: whoever serves them holds the socket, and a listener that speaks
//! HTTP/3 again takes up the same one. One for datagrams is closed with its listener.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use evergate_kit::{
    Fds,
    fds::{self, Lease},
};
use socket2::{Domain, Protocol, Socket, Type};

/// Bytes that the kernel keeps for us at best: a burst of packets must survive a moment of other work.
const BUFFER: usize = 2 << 20;

/// A bound UDP socket.
#[derive(Debug)]
pub(crate) struct UdpBound {
    open: Mutex<Option<(Socket, Lease)>>,
    /// Where it is bound: a port of 0 in the document is a real one here.
    pub address: SocketAddr,
}

impl UdpBound {
    /// The socket of the listener `who` beside its TCP socket, which is at `address` for the wish `asked`: the one that
    /// the process before had there, or a new one. `own` are open already; one may give way to another.
    pub(crate) fn at(
        asked: SocketAddr,
        address: SocketAddr,
        v6_only: bool,
        who: &str,
        own: &[Arc<UdpBound>],
        fds: &Fds,
    ) -> io::Result<UdpBound> {
        let name = fds::udp(asked, who);
        if let Some((socket, lease)) = fds.inherit(&name) {
            let socket = Socket::from(socket);
            let actual = socket.local_addr()?.as_socket();
            let fits = (actual == Some(address) || address.port() == 0)
                && socket.r#type()? == Type::DGRAM
                && socket.set_nonblocking(true).is_ok();
            if fits {
                return Ok(UdpBound::new(socket, actual.unwrap_or(address), lease));
            }
        }
        let socket = open(address, v6_only, own)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        let lease = fds.hold(&name, &socket);
        Ok(UdpBound::new(socket, address, lease))
    }

    fn new(socket: Socket, address: SocketAddr, lease: Lease) -> UdpBound {
        UdpBound { open: Mutex::new(Some((socket, lease))), address }
    }

    fn socket(&self) -> MutexGuard<'_, Option<(Socket, Lease)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same socket for who serves it.
    pub(crate) fn for_worker(&self) -> io::Result<std::net::UdpSocket> {
        match &*self.socket() {
            Some((socket, _)) => Ok(socket.try_clone()?.into()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Its address is free again, though a snapshot may still hold this.
    pub(crate) fn close(&self) {
        drop(self.socket().take());
    }

    fn share(&self, on: bool) -> io::Result<()> {
        match &*self.socket() {
            Some((socket, _)) => socket.set_reuse_address(on),
            None => Ok(()),
        }
    }
}

/// Sockets for datagrams that were opened, also those that workers are about to close.
#[derive(Default)]
pub(crate) struct UdpPlaces(Mutex<Vec<(SocketAddr, Weak<UdpBound>)>>);

impl UdpPlaces {
    /// Opens one. A listener may come back faster than workers see that it went: then this waits until its socket is
    /// closed.
    pub(crate) fn open(
        &self,
        address: SocketAddr,
        open: impl Fn() -> io::Result<UdpBound>,
    ) -> io::Result<Arc<UdpBound>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_ours = known.iter().any(|(at, _)| *at == address || overlaps(*at, address));
        known.retain(|(_, bound)| bound.strong_count() > 0);
        let until = Instant::now() + CLOSING_MAX;
        let bound = loop {
            match open() {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && was_ours && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => break Arc::new(other?),
            }
        };
        known.push((bound.address, Arc::downgrade(&bound)));
        Ok(bound)
    }
}

/// Workers close sockets at the end of what they do just then.
const CLOSING_MAX: Duration = Duration::from_secs(1);

fn open(address: SocketAddr, v6_only: bool, own: &[Arc<UdpBound>]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only || !address.ip().is_unspecified())?;
    }
    // More than the system allows is not given, and less will do.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    // Only between our own sockets, and only now: a second process must be told that the address is in use.
    let overlapping: Vec<_> = own.iter().filter(|b| overlaps(address, b.address)).collect();
    let share = |on| -> io::Result<()> {
        overlapping.iter().try_for_each(|b| b.share(on))?;
        if overlapping.is_empty() { Ok(()) } else { socket.set_reuse_address(on) }
    };
    share(true)?;
    let bound = socket.bind(&address.into());
    share(false)?;
    bound?;
    Ok(socket)
}

/// True if the kernel would take one for the other.
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip().is_unspecified() || b.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_opened_or_inherited() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let left = std::net::UdpSocket::bind(any).unwrap();
        let address = left.local_addr().unwrap();
        let at = |fds: &Fds| UdpBound::at(address, address, false, "web", &[], fds);
        assert!(at(&Fds::default()).is_err(), "the address is in use");
        let fds = Fds::new(vec![(fds::udp(address, "web"), left.into())], None);
        assert_eq!(at(&fds).unwrap().address, address);
        // What was left is not what is asked for: that is in the way then.
        let elsewhere = std::net::UdpSocket::bind(any).unwrap();
        let fds = Fds::new(vec![(fds::udp(address, "web"), elsewhere.into())], None);
        drop(at(&fds));
    }

    #[test]
    fn overlapping_addresses_of_our_own_can_follow_each_other() {
        let fds = Fds::default();
        let at = |address: SocketAddr, own: &[Arc<UdpBound>]| {
            UdpBound::at(address, address, false, "web", own, &fds)
        };
        let port = std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let any = Arc::new(at(SocketAddr::from(([0, 0, 0, 0], port)), &[]).unwrap());
        let narrow = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(at(narrow, &[]).is_err(), "a stranger's address is in use");
        let moved = at(narrow, std::slice::from_ref(&any)).unwrap();
        assert_eq!(moved.address, narrow);
        assert!(at(narrow, &[]).is_err(), "and stays so");
    }
}
