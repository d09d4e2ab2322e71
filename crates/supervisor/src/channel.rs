//! Packets and descriptors between two processes: a pair of sockets that keep packets apart (`SOCK_SEQPACKET`).
//!
//! Whoever reads an end sees the other process's death as the end of the stream. Does not know what packets say.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::message::PACKET_MAX;

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A packet, and the descriptor that came along.
pub type Packet = (Vec<u8>, Option<OwnedFd>);

impl Channel {
    /// Two ends of one. Neither survives an `exec` unless it is passed on.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let kind = SocketType::SEQPACKET;
        let (one, other) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(one), Channel(other)))
    }

    /// The end that a process was started with.
    #[must_use]
    pub fn of(socket: OwnedFd) -> Channel {
        Channel(socket)
    }

    /// Gives the descriptor away.
    #[must_use]
    pub fn into_inner(self) -> OwnedFd {
        self.0
    }

    /// Sends a packet, and a descriptor with it. Waits for room.
    ///
    /// # Errors
    /// `BrokenPipe` or `ConnectionReset` if nobody is at the other end.
    pub fn send(&self, packet: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.send_with(packet, descriptor, SendFlags::NOSIGNAL)
    }

    /// As [`Channel::send`], but does not wait: who does not read must not hold up who writes.
    ///
    /// # Errors
    /// Also `WouldBlock`.
    pub fn try_send(&self, packet: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        self.send_with(packet, descriptor, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with(
        &self,
        packet: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        flags: SendFlags,
    ) -> io::Result<()> {
        let descriptors: &[BorrowedFd<'_>] = descriptor.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            along.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        loop {
            match sendmsg(&self.0, &[IoSlice::new(packet)], &mut along, flags) {
                Ok(_) => return Ok(()),
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next packet; `None` once nobody is at the other end. Waits for one.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn receive(&self) -> io::Result<Option<Packet>> {
        self.receive_with(RecvFlags::CMSG_CLOEXEC)
    }

    /// As [`Channel::receive`], without waiting.
    ///
    /// # Errors
    /// Also `WouldBlock`.
    pub fn try_receive(&self) -> io::Result<Option<Packet>> {
        self.receive_with(RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)
    }

    fn receive_with(&self, flags: RecvFlags) -> io::Result<Option<Packet>> {
        let mut packet = vec![0; PACKET_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut packet)], &mut along, flags) {
                Ok(received) => break received,
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(error) if error == rustix::io::Errno::CONNRESET => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let descriptor = along.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if received.bytes == 0 {
            return Ok(None);
        }
        packet.truncate(received.bytes);
        Ok(Some((packet, descriptor)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn packets_stay_apart_and_bring_descriptors() {
        let (here, there) = Channel::pair().unwrap();
        assert_eq!(there.try_receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (mut reader, writer) = std::io::pipe().unwrap();
        here.send(b"one", None).unwrap();
        here.send(b"two", Some(writer.as_fd())).unwrap();
        drop(writer);
        let (packet, nothing) = there.receive().unwrap().unwrap();
        assert_eq!((&packet[..], nothing.is_none()), (&b"one"[..], true));
        let (packet, descriptor) = there.receive().unwrap().unwrap();
        assert_eq!(packet, b"two");
        std::fs::File::from(descriptor.unwrap()).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_death_is_the_end() {
        let (here, there) = Channel::pair().unwrap();
        here.send(b"last", None).unwrap();
        drop(here);
        assert_eq!(there.receive().unwrap().unwrap().0, b"last");
        assert!(there.receive().unwrap().is_none());
        assert!(there.send(b"x", None).is_err());
    }

    #[test]
    fn who_does_not_read_holds_nobody_up() {
        let (here, _there) = Channel::pair().unwrap();
        let stuck = (0..100_000).find_map(|_| here.try_send(&[0; 1024], None).err());
        assert_eq!(stuck.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
