//! Listening sockets: opened once for each place, closed when no revision names it.
//!
//! Workers share them, or have one each where the kernel is to deal connections out; either way a socket outlives
//! the workers, so nothing that waits in its accept queue is lost when they come and go. Knows nothing of what is
//! spoken on a connection.

mod acceptor;
mod bound;
mod clients;
mod datagrams;
mod incarnation;
mod mailbox;
mod peer;
mod socket;
mod udp;

pub(crate) use acceptor::{Acceptor, accept_now};
pub(crate) use bound::{Bound, Opening, Places};
pub(crate) use clients::OfClient;
pub(crate) use datagrams::{Datagrams, Pair};
pub(crate) use incarnation::{Admitted, Incarnation};
pub(crate) use mailbox::{Claim, Mailbox, Mailboxes};
pub(crate) use peer::Peer;
pub(crate) use socket::Listening;
pub(crate) use udp::UdpBound;
