//! UDP sockets: opened, or taken over from the process before. Those of listeners that speak HTTP/3 are at the address of
//! their TCP socket, found again by that address; those that carry datagrams are a [`Mailbox`](super::Mailbox).
//!
//! QUIC connections outlive the wish for new ones: whoever serves them holds the socket, and a listener that speaks
//! HTTP/3 again takes up the same one.

use std::{io, net::SocketAddr, sync::Arc};

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
    socket: Socket,
    /// Where it is bound.
    pub address: SocketAddr,
    _lease: Lease,
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
        let own: Vec<_> =
            own.iter().map(|bound| Neighbour { address: bound.address, socket: &bound.socket }).collect();
        let (socket, lease) = obtain(&fds::udp(asked, who), address, v6_only, &own, fds)?;
        Ok(UdpBound { socket, address, _lease: lease })
    }

    /// The same socket for who serves it.
    pub(crate) fn for_worker(&self) -> io::Result<std::net::UdpSocket> {
        Ok(self.socket.try_clone()?.into())
    }
}

/// A socket of our own that may be in the way of another one.
pub(super) struct Neighbour<'s> {
    /// Where it was bound.
    pub address: SocketAddr,
    /// The socket.
    pub socket: &'s Socket,
}

/// The socket that the process before had under that name, or a new one.
pub(super) fn obtain(
    name: &str,
    address: SocketAddr,
    v6_only: bool,
    own: &[Neighbour<'_>],
    fds: &Fds,
) -> io::Result<(Socket, Lease)> {
    if let Some((socket, lease)) = fds.inherit(name) {
        let socket = Socket::from(socket);
        // A port of 0 is any.
        let there = socket.local_addr()?.as_socket();
        let fits = (there == Some(address) || address.port() == 0)
            && socket.r#type()? == Type::DGRAM
            && socket.set_nonblocking(true).is_ok();
        if fits {
            return Ok((socket, lease));
        }
    }
    let socket = open(address, v6_only, own)?;
    let lease = fds.hold(name, &socket);
    Ok((socket, lease))
}

fn open(address: SocketAddr, v6_only: bool, own: &[Neighbour<'_>]) -> io::Result<Socket> {
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
        overlapping.iter().try_for_each(|b| b.socket.set_reuse_address(on))?;
        if overlapping.is_empty() { Ok(()) } else { socket.set_reuse_address(on) }
    };
    share(true)?;
    let bound = socket.bind(&address.into());
    share(false)?;
    bound?;
    Ok(socket)
}

/// True if the kernel would take one for the other.
pub(super) fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
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
