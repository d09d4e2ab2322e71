//! UDP sockets of listeners that carry datagrams.
//!
//! A socket is wanted while a listener has a [`Claim`] to it. Afterwards it takes nothing more from anybody, as if it were
//! closed, but stays bound for as long as somebody still answers by it: answers have to come from the address that
//! was written to. A listener that comes back meanwhile takes it up again.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use evergate_contract::config::Place;
use evergate_kit::{
    Fds,
    fds::{self, Lease},
};
use socket2::Socket;

use super::udp::{Neighbour, obtain, overlaps};

/// A socket that datagrams come to.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Where it is bound: a port of 0 in the document is a real one here.
    pub address: SocketAddr,
    place: Place,
    name: String,
    fds: Fds,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Until nobody wants or uses it.
    socket: Option<Arc<Socket>>,
    /// While it is wanted.
    lease: Option<Lease>,
    claims: usize,
    uses: usize,
    /// It is connected to itself: hears nobody else, and the kernel tells clients that nobody is there.
    deaf: bool,
}

/// A listener's wish for a socket, until dropped or given up.
#[derive(Debug)]
pub(crate) struct Claim {
    mailbox: Arc<Mailbox>,
    given_up: AtomicBool,
}

/// Sockets that are open.
#[derive(Default)]
pub(crate) struct Mailboxes(Mutex<Vec<Weak<Mailbox>>>);

impl Mailboxes {
    /// The socket of the listener `who` at a place: one that is open there, the one that the process before had, or a
    /// new one.
    pub(crate) fn claim(&self, place: &Place, who: &str, fds: &Fds) -> io::Result<Arc<Claim>> {
        let asked = place.address.ip().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|mailbox| mailbox.strong_count() > 0);
        let open: Vec<Arc<Mailbox>> = known.iter().filter_map(Weak::upgrade).collect();
        let here = open.iter().filter(|mailbox| mailbox.place == *place && asked.port() != 0);
        for mailbox in here {
            if let Some(claim) = mailbox.claim()? {
                return Ok(claim);
            }
        }
        let sockets: Vec<_> =
            open.iter().filter_map(|m| Some((m.address, m.state().socket.clone()?))).collect();
        let own: Vec<_> =
            sockets.iter().map(|(address, socket)| Neighbour { address: *address, socket }).collect();
        let name = fds::udp(asked, who);
        let (socket, lease) = obtain(&name, asked, place.v6_only, &own, fds)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(asked);
        let mut state =
            State { socket: Some(Arc::new(socket)), lease: Some(lease), claims: 1, uses: 0, deaf: false };
        if own.iter().any(|other| overlaps(address, other.address)) {
            // Until the listener is there, the other one has what comes.
            state.deafen(address)?;
        }
        let (place, fds) = (place.clone(), fds.clone());
        let mailbox = Arc::new(Mailbox { address, place, name, fds, state: Mutex::new(state) });
        known.push(Arc::downgrade(&mailbox));
        Ok(Arc::new(Claim { mailbox, given_up: AtomicBool::new(false) }))
    }
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants it too, if it is still open.
    fn claim(self: &Arc<Mailbox>) -> io::Result<Option<Arc<Claim>>> {
        let mut state = self.state();
        let Some(socket) = state.socket.clone() else { return Ok(None) };
        if state.claims == 0 {
            state.lease = Some(self.fds.hold(&self.name, &*socket));
        }
        state.claims += 1;
        drop(state);
        Ok(Some(Arc::new(Claim { mailbox: self.clone(), given_up: AtomicBool::new(false) })))
    }

    /// The same socket for who reads from it or answers by it, and says so by [`Mailbox::used`] in the end.
    pub(super) fn begin_use(&self) -> io::Result<UdpSocket> {
        let mut state = self.state();
        let socket = state.socket.clone().filter(|_| state.claims > 0).ok_or(io::ErrorKind::NotConnected)?;
        let own = socket.try_clone()?;
        state.hear()?;
        state.uses += 1;
        Ok(own.into())
    }

    /// Takes what comes, though nobody may read it yet: its listener is published.
    pub(crate) fn hear(&self) {
        let mut state = self.state();
        if state.claims > 0
            && let Err(error) = state.hear()
        {
            // Whoever reads from it tries again.
            tracing::debug!(address = %self.address, %error, "a socket takes no datagrams yet");
        }
    }

    /// The end of one use.
    pub(super) fn used(&self) {
        let mut state = self.state();
        state.uses -= 1;
        self.look(&mut state);
    }

    /// Closes the socket if it is good for nothing any more, or takes no more datagrams by it.
    fn look(&self, state: &mut State) {
        if state.claims > 0 {
            return;
        }
        state.lease = None;
        if state.uses == 0 {
            state.socket = None;
        } else if let Err(error) = state.deafen(self.address) {
            tracing::debug!(address = %self.address, %error, "a socket that nobody reads still takes datagrams");
        }
    }
}

