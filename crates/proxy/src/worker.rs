//! A worker as the tasks on its thread see it: the newest snapshot, connections, pools, counters, the time.
//!
//! A request stays on the worker that accepted its connection. Workers share the published snapshot and
//! the listening sockets, nothing else; nothing here waits for the control side.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use evergate_contract::config::Name;
use evergate_kit::{Rng, deadline::Clock};
use evergate_upstream::Local;
use evergate_wire::{Outbox, tunnel::Scratch};
use slab::Slab;

use crate::{
    carries::Carries,
    conn::Conn,
    meter::Meter,
    snapshot::{Entrance, Snapshot},
    view::{Shared, View},
};

/// A worker's place among those that accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Which one it is, from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Rank {
    /// True if this worker takes what comes to that socket of a listener whose sockets are dealt out.
    pub(crate) fn has(self, socket: usize) -> bool {
        socket % self.of.max(1) == self.index
    }
}

/// Turns of all tasks before a thread ends: what was said last goes from one task to the next, and out.
const LAST_TURNS: usize = 4;

/// What follows each snapshot that a worker takes over.
pub(crate) trait Follow {
    /// Does what the snapshot says from now on.
    fn follow(&self, worker: &Rc<Worker>, snapshot: &Snapshot);

    /// What is open here that is no connection: clients that write datagrams.
    fn open(&self) -> usize;

    /// Ends what is open here and carries this.
    fn cut(&self, what: Carries);

    /// The thread ends after its tasks have had a few more turns: says goodbye where nobody else would.
    fn end(&self);
}

/// A worker, as its tasks see it.
pub(crate) struct Worker {
    /// What is shared.
    pub shared: Arc<Shared>,
    /// Deadlines of this thread.
    pub clock: Rc<Clock>,
    /// Random numbers of this thread.
    pub rng: Rng,
    /// Counters of this thread.
    pub meter: Meter,
    /// What this thread's connections have to send.
    pub outbox: Rc<Outbox>,
    /// What this thread's tunnels read into.
    pub scratch: Scratch,
    /// Pools and balancer positions of this thread.
    pub upstreams: Local,
    view: RefCell<Rc<View>>,
    epoch: Cell<u64>,
    conns: RefCell<Slab<Rc<Conn>>>,
    accepting: Cell<Option<Rank>>,
    draining: Cell<bool>,
    doors: Box<dyn Follow>,
    date: RefCell<(u64, http::HeaderValue)>,
}

impl Worker {
    /// A worker that serves nothing yet; `doors` let connections in, `turns` are those of the process before.
    pub(crate) fn new(
        index: usize,
        shared: Arc<Shared>,
        turns: HashMap<Name, u32>,
        doors: Box<dyn Follow>,
    ) -> Rc<Worker> {
        let (clock, outbox) = (Clock::new(Instant::now()), Rc::<Outbox>::default());
        let seed = u64::from(std::process::id()) << 16 ^ index as u64 ^ now_unix().as_nanos() as u64;
        let view = Rc::new(View::empty(&shared));
        Rc::new(Worker {
            upstreams: Local::new(clock.clone(), outbox.clone(), index, seed).with_turns(turns),
            outbox,
            scratch: Scratch::default(),
            rng: Rng::new(seed),
            meter: Meter::default(),
            view: RefCell::new(view),
            epoch: Cell::new(0),
            conns: RefCell::default(),
            accepting: Cell::new(None),
            draining: Cell::new(false),
            doors,
            date: RefCell::new((0, http::HeaderValue::from_static(""))),
            shared,
            clock,
        })
    }

    /// The newest snapshot. One atomic load where nothing has changed.
    pub(crate) fn view(self: &Rc<Worker>) -> Rc<View> {
        if self.shared.published.epoch() != self.epoch.get() {
            self.adopt();
        }
        self.view.borrow().clone()
    }

    /// Takes the newest snapshot over: later requests begin with it, sockets and connections follow it.
    fn adopt(self: &Rc<Worker>) {
        // The epoch is read first: a publication in between is seen at the next look.
        let epoch = self.shared.published.epoch();
        let Some(snapshot) = self.shared.published.load() else { return };
        self.epoch.set(epoch);
        let before = self.view.replace(Rc::new(View::new(&self.shared, &snapshot, epoch)));
        self.doors.follow(self, &snapshot);
        let has_to_end = |conn: &Conn| !conn.may_speak(&snapshot) || !conn.is_let_in(&snapshot);
        self.close_politely(|conn| conn.incarnation().is_over() || has_to_end(conn));
        self.count_for_clients(&snapshot);
        self.tell_of_settings(&before, &snapshot);
        self.upstreams.adopt(|name| snapshot.cluster(name));
        drop(before);
    }

