//! The sockets that a supervisor holds for its children, and whose word about them counts.
//!
//! Only the owner's does: what a child that is still beginning opens and closes is noted, and counts once it serves. If
//! it never does, its sockets close with the note.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use crate::core::ChildId;

/// Sockets by name.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    held: BTreeMap<String, OwnedFd>,
    owner: Option<ChildId>,
    noted: BTreeMap<ChildId, Vec<(String, Option<OwnedFd>)>>,
}

impl Sockets {
    /// With those that are there already.
    pub(crate) fn new(held: BTreeMap<String, OwnedFd>, owner: Option<ChildId>) -> Sockets {
        Sockets { held, owner, noted: BTreeMap::new() }
    }

    /// A child opened a socket, or (`None`) needs one no more.
    pub(crate) fn says(&mut self, child: ChildId, name: String, socket: Option<OwnedFd>) {
        if self.owner == Some(child) {
            self.set(name, socket);
        } else if self.owner.is_none_or(|owner| owner < child) {
            self.noted.entry(child).or_default().push((name, socket));
        }
    }

    /// From now on the word of this child counts.
    pub(crate) fn own(&mut self, child: ChildId) {
        self.owner = Some(child);
        for (name, socket) in self.noted.remove(&child).unwrap_or_default() {
            self.set(name, socket);
        }
    }

    /// What the child said and what did not count yet never will.
    pub(crate) fn forget(&mut self, child: ChildId) {
        self.noted.remove(&child);
    }

    /// All of them.
    pub(crate) fn held(&self) -> &BTreeMap<String, OwnedFd> {
        &self.held
    }

    /// Gives all of them away.
    pub(crate) fn take(&mut self) -> BTreeMap<String, OwnedFd> {
        std::mem::take(&mut self.held)
    }

    fn set(&mut self, name: String, socket: Option<OwnedFd>) {
        match socket {
            Some(socket) => drop(self.held.insert(name, socket)),
            None => drop(self.held.remove(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Option<OwnedFd> {
        Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap().into())
    }

    fn check(sockets: &Sockets, names: &[&str]) {
        assert_eq!(sockets.held().keys().collect::<Vec<_>>(), names);
    }

    #[test]
    fn only_the_owners_word_counts() {
        let mut sockets = Sockets::default();
        sockets.says(1, "a".into(), socket());
        check(&sockets, &[]);
        sockets.own(1);
        sockets.says(1, "b".into(), socket());
        check(&sockets, &["a", "b"]);
        // One that is to take over wants another socket, and not one of those.
        for (child, names) in [(2, &["a", "b"][..]), (3, &["b", "c"])] {
            sockets.says(child, "c".into(), socket());
            sockets.says(child, "a".into(), None);
            check(&sockets, &["a", "b"]);
            if child == 2 {
                sockets.forget(2);
            } else {
                sockets.own(3);
            }
            check(&sockets, names);
        }
        // Who was the owner before has no say.
        sockets.says(1, "b".into(), None);
        sockets.says(1, "d".into(), socket());
        check(&sockets, &["b", "c"]);
    }
}
