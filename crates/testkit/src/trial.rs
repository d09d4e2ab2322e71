//! The promises that a gateway is measured by, as procedures: the tests run them small and assert, the bench runs
//! them whole and prints.

pub mod broken;
pub mod changes;
pub mod crash;
pub mod deaths;
pub mod queue;
pub mod upgrades;
pub mod websockets;
pub mod workers;

use std::time::Duration;

use crate::{
    Ask, Authority, Door,
    load::{Client, Manner},
};

/// A crowd's doors: clear text and TLS.
pub struct Doors {
    /// HTTP/1.1 in clear text; HTTP/2 on the same port.
    pub clear: Door,
    /// HTTP/1.1 over TLS; HTTP/2 on the same port.
    pub tls: Door,
}

impl Doors {
    /// To two listeners, the second with a certificate of this authority for `test.local`.
    #[must_use]
    pub fn new(clear: std::net::SocketAddr, tls: std::net::SocketAddr, authority: &Authority) -> Doors {
        let config = authority.client(&["http/1.1"]);
        Doors { clear: Door::clear(clear), tls: Door::tls(tls, config, "test.local") }
    }

    /// So many clients, of which a fifth open a connection for each request; both protocols, with and
    /// without TLS.
    #[must_use]
    pub fn crowd(&self, count: usize, ask: &Ask, pause: Duration) -> Vec<Client> {
        let client = |n: usize| {
            let manner = if n % 5 == 4 { Manner::PerRequest } else { Manner::KeepAlive };
            // Counted in fives, so that every way of connecting meets both manners.
            let door = if (n / 5).is_multiple_of(2) || n % 5 < 2 { &self.clear } else { &self.tls };
            let door = if n.is_multiple_of(2) { door.clone() } else { door.clone().h2() };
            Client { pause, ..Client::new(door, manner, ask.clone()) }
        };
        (0..count).map(client).collect()
    }
}