    /// Where a limit for each client is new, connections that are open count as well; none is closed for it.
    fn count_for_clients(&self, snapshot: &Snapshot) {
        let limit = |entrance: &Entrance| entrance.config.limits.connections_per_client;
        if !snapshot.listeners.values().any(|entrance| limit(entrance).is_some()) {
            return;
        }
        for (_, conn) in &*self.conns.borrow() {
            let entrance = snapshot.listeners.get(&conn.incarnation().name);
            let _ = conn.count_for_client(entrance.and_then(|entrance| limit(entrance)));
        }
    }

    /// Connections of listeners whose settings have changed are to look at them.
    fn tell_of_settings(&self, before: &View, now: &Snapshot) {
        let Some(before) = before.snapshot() else { return };
        let is_same = |name: &Name, old: &Entrance| {
            now.listeners.get(name).is_some_and(|new| Arc::ptr_eq(&new.config, &old.config))
        };
        let changed = before.listeners.iter().filter(|(name, old)| !is_same(name, old));
        let changed: Vec<&Name> = changed.map(|(name, _)| name).collect();
        if !changed.is_empty() {
            let conns = self.conns.borrow();
            let told = conns.iter().filter(|(_, conn)| changed.contains(&&conn.incarnation().name));
            told.for_each(|(_, conn)| conn.tell_of_settings());
        }
    }

    /// Adds a connection to those that are told of changes.
    pub(crate) fn register(&self, conn: &Rc<Conn>) -> usize {
        if self.draining.get() {
            conn.close_politely();
        }
        self.conns.borrow_mut().insert(conn.clone())
    }

    /// Takes a connection off again.
    pub(crate) fn forget(&self, key: usize) {
        self.conns.borrow_mut().try_remove(key);
    }

    /// The time as `Date` has it (RFC 9110 §6.6.1), made anew once a second.
    pub(crate) fn date(&self) -> http::HeaderValue {
        let second = self.clock.now_ms() / 1000;
        let mut date = self.date.borrow_mut();
        if date.0 != second || date.1.is_empty() {
            let text = httpdate::fmt_http_date(std::time::SystemTime::now());
            *date =
                (second, http::HeaderValue::from_str(&text).unwrap_or(http::HeaderValue::from_static("")));
        }
        date.1.clone()
    }

    /// Lets its share of connections in, or leaves all to the others. What is open goes on either way.
    pub(crate) fn set_accepting(self: &Rc<Worker>, rank: Option<Rank>) {
        if self.accepting.replace(rank) == rank {
            // Nothing new but, perhaps, a snapshot.
            drop(self.view());
        } else {
            self.adopt();
        }
    }

    /// Its share, if it lets connections in.
    pub(crate) fn accepting(&self) -> Option<Rank> {
        self.accepting.get()
    }

    /// Lets no connections in, and closes politely those that are there.
    pub(crate) fn drain(self: &Rc<Worker>) {
        self.draining.set(true);
        self.set_accepting(None);
        self.close_politely(|_| true);
    }

    /// Lets no connections in, since another process does, and closes those that are there politely, one after the other
    /// in any order, so that their clients do not all come back at once. Sockets stay as they are.
    pub(crate) fn leave(self: &Rc<Worker>, spread: Duration) {
        self.set_accepting(None);
        let most_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let conns = self.conns.borrow();
        let goodbye = |(_, conn): (usize, &Rc<Conn>)| {
            (Duration::from_millis(self.rng.below(most_ms)), Rc::downgrade(conn))
        };
        let mut goodbyes: Vec<_> = conns.iter().map(goodbye).collect();
        goodbyes.sort_by_key(|(at, _)| *at);
        let began = tokio::time::Instant::now();
        tokio::task::spawn_local(async move {
            for (at, conn) in goodbyes {
                tokio::time::sleep_until(began + at).await;
                if let Some(conn) = conn.upgrade() {
                    conn.close_patiently();
                }
            }
        });
    }

    /// The last thing that is done here.
    pub(crate) async fn end(&self) {
        self.doors.end();
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// Ends connections that carry this.
    pub(crate) fn cut(&self, what: Carries) {
        let conns = self.conns.borrow();
        conns.iter().filter(|(_, conn)| conn.load.now() == what).for_each(|(_, conn)| conn.load.cut());
        drop(conns);
        self.doors.cut(what);
    }

    /// Makes the current request of such connections their last.
    pub(crate) fn close_politely(&self, which: impl Fn(&Conn) -> bool) {
        self.conns
            .borrow()
            .iter()
            .filter(|(_, conn)| which(conn))
            .for_each(|(_, conn)| conn.close_politely());
    }

    /// Connections that are open here, and clients that write datagrams.
    pub(crate) fn open(&self) -> usize {
        self.conns.borrow().len() + self.doors.open()
    }
}

fn now_unix() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
