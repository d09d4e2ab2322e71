//! What one worker keeps of its own: connections and turns. They outlive snapshots, by identity.
//!
//! Everything an upstream has here hangs in its `Home`, found by name; a request finds its way in by the
//! cluster's address, with one look-up. Nothing here holds a snapshot alive.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    ops::Deref,
    rc::Rc,
    sync::{Arc, Weak},
};

use evergate_contract::config::Name;
use evergate_kit::{Rng, deadline::Clock};
use evergate_wire::Outbox;

use crate::{
    balance::Picking, cluster::Cluster, connect::Connector, endpoint::EndpointState, member::Member,
    pool::Pool,
};

/// A worker's own state towards upstreams. One for each worker; lives as long as the worker does.
pub struct Local {
    pub(crate) clock: Rc<Clock>,
    pub(crate) outbox: Rc<Outbox>,
    rng: Rng,
    worker: usize,
    sites: RefCell<HashMap<usize, Rc<Site>, ByAddress>>,
    homes: RefCell<HashMap<Name, Home>>,
    /// Turns of the process before, for upstreams that had no request here yet.
    turns: RefCell<HashMap<Name, u32>>,
}

/// What a worker keeps of an upstream, whichever snapshot asks.
struct Home {
    /// The newest snapshot's.
    current: Weak<Cluster>,
    turn: Rc<Cell<u32>>,
    pools: HashMap<usize, Rc<Pool>, ByAddress>,
}

/// A cluster with this worker's part of it.
pub(crate) struct Site {
    /// Keeps the address from being used again, not the cluster alive.
    cluster: Weak<Cluster>,
    name: Name,
    turn: Rc<Cell<u32>>,
    seats: Box<[Rc<Seat>]>,
}

/// A member with this worker's connections to it.
struct Seat {
    state: Arc<EndpointState>,
    place: usize,
    pool: OnceCell<Rc<Pool>>,
}

/// An endpoint that was chosen for a request. Cheap to clone.
#[derive(Clone)]
pub struct Picked(Rc<Seat>);

/// Counts a request as in flight at its endpoint until dropped.
pub struct Lease(Picked);

impl Local {
    /// For a worker, whose task runs the outbox; `worker` is its number, which sets where its turns begin so that workers do not all start
    /// at the same endpoint, and `seed` is what its random numbers begin with.
    #[must_use]
    pub fn new(clock: Rc<Clock>, outbox: Rc<Outbox>, worker: usize, seed: u64) -> Local {
        Local {
            clock,
            outbox,
            rng: Rng::new(seed),
            worker,
            sites: RefCell::default(),
            homes: RefCell::default(),
            turns: RefCell::default(),
        }
    }

    /// Goes on with turns where another process left them.
    #[must_use]
    pub fn with_turns(mut self, turns: HashMap<Name, u32>) -> Local {
        self.turns = RefCell::new(turns);
        self
    }

    /// Where the turns are, by upstream.
    #[must_use]
    pub fn turns(&self) -> Vec<(Name, u32)> {
        self.homes.borrow().iter().map(|(name, home)| (name.clone(), home.turn.get())).collect()
    }

