//! A listener while its identity lasts, and the connections that it took.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use evergate_contract::config::{Carried, Name};

use super::clients::Clients;

/// A listener from when it appears in the document to when its name, address, kind of security, or what it carries
/// changes. Connections belong to one; when it is over, they finish what they do and are closed politely.
#[derive(Debug)]
pub(crate) struct Incarnation {
    /// Name of the listener.
    pub name: Name,
    /// Where it really is, for people.
    pub actual: String,
    /// Whether connections begin with TLS.
    pub tls: bool,
    /// What they carry.
    pub carries: Carried,
    /// Connections of each client.
    pub clients: Clients,
    over: AtomicBool,
    connections: AtomicU64,
}

impl Incarnation {
    /// A new one.
    #[must_use]
    pub(crate) fn new(name: Name, actual: String, tls: bool, carries: Carried) -> Incarnation {
        let (over, connections) = (AtomicBool::new(false), AtomicU64::new(0));
        Incarnation { name, actual, tls, carries, clients: Clients::default(), over, connections }
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

    #[test]
    fn connections_are_counted_and_bounded() {
        let listener = Arc::new(Incarnation::new("a".into(), String::new(), false, Carried::Http));
        let first = listener.admit(Some(1));
        assert!(first.is_some() && listener.admit(Some(1)).is_none());
        assert_eq!(listener.connections(), 1);
        drop(first);
        assert!(listener.admit(Some(1)).is_some());
    }
}
