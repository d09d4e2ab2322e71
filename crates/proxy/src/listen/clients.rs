//! How many connections each client of a listener has.
//!
//! Shared by all workers, in parts with a lock each; asked when a connection comes and when it goes, never for a
//! request. A client that has none takes no room, so there are never more entries than connections.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Incarnation;

const PARTS: usize = 16;

/// Counts by client.
#[derive(Debug, Default)]
pub(crate) struct Clients([Mutex<HashMap<Client, u32>>; PARTS]);

/// A client as it is counted: an IPv4 address, or the /64 that an IPv6 host has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    V6(u64),
}

impl Client {
    fn of(ip: IpAddr) -> Client {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Client::V4(ip.into()),
            IpAddr::V6(ip) => Client::V6((u128::from(ip) >> 64) as u64),
        }
    }
}

/// A connection that is counted for its client.
#[derive(Debug)]
pub(crate) struct OfClient {
    client: Client,
    listener: Arc<Incarnation>,
}

impl OfClient {
    /// One more. With it, the client has so many.
    #[must_use]
    pub(crate) fn count(listener: &Arc<Incarnation>, ip: IpAddr) -> (OfClient, u32) {
        let client = Client::of(ip);
        let count = {
            let mut part = listener.clients.part(client);
            let count = part.entry(client).or_default();
            *count = count.saturating_add(1);
            *count
        };
        (OfClient { client, listener: listener.clone() }, count)
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        let mut part = self.listener.clients.part(self.client);
        if let Some(count) = part.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                part.remove(&self.client);
            }
        }
    }
}

impl Clients {
    fn part(&self, client: Client) -> MutexGuard<'_, HashMap<Client, u32>> {
        let bits = match client {
            Client::V4(ip) => u64::from(ip),
            Client::V6(net) => net,
        };
        let part = (bits ^ (bits >> 8) ^ (bits >> 16) ^ (bits >> 32)) as usize % PARTS;
        let [first, ..] = &self.0;
        self.0.get(part).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use evergate_contract::config::Carried;

    use super::*;

    #[test]
    fn clients_are_counted_apart_and_forgotten() {
        let listener = Arc::new(Incarnation::new("a".into(), String::new(), false, Carried::Http));
        let count = |ip: &str| OfClient::count(&listener, ip.parse().unwrap());
        let (one, first) = count("192.0.2.1");
        let (two, second) = count("::ffff:192.0.2.1");
        let (three, other) = count("192.0.2.2");
        assert_eq!((first, second, other), (1, 2, 1));
        let (four, net) = count("2001:db8::1");
        let (five, same_net) = count("2001:db8::ffff:1");
        let (six, other_net) = count("2001:db8:0:1::1");
        assert_eq!((net, same_net, other_net), (1, 2, 1));
        drop(one);
        assert_eq!(count("192.0.2.1").1, 2);
        drop((two, three, four, five, six));
        let left: usize = listener.clients.0.iter().map(|part| part.lock().unwrap().len()).sum();
        assert_eq!(left, 0);
    }
}
