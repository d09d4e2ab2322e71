//! Datagrams of a listener's socket: whence each came, and to which of our addresses.
//!
//! An answer has to leave from the address that was written to: on a socket that takes datagrams for any address, the
//! kernel is asked for it with each one and told it with each answer (`IP_PKTINFO`, RFC 3542 §6).

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
    sync::Arc,
};

use nix::{
    cmsg_space,
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
    },
};
use tokio::{io::Interest, net::UdpSocket};

use super::Mailbox;

/// A worker's own handle on a UDP socket.
pub(crate) struct Datagrams {
    socket: UdpSocket,
    /// The socket is for any address of the machine.
    any: bool,
    mailbox: Arc<Mailbox>,
}

/// Two who write to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    /// Who wrote.
    pub client: SocketAddr,
    /// To which address, where the socket alone does not say it; with its interface where the address needs one.
    ours: Option<(IpAddr, u32)>,
}

impl Datagrams {
    /// For the worker of this thread.
    pub(crate) fn new(mailbox: &Arc<Mailbox>) -> io::Result<Datagrams> {
        let socket = mailbox.begin_use()?;
        let opened = Datagrams::open(socket, mailbox);
        if opened.is_err() {
            mailbox.used();
        }
        opened
    }

    fn open(socket: std::net::UdpSocket, mailbox: &Arc<Mailbox>) -> io::Result<Datagrams> {
        let any = mailbox.address.ip().is_unspecified();
        if any && mailbox.address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else if any {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Datagrams { socket: UdpSocket::from_std(socket)?, any, mailbox: mailbox.clone() })
    }

    /// The next datagram. Nothing is lost if this is dropped before it is ready.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Pair)> {
        self.socket.async_io(Interest::READABLE, || self.receive_now(buffer)).await
    }

    /// The next datagram, if one is there.
    pub(crate) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<(usize, Pair)> {
        let mut space = cmsg_space!(in6_pktinfo);
        let mut slices = [IoSliceMut::new(buffer)];
        let control = self.any.then_some(&mut space[..]);
        let fd = self.socket.as_raw_fd();
        let got = recvmsg::<SockaddrStorage>(fd, &mut slices, control, MsgFlags::empty())?;
        let client = got.address.as_ref().and_then(std_address).ok_or(io::ErrorKind::InvalidData)?;
        let ours = if self.any { got.cmsgs()?.find_map(|message| written_to(&message)) } else { None };
        Ok((got.bytes, Pair { client, ours }))
    }

    /// Sends an answer; one that the kernel has no room for is dropped.
    pub(crate) fn answer(&self, pair: Pair, datagram: &[u8]) -> io::Result<()> {
        let (to, slices) = (SockaddrStorage::from(pair.client), [IoSlice::new(datagram)]);
        let fd = self.socket.as_raw_fd();
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(fd, &slices, control, MsgFlags::MSG_DONTWAIT, Some(&to))?;
            Ok(())
        };
        match pair.ours {
            None => send(&[]),
            Some((IpAddr::V4(ip), interface)) => {
                let from = in_pktinfo {
                    ipi_ifindex: i32::try_from(interface).unwrap_or(0),
                    ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: in_addr { s_addr: 0 },
                };
                send(&[ControlMessage::Ipv4PacketInfo(&from)])
            }
            Some((IpAddr::V6(ip), interface)) => {
                let from =
                    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: interface };
                send(&[ControlMessage::Ipv6PacketInfo(&from)])
            }
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.mailbox.used();
    }
}

fn std_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|a| SocketAddr::V4((*a).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| SocketAddr::V6((*a).into())))
}

fn written_to(message: &ControlMessageOwned) -> Option<(IpAddr, u32)> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            // For a broadcast this is our own address, and the other one is not.
            Some((Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into(), 0))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            Some((ip.into(), interface))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use evergate_contract::config::Place;
    use evergate_kit::Fds;

    use super::*;
    use crate::listen::Mailboxes;

    /// What a client hears, who writes to that address of a socket at another one.
    async fn check(asked: &str, to: IpAddr, from: &str) {
        let place = Place { address: asked.parse().unwrap(), v6_only: false };
        let claim = Mailboxes::default().claim(&place, "a", &Fds::default()).unwrap();
        let port = claim.mailbox().address.port();
        let socket = Datagrams::new(claim.mailbox()).unwrap();
        let client = UdpSocket::bind(from).await.unwrap();
        client.send_to(b"hello", (to, port)).await.unwrap();
        let mut buffer = [0; 100];
        let (n, pair) = socket.receive(&mut buffer).await.unwrap();
        assert_eq!(buffer.get(..n), Some(&b"hello"[..]));
        for given_up in [false, true] {
            assert_eq!(given_up, given_up && claim.give_up());
            socket.answer(pair, b"and back").unwrap();
            let (n, whence) = client.recv_from(&mut buffer).await.unwrap();
            assert_eq!((buffer.get(..n), whence), (Some(&b"and back"[..]), SocketAddr::new(to, port)));
        }
    }

    #[test]
    fn answers_come_from_where_the_question_went() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ip = |text: &str| text.parse().unwrap();
            check("127.0.0.1:0", ip("127.0.0.1"), "127.0.0.1:0").await;
            check("0.0.0.0:0", ip("127.0.0.1"), "127.0.0.1:0").await;
            check("0.0.0.0:0", ip("127.0.0.7"), "127.0.0.1:0").await;
            check("[::]:0", ip("127.0.0.9"), "127.0.0.1:0").await;
            check("[::]:0", ip("::1"), "[::1]:0").await;
        });
    }
}
