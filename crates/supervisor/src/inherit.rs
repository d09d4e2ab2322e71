//! Descriptors that a process was started with, by the convention of systemd (`sd_listen_fds(3)`): they begin at 3,
//! `LISTEN_FDS` says how many, `LISTEN_FDNAMES` what they are called, `LISTEN_PID` whom they are for.
//!
//! A supervisor starts its children the same way, and adds the end of a channel after them. Names of ours hold colons,
//! which the convention uses between names: they are escaped.

use std::{
    io,
    os::fd::{AsFd, FromRawFd, OwnedFd, RawFd},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{SocketType, getsockname, sockopt},
};

/// The first descriptor that is passed on.
pub(crate) const FIRST: RawFd = 3;
/// Says which descriptor is the channel to the supervisor.
pub(crate) const CHANNEL: &str = "EVERGATE_SUPERVISOR";
/// Most descriptors that are believed in.
const MOST: usize = 100_000;

/// A socket and its name.
pub type Named = (String, OwnedFd);

/// What a process was started with.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) sockets: Vec<Named>,
    pub(crate) channel: Option<OwnedFd>,
}

/// True if this process was started by a supervisor.
#[must_use]
pub fn is_child(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable(CHANNEL).is_some()
}

/// Takes what this process was started with. To be called once, before other descriptors are opened.
pub(crate) fn take(variable: impl Fn(&str) -> Option<String>) -> io::Result<Inherited> {
    let number = |name: &str| variable(name).and_then(|text| text.parse::<usize>().ok());
    let channel = number(CHANNEL).and_then(|n| RawFd::try_from(n).ok());
    let meant_for_us = channel.is_some() || number("LISTEN_PID") == usize::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|n| meant_for_us && *n <= MOST).unwrap_or(0);
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = Vec::with_capacity(count);
    for at in 0..count {
        let socket = adopt(FIRST + RawFd::try_from(at).unwrap_or(RawFd::MAX - FIRST))?;
        let given = names.next().unwrap_or_default();
        let name = if channel.is_some() { Some(unescape(given)) } else { name_of(&socket) };
        sockets.extend(name.map(|name| (name, socket)));
    }
    Ok(Inherited { sockets, channel: channel.map(adopt).transpose()? })
}

/// Makes a descriptor that this process was started with its own; programs that it starts do not get it.
#[expect(unsafe_code, reason = "a number is all that a process is told of what it inherits")]
fn adopt(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only asks whether the number is an open descriptor.
    let open = unsafe { std::os::fd::BorrowedFd::borrow_raw(raw) };
    fcntl_setfd(open, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and by the convention it is this process's: whoever started it gave it up. It is taken once,
    // before anything else is opened.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// What a socket that systemd opened is called here: by what it listens on.
fn name_of(socket: &impl AsFd) -> Option<String> {
    let kind = match sockopt::socket_type(socket).ok()? {
        SocketType::STREAM => "tcp",
        SocketType::DGRAM => "udp",
        _ => return None,
    };
    let address = getsockname(socket).ok()?;
    match std::net::SocketAddr::try_from(address.clone()) {
        Ok(address) => Some(format!("{kind} {address}")),
        Err(_) => {
            let unix = rustix::net::SocketAddrUnix::try_from(address).ok()?;
            Some(format!("unix {}", unix.path()?.to_str().ok()?))
        }
    }
}

/// A name without colons.
pub(crate) fn escape(name: &str) -> String {
    name.replace('%', "%25").replace(':', "%3A")
}

fn unescape(name: &str) -> String {
    name.replace("%3A", ":").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn names_survive_being_passed_on() {
        for name in ["tcp [::1]:80", "unix /a%3A:b", "udp 0.0.0.0:0 web"] {
            assert!(!escape(name).contains(':'));
            assert_eq!(unescape(&escape(name)), name);
        }
    }

    #[test]
    fn sockets_of_systemd_are_called_by_their_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("[::1]:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let unix = UnixListener::bind(&path).unwrap();
        assert_eq!(name_of(&tcp), Some(format!("tcp {}", tcp.local_addr().unwrap())));
        assert_eq!(name_of(&udp), Some(format!("udp {}", udp.local_addr().unwrap())));
        assert_eq!(name_of(&unix), Some(format!("unix {}", path.display())));
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        let for_another = |name: &str| match name {
            "LISTEN_FDS" => Some("2".to_owned()),
            "LISTEN_PID" => Some("1".to_owned()),
            _ => None,
        };
        let found = take(for_another).unwrap();
        assert!(found.sockets.is_empty() && found.channel.is_none());
    }
}
