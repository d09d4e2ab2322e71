//! Where a listener forwards connections to, by itself or by the name that a client asks for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use evergate_contract::config::{Name, Tcp, Udp};

use crate::share::Share;

/// A way to upstreams.
#[derive(Debug)]
pub(crate) struct Onward {
    /// The upstreams.
    pub to: Share<Name>,
    /// Until there is a connection.
    pub connect: Duration,
    /// A connection is closed after so long a silence.
    pub idle: Duration,
}

impl Onward {
    /// As the document says.
    #[must_use]
    pub(crate) fn new(tcp: &Tcp) -> Arc<Onward> {
        let to = Share::new(&tcp.forward, Name::clone);
        Arc::new(Onward { to, connect: *tcp.connect, idle: *tcp.idle })
    }
}

/// A way for datagrams.
#[derive(Debug)]
pub(crate) struct UdpOnward {
    /// The upstreams.
    pub to: Share<Name>,
    /// A client is forgotten after so long a silence.
    pub idle: Duration,
    /// Clients at once.
    pub sessions: u32,
}

impl UdpOnward {
    /// As the document says.
    #[must_use]
    pub(crate) fn new(udp: &Udp) -> Arc<UdpOnward> {
        let to = Share::new(&udp.forward, Name::clone);
        Arc::new(UdpOnward { to, idle: *udp.idle, sessions: udp.sessions })
    }
}

/// Ways by the name that a client asks for.
#[derive(Debug)]
pub(crate) struct ByName {
    exact: HashMap<Box<str>, Arc<Onward>>,
    /// By the name without `*.`.
    wildcard: HashMap<Box<str>, Arc<Onward>>,
}

impl ByName {
    /// As the document says; `None` if it names none.
    #[must_use]
    pub(crate) fn new(names: &BTreeMap<String, Tcp>) -> Option<ByName> {
        let mut all = ByName { exact: HashMap::new(), wildcard: HashMap::new() };
        for (name, tcp) in names {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(parent) => all.wildcard.insert(parent.into(), Onward::new(tcp)),
                None => all.exact.insert(name.into(), Onward::new(tcp)),
            };
        }
        (!names.is_empty()).then_some(all)
    }

    /// The way for a name in lower case: the exact one, then the longest of those with a wildcard.
    #[must_use]
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Onward>> {
        let parents = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
        self.exact.get(name).or_else(|| parents.into_iter().find_map(|parent| self.wildcard.get(parent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_beats_wildcard_and_the_longest_wins() {
        let names = ["db.example.com", "*.example.com", "*.a.example.com", "*.COM"];
        let spans = (1..).map(Duration::from_secs);
        let names = names.iter().zip(spans).map(|(name, idle)| {
            ((*name).to_owned(), Tcp { idle: evergate_conf::Span(idle), ..Tcp::to("u") })
        });
        let names = ByName::new(&names.collect()).unwrap();
        let check = |name: &str, expected: Option<u64>| {
            assert_eq!(names.find(name).map(|onward| onward.idle.as_secs()), expected, "{name}");
        };
        check("db.example.com", Some(1));
        check("x.example.com", Some(2));
        check("x.y.example.com", Some(2));
        check("a.example.com", Some(2));
        check("x.a.example.com", Some(3));
        check("example.com", Some(4));
        check("com", None);
        check("example.org", None);
        assert!(ByName::new(&BTreeMap::new()).is_none());
    }
}