impl State {
    /// Others at an address that overlaps get what comes from now on.
    fn deafen(&mut self, address: SocketAddr) -> io::Result<()> {
        if let Some(socket) = self.socket.as_ref().filter(|_| !self.deaf) {
            socket.connect(&itself(address).into())?;
            self.deaf = true;
        }
        Ok(())
    }

    /// The other way round.
    fn hear(&mut self) -> io::Result<()> {
        if let Some(socket) = self.socket.as_ref().filter(|_| self.deaf) {
            rustix::net::connect_unspec(&**socket)?;
            self.deaf = false;
        }
        Ok(())
    }
}

fn itself(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

impl Claim {
    /// The socket.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// The listener is over. True if no other one has the socket: what waits there is for the one that gives it up.
    pub(crate) fn give_up(&self) -> bool {
        let mut state = self.mailbox.state();
        if !self.given_up.swap(true, Ordering::Relaxed) {
            state.claims -= 1;
            self.mailbox.look(&mut state);
        }
        state.claims == 0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str) -> Place {
        Place { address: address.parse().unwrap(), v6_only: false }
    }

    /// Whether a datagram from a stranger is taken there.
    fn takes(socket: &UdpSocket, port: u16) -> bool {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"hello", ("127.0.0.1", port)).unwrap();
        let mut buffer = [0; 9];
        // On loopback it is there when the call returns.
        socket.recv_from(&mut buffer).is_ok()
    }

    #[test]
    fn a_socket_that_nobody_wants_answers_and_takes_nothing_until_it_is_wanted_again() {
        for ip in ["127.0.0.1", "0.0.0.0", "[::]"] {
            let (all, fds) = (Mailboxes::default(), Fds::default());
            let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
            let place = place(&format!("{ip}:{port}"));
            let one = all.claim(&place, "a", &fds).unwrap();
            let two = all.claim(&place, "b", &fds).unwrap();
            assert!(Arc::ptr_eq(one.mailbox(), two.mailbox()));
            let socket = one.mailbox().begin_use().unwrap();
            assert!(takes(&socket, port) && !one.give_up() && takes(&socket, port), "{ip}");
            assert!(two.give_up() && two.give_up() && !takes(&socket, port), "{ip}");
            let again = all.claim(&place, "c", &fds).unwrap();
            assert!(Arc::ptr_eq(again.mailbox(), one.mailbox()) && !takes(&socket, port), "{ip}");
            again.mailbox().hear();
            assert!(takes(&socket, port), "{ip}: before anybody reads from it anew");
            let reader = again.mailbox().begin_use().unwrap();
            assert!(takes(&reader, port), "{ip}: once it is read from");
            drop(again);
            one.mailbox().used();
            assert!(!takes(&socket, port), "{ip}");
            // What overlaps has what comes now.
            let other = if ip == "127.0.0.1" { "0.0.0.0" } else { "127.0.0.1" };
            let wide = all.claim(&self::place(&format!("{other}:{port}")), "d", &fds).unwrap();
            let reader = wide.mailbox().begin_use().unwrap();
            assert!(takes(&reader, port) && !takes(&socket, port), "{ip}");
            while reader.recv_from(&mut [0; 9]).is_ok() {}
            // And what will perhaps never be has nothing.
            let narrow = all.claim(&self::place(&format!("127.0.0.3:{port}")), "e", &fds).unwrap();
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"hello", ("127.0.0.3", port)).unwrap();
            let taken = reader.recv_from(&mut [0; 9]).is_ok();
            assert_eq!(taken, wide.mailbox().address.ip().is_unspecified(), "{ip}");
            drop(narrow);
            drop(socket);
            one.mailbox().used();
            assert!(one.mailbox().begin_use().is_err(), "closed");
        }
    }

    #[test]
    fn a_listener_that_never_was_leaves_no_socket() {
        let (all, fds) = (Mailboxes::default(), Fds::default());
        let claim = all.claim(&place("127.0.0.1:0"), "a", &fds).unwrap();
        let address = claim.mailbox().address;
        assert!(UdpSocket::bind(address).is_err());
        drop(claim);
        assert!(UdpSocket::bind(address).is_ok());
    }
}
