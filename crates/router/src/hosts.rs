//! Hosts by name: what a rule writes, what a request asks for, and the maps between.

use std::{borrow::Cow, hash::Hasher, net::Ipv6Addr, sync::Arc};

use hashbrown::{HashTable, hash_table::Entry};

use crate::short::Short;

/// A host of a rule, in its one form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum HostKey {
    /// That name or address.
    Exact(Box<str>),
    /// One or more labels in front of that name.
    Wildcard(Box<str>),
    /// Any, and none.
    Any,
}

impl HostKey {
    pub(crate) fn new(host: &str) -> HostKey {
        match host.strip_prefix("*.") {
            Some(suffix) => HostKey::Wildcard(suffix.to_ascii_lowercase().into()),
            None => HostKey::Exact(canonical(host).into()),
        }
    }
}

/// The host of a request as rules are found by it: lower-case, without port and the dot of the root. Borrowed if it
/// was so already.
#[must_use]
pub fn canonical(authority: &str) -> Cow<'_, str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let ip = rest.split(']').next().unwrap_or(rest);
        // An address has many texts; one that is none matches nothing.
        return Cow::Owned(ip.parse::<Ipv6Addr>().map_or_else(|_| rest.to_owned(), |ip| format!("[{ip}]")));
    }
    let host = authority.split(':').next().unwrap_or(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The names that a wildcard may stand before, longest first: of `a.b.c` these are `b.c` and `c`.
pub(crate) fn parents(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').filter(|(at, _)| *at > 0).filter_map(|(at, _)| host.get(at + 1..))
}

/// Shards of a map, a power of two: a change copies one of them and shares the others.
const SHARDS: usize = 256;

/// Values by host. A copy shares all; a change of the copy costs one shard.
pub(crate) struct Hosts<V> {
    shards: Vec<Arc<Shard<V>>>,
    len: usize,
}

type Shard<V> = HashTable<Named<V>>;

/// A name and its value lie side by side in the table itself, and are together no longer than a line of the processor's cache if
/// the value is small. Aligned to one they would be worth less than what the allocator loses by that.
#[derive(Clone)]
struct Named<V> {
    name: Short,
    value: V,
}

impl<V> Named<V> {
    fn is(&self, host: &str) -> bool {
        self.name.bytes() == host.as_bytes()
    }
}

impl<V: Clone> Hosts<V> {
    pub(crate) fn new() -> Hosts<V> {
        Hosts { shards: vec![Arc::default(); SHARDS], len: 0 }
    }

    pub(crate) fn get(&self, host: &str) -> Option<&V> {
        // A table without wildcards, say, costs nothing to ask.
        if self.len == 0 {
            return None;
        }
        let hash = hash_of(host.as_bytes());
        let found = self.shards.get(shard_of(hash))?.find(hash, |named| named.is(host));
        found.map(|named| &named.value)
    }

    pub(crate) fn insert(&mut self, host: &str, value: V) {
        let hash = hash_of(host.as_bytes());
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else { return };
        match Arc::make_mut(shard).entry(hash, |named| named.is(host), |named| hash_of(named.name.bytes())) {
            Entry::Occupied(mut entry) => entry.get_mut().value = value,
            Entry::Vacant(entry) => {
                entry.insert(Named { name: Short::new(host), value });
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, host: &str) {
        if self.get(host).is_none() {
            return;
        }
        let hash = hash_of(host.as_bytes());
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else { return };
        if let Ok(entry) = Arc::make_mut(shard).find_entry(hash, |named| named.is(host)) {
            entry.remove();
            self.len -= 1;
        }
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        let all = self.shards.iter().flat_map(|shard| shard.iter());
        all.map(|named| (std::str::from_utf8(named.name.bytes()).unwrap_or_default(), &named.value))
    }
}

impl<V> Clone for Hosts<V> {
    fn clone(&self) -> Hosts<V> {
        Hosts { shards: self.shards.clone(), len: self.len }
    }
}

fn hash_of(host: &[u8]) -> u64 {
    let mut hasher = Fnv::default();
    hasher.write(host);
    hasher.finish()
}

fn shard_of(hash: u64) -> usize {
    // Not the bits by which the table within chooses its slots.
    usize::try_from(hash >> 24 & (SHARDS as u64 - 1)).unwrap_or(0)
}

/// FNV-1a with a final mix: quick for short texts. The keys come from the document, so that nobody outside can make
/// them collide.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        (self.0 ^ self.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_requests() {
        for (authority, expected) in [
            ("example.com", "example.com"),
            ("Example.COM:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[FE80::A]", "[fe80::a]"),
            ("[x]", "x]"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(canonical(authority), expected);
        }
        assert!(matches!(canonical("a.b:80"), Cow::Borrowed("a.b")));
    }

    #[test]
    fn names_above() {
        for (host, expected) in
            [("a.b.c", vec!["b.c", "c"]), ("a", vec![]), (".a.b", vec!["b"]), ("a.", vec![""]), ("", vec![])]
        {
            assert_eq!(parents(host).collect::<Vec<_>>(), expected, "{host}");
        }
    }

    #[test]
    fn what_a_request_asks_for_is_one_line() {
        // A value as those of a gateway: a number and a pointer.
        assert_eq!(size_of::<Named<crate::host::HostRules<(u32, Arc<()>)>>>(), 64);
    }

    #[test]
    fn a_change_of_a_copy_is_its_own() {
        let mut first = Hosts::new();
        for i in 0..1000 {
            first.insert(&format!("h{i}"), i);
        }
        let mut second = first.clone();
        second.insert("h7", -7);
        second.remove("h8");
        second.remove("h8");
        assert_eq!((first.get("h7"), first.get("h8"), first.len), (Some(&7), Some(&8), 1000));
        assert_eq!((second.get("h7"), second.get("h8"), second.len), (Some(&-7), None, 999));
        let shared = first.shards.iter().zip(&second.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert!(shared >= SHARDS - 2, "{shared}");
        assert!(first.shards.iter().all(|shard| shard.len() < 30), "unevenly spread");
    }
}
