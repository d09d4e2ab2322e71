//! A revision compiled into what requests use: immutable, shared by all workers, published by one pointer swap.
//!
//! Built from the one before it: parts whose configuration did not change are the very same `Arc`s. Building
//! from nothing gives a snapshot that behaves the same; only the cost differs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use evergate_contract::config::{Carried, Listener, Name};
use evergate_reload::{Generation, Holders, RevisionId};
use evergate_router::Table;
use evergate_tls::{Credential, ServerTls};
use evergate_upstream::Cluster;

use crate::{
    front::Front,
    listen::{Bound, Claim, Incarnation, Listening, UdpBound},
    onward::{ByName, Onward, UdpOnward},
    quic::Quic,
    route::Route,
};

/// Certificates by name. Those that stay are shared with the snapshot before.
pub(crate) type Credentials = evergate_conf::ByName<Arc<Credential>>;

/// What a request sees from its first byte to its last.
pub(crate) struct Snapshot {
    /// The revision that it was made from.
    pub revision: RevisionId,
    /// Which request goes where.
    pub table: Table<Route>,
    /// Listeners by name.
    pub listeners: HashMap<Name, Arc<Entrance>>,
    /// UDP sockets of listeners that speak HTTP/3.
    pub datagrams: Vec<Arc<UdpBound>>,
    /// Certificates by name.
    pub credentials: Credentials,
    /// Upstreams by their number; routes hold the numbers, so that a changed upstream does not touch its routes.
    pub clusters: Vec<Option<Arc<Cluster>>>,
    /// The numbers of the upstreams.
    pub numbers: Arc<HashMap<Name, usize>>,
    /// Threads that are to serve.
    pub workers: usize,
    /// What each worker holds this snapshot for.
    pub holds: Arc<Holds>,
    /// Tells the engine when the last holder of this snapshot is gone.
    pub _generation: Generation,
}

/// Counts holders of a snapshot: one counter for each worker, written by that worker alone.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<Vec<Arc<Hold>>>);

/// What one worker holds a snapshot for.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// Requests whose answer has no head so far.
    pub requests: AtomicU64,
    /// Connections that have such a request.
    pub connections: AtomicU64,
}

impl Holds {
    /// A counter for one more worker. Locks, but only when a worker takes the snapshot up.
    pub(crate) fn join(&self) -> Arc<Hold> {
        let hold = Arc::new(Hold::default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(hold.clone());
        hold
    }

    /// Of all workers together.
    pub(crate) fn sum(&self) -> Holders {
        let holds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all =
            |count: fn(&Hold) -> &AtomicU64| holds.iter().map(|h| count(h).load(Ordering::Relaxed)).sum();
        Holders { connections: all(|h| &h.connections), requests: all(|h| &h.requests), bytes: None }
    }
}

impl Snapshot {
    /// An upstream by its name.
    #[must_use]
    pub(crate) fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(*self.numbers.get(name)?)?.as_ref()
    }

    /// Whose connections those are that a socket accepts: of that listener, while it lasts, or of the one that has taken
    /// its place.
    #[must_use]
    pub(crate) fn owner(
        &self,
        incarnation: &Arc<Incarnation>,
        socket: &Arc<Listening>,
    ) -> Option<&Arc<Entrance>> {
        let same = self.listeners.get(&incarnation.name);
        let same = same.filter(|e| Arc::ptr_eq(&e.incarnation, incarnation));
        same.or_else(|| self.listeners.values().find(|e| e.bound.all().any(|s| Arc::ptr_eq(s, socket))))
    }
}

/// A listener with its settings compiled.
pub(crate) struct Entrance {
    /// The listener, for as long as its identity stays.
    pub incarnation: Arc<Incarnation>,
    /// Its sockets.
    pub bound: Arc<Bound>,
    /// Its settings.
    pub config: Arc<Listener>,
    /// Present: connections begin with this handshake.
    pub tls: Option<Arc<ServerTls>>,
    /// HTTP/1.1 may be spoken.
    pub http1: bool,
    /// HTTP/2 may be spoken.
    pub http2: bool,
    /// Present: HTTP/3 may be spoken.
    pub quic: Option<Quic>,
    /// What they carry.
    pub carries: Carried,
    /// Present: what comes is carried there.
    pub tcp: Option<Arc<Onward>>,
    /// Present: TLS that is passed on by names.
    pub passthrough: Option<ByName>,
    /// Present: it does something before routes.
    pub front: Option<Arc<Front>>,
    /// Present: datagrams are carried there.
    pub udp: Option<Arc<UdpOnward>>,
    /// The socket that they come to.
    pub mailbox: Option<Arc<Claim>>,
}

/// The place where a change's way and a request's way meet.
#[derive(Default)]
pub(crate) struct Published {
    snapshot: ArcSwapOption<Snapshot>,
    epoch: AtomicU64,
}

impl Published {
    /// Makes a snapshot the one that requests begin with from now on. Returns the one before.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        let before = self.snapshot.swap(Some(snapshot));
        self.epoch.fetch_add(1, Ordering::Release);
        before
    }

    /// Counts publications: a worker asks this at each request and looks further only when it has changed.
    #[must_use]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The newest snapshot; `None` before the first.
    #[must_use]
    pub(crate) fn load(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }
}