    /// Takes up a new snapshot, whose clusters `find` knows by name: connections to endpoints that it does not
    /// know, or reaches in another way, are closed once they are idle; limits hold from now on. Costs nothing
    /// for clusters that are the same as before.
    pub fn adopt<'a>(&self, find: impl Fn(&str) -> Option<&'a Arc<Cluster>>) {
        let mut changed = Vec::new();
        self.homes.borrow_mut().retain(|name, home| {
            let found = find(name);
            if found.is_some_and(|new| std::ptr::eq(Arc::as_ptr(new), home.current.as_ptr())) {
                return true;
            }
            changed.push(name.clone());
            home.take_up(found);
            found.is_some()
        });
        if changed.is_empty() {
            return;
        }
        // Requests of older snapshots hold their site themselves; a new request finds a new one.
        self.sites.borrow_mut().retain(|_, site| !changed.contains(&site.name));
    }

    /// Closes connections that are dead or idle for too long, and forgets what no snapshot needs. To be called
    /// about once a second.
    pub fn sweep(&self) {
        self.sites.borrow_mut().retain(|_, site| site.cluster.strong_count() > 0);
        self.homes.borrow_mut().retain(|_, home| {
            home.pools.retain(|_, pool| {
                pool.sweep();
                Rc::strong_count(pool) > 1 || !pool.is_empty()
            });
            home.current.strong_count() > 0 || !home.pools.is_empty()
        });
    }

    /// Connections that are kept for later requests.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.homes.borrow().values().flat_map(|home| home.pools.values()).map(|pool| pool.idle()).sum()
    }

    /// This worker's part of the cluster.
    pub(crate) fn site(&self, cluster: &Arc<Cluster>) -> Rc<Site> {
        let address = Arc::as_ptr(cluster) as usize;
        if let Some(site) = self.sites.borrow().get(&address) {
            return site.clone();
        }
        let seat = |(place, m): (usize, &Member)| {
            Rc::new(Seat { state: m.state.clone(), place, pool: OnceCell::new() })
        };
        let site = Rc::new(Site {
            cluster: Arc::downgrade(cluster),
            name: cluster.name().clone(),
            turn: self.with_home(cluster, |home| home.turn.clone()),
            seats: cluster.members().iter().enumerate().map(seat).collect(),
        });
        self.sites.borrow_mut().insert(address, site.clone());
        site
    }

    /// Chooses an endpoint; `tried` are not chosen again. `None` if none may take the request.
    pub(crate) fn pick(&self, site: &Rc<Site>, cluster: &Cluster, tried: &[usize]) -> Option<Picked> {
        let picking = Picking {
            members: cluster.members(),
            turn: &site.turn,
            rng: &self.rng,
            tried,
            checked: cluster.spec().health.is_some(),
            ejecting: cluster.spec().ejection.is_some(),
        };
        let place = cluster.balancer().pick(&picking)?;
        site.seats.get(place).cloned().map(Picked)
    }

    /// This worker's connections to a picked endpoint.
    pub(crate) fn pool(&self, picked: &Picked, cluster: &Arc<Cluster>) -> Option<Rc<Pool>> {
        let Picked(seat) = picked;
        if let Some(pool) = seat.pool.get() {
            return Some(pool.clone());
        }
        let connector = &cluster.members().get(seat.place)?.connector;
        let pool = self.with_home(cluster, |home| {
            let make = || Pool::new(connector, &self.clock, cluster.spec());
            home.pools.entry(address(connector)).or_insert_with(make).clone()
        });
        Some(seat.pool.get_or_init(|| pool).clone())
    }

    fn with_home<R>(&self, cluster: &Arc<Cluster>, then: impl FnOnce(&mut Home) -> R) -> R {
        let mut homes = self.homes.borrow_mut();
        let home = homes.entry(cluster.name().clone()).or_insert_with(|| Home {
            current: Arc::downgrade(cluster),
            turn: Rc::new(Cell::new(
                self.turns
                    .borrow_mut()
                    .remove(cluster.name())
                    .unwrap_or_else(|| first_turn(self.worker, cluster.members().len())),
            )),
            pools: HashMap::default(),
        });
        then(home)
    }
}

impl Home {
    fn take_up(&mut self, found: Option<&Arc<Cluster>>) {
        self.current = found.map_or_else(Weak::new, Arc::downgrade);
        let wanted: HashMap<usize, (), ByAddress> =
            found.iter().flat_map(|c| c.members()).map(|m| (address(&m.connector), ())).collect();
        self.pools.retain(|address, pool| {
            let keep = wanted.contains_key(address);
            match found {
                Some(cluster) if keep => pool.set_limits(cluster.spec()),
                _ => pool.close(),
            }
            keep
        });
    }
}

impl Picked {
    /// Counts the request as in flight.
    pub(crate) fn lease(&self) -> Lease {
        self.enter();
        Lease(self.clone())
    }

    pub(crate) fn place(&self) -> usize {
        self.0.place
    }
}

impl Deref for Picked {
    type Target = EndpointState;

    fn deref(&self) -> &EndpointState {
        &self.0.state
    }
}

impl Lease {
    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Picked {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({})", self.0.url())
    }
}

impl std::fmt::Debug for Picked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picked({})", self.url())
    }
}

/// By multiples of the golden ratio: however many workers there are, their turns begin far apart.
fn first_turn(worker: usize, members: usize) -> u32 {
    let fraction = (worker as u32).wrapping_mul(0x9e37_79b9);
    ((u64::from(fraction) * members as u64) >> 32) as u32
}

fn address(connector: &Arc<Connector>) -> usize {
    Arc::as_ptr(connector) as usize
}

/// Addresses are spread well enough by one multiplication.
#[derive(Default)]
struct AddressHasher(u64);

type ByAddress = BuildHasherDefault<AddressHasher>;

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, n: usize) {
        self.0 = (self.0 ^ n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests;
