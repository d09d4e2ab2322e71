//! Listening sockets by name, as one process leaves them to the next.
//!
//! A process that is started in place of another finds its predecessor's sockets here, and says here which it opened
//! and closed, so that somebody outside (a [`Keeper`]) can hold them open when the process dies: what waits in an
//! accept queue then waits for the successor. Knows nothing of what is spoken on a socket, nor how descriptors travel.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Holds duplicates of a process's sockets outside of it.
pub trait Keeper: Send + Sync {
    /// The process listens on this one under that name; it replaces one of the same name.
    fn keep(&self, name: &str, socket: BorrowedFd<'_>);
    /// The process needs it no more.
    fn let_go(&self, name: &str);
}

/// The sockets of this process. Clones are the same ones. For those who open and close sockets, not for requests.
#[derive(Clone, Default)]
pub struct Fds(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    keeper: Option<Arc<dyn Keeper>>,
}

#[derive(Default)]
struct Table {
    /// From the process before, until [`Fds::settle`]: a first attempt to start may fail, and a second one needs them too.
    inherited: HashMap<String, OwnedFd>,
    /// The newest lease of each name.
    leases: HashMap<String, u64>,
    next: u64,
    left: bool,
}

/// A socket that is in use. Its drop says that it is not any more.
#[derive(Debug)]
pub struct Lease {
    fds: Fds,
    name: String,
    number: u64,
}

/// The name of a TCP listener's socket. Where the port is 0, the address says too little: `who` is part of it.
#[must_use]
pub fn tcp(address: SocketAddr, who: &str) -> String {
    ip("tcp", address, who)
}

/// The name of a UDP socket, as [`tcp`].
#[must_use]
pub fn udp(address: SocketAddr, who: &str) -> String {
    ip("udp", address, who)
}

/// The name of a Unix socket.
#[must_use]
pub fn unix(path: &Path) -> String {
    format!("unix {}", path.display())
}

fn ip(kind: &str, address: SocketAddr, who: &str) -> String {
    match address.port() {
        0 => format!("{kind} {address} {who}"),
        _ => format!("{kind} {address}"),
    }
}

impl Fds {
    /// With the sockets of the process before, and who is to hold this one's.
    #[must_use]
    pub fn new(inherited: Vec<(String, OwnedFd)>, keeper: Option<Arc<dyn Keeper>>) -> Fds {
        let table = Table { inherited: inherited.into_iter().collect(), ..Table::default() };
        Fds(Arc::new(Shared { table: Mutex::new(table), keeper }))
    }

    /// Names of what the process before left, and nobody has said yet to be without use.
    #[must_use]
    pub fn inherited(&self) -> Vec<String> {
        self.table().inherited.keys().cloned().collect()
    }

    /// A duplicate of the socket that the process before had under this name.
    #[must_use]
    pub fn inherit(&self, name: &str) -> Option<(OwnedFd, Lease)> {
        let mut table = self.table();
        let socket = table.inherited.get(name)?.try_clone().ok()?;
        let number = table.lease(name);
        Some((socket, Lease { fds: self.clone(), name: name.to_owned(), number }))
    }

    /// Says that this process listens on a socket that it opened.
    #[must_use]
    pub fn hold(&self, name: &str, socket: &impl AsFd) -> Lease {
        let number = self.table().lease(name);
        if let Some(keeper) = &self.0.keeper {
            keeper.keep(name, socket.as_fd());
        }
        Lease { fds: self.clone(), name: name.to_owned(), number }
    }

    /// The process runs: what it did not take of what was left is closed. What waits in such a queue is refused, as it is
    /// when a running process stops to listen.
    pub fn settle(&self) {
        let mut table = self.table();
        let inherited = std::mem::take(&mut table.inherited);
        let unused: Vec<String> =
            inherited.into_keys().filter(|name| !table.leases.contains_key(name)).collect();
        drop(table);
        unused.iter().for_each(|name| self.let_go(name));
    }

    /// Another process has taken over: from now on it says what is open, and files that belong to sockets are its own.
    pub fn leave(&self) {
        self.table().left = true;
    }

    /// The opposite of [`Fds::leave`]: the other process is gone.
    pub fn stay(&self) {
        self.table().left = false;
    }

    /// True once another process has taken over.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.table().left
    }

    fn let_go(&self, name: &str) {
        if let Some(keeper) = &self.0.keeper {
            keeper.let_go(name);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn lease(&mut self, name: &str) -> u64 {
        self.next += 1;
        self.leases.insert(name.to_owned(), self.next);
        self.next
    }
}

impl Lease {
    /// False once another process has taken over: then the socket's file, say, is not ours to remove.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !self.fds.has_left()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut table = self.fds.table();
        if table.leases.get(&self.name) != Some(&self.number) {
            return;
        }
        table.leases.remove(&self.name);
        let still_needed = table.left || table.inherited.contains_key(&self.name);
        drop(table);
        if !still_needed {
            self.fds.let_go(&self.name);
        }
    }
}

impl fmt::Debug for Fds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        f.debug_struct("Fds")
            .field("inherited", &table.inherited.keys())
            .field("leases", &table.leases.keys())
            .field("left", &table.left)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Keeper for Notes {
        fn keep(&self, name: &str, _: BorrowedFd<'_>) {
            self.0.lock().unwrap().push(format!("keep {name}"));
        }
        fn let_go(&self, name: &str) {
            self.0.lock().unwrap().push(format!("let go {name}"));
        }
    }

    fn socket() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    fn check(inherited: &[&str], act: impl FnOnce(&Fds), expected: &[&str]) {
        let notes = Arc::new(Notes::default());
        let inherited = inherited.iter().map(|n| ((*n).to_owned(), socket().into())).collect();
        let fds = Fds::new(inherited, Some(notes.clone()));
        act(&fds);
        assert_eq!(*notes.0.lock().unwrap(), expected);
    }

    #[test]
    fn says_what_is_open() {
        check(&[], |fds| drop(fds.hold("a", &socket())), &["keep a", "let go a"]);
        // The newer socket of a name is the one that is kept.
        let replaced = |fds: &Fds| {
            let old = fds.hold("a", &socket());
            let new = fds.hold("a", &socket());
            drop(old);
            std::mem::forget(new);
        };
        check(&[], replaced, &["keep a", "keep a"]);
    }

    #[test]
    fn what_was_left_can_be_taken_again_until_the_process_runs() {
        let failed_start = |fds: &Fds| {
            drop(fds.inherit("a").unwrap());
            let (_, lease) = fds.inherit("a").unwrap();
            assert!(fds.inherit("c").is_none());
            fds.settle();
            assert!(fds.inherit("a").is_none() && fds.inherited().is_empty());
            drop(lease);
        };
        check(&["a", "b"], failed_start, &["let go b", "let go a"]);
    }

    #[test]
    fn who_has_left_lets_nothing_go() {
        let left = |fds: &Fds| {
            let lease = fds.hold("a", &socket());
            assert!(lease.is_ours());
            fds.leave();
            assert!(!lease.is_ours());
        };
        check(&[], left, &["keep a"]);
    }

    #[test]
    fn names_say_what_is_listened_on() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(tcp(at("0.0.0.0:80"), "web"), "tcp 0.0.0.0:80");
        assert_eq!(udp(at("[::]:0"), "web"), "udp [::]:0 web");
        assert_eq!(unix(Path::new("/run/a")), "unix /run/a");
    }
}
