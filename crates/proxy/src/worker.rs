//! A worker: one thread, one executor, its own connections, pools and counters.
//!
//! A request stays on the worker that accepted its connection. Workers share the published snapshot and
//! the listening sockets, nothing else; nothing here waits for the control side.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    time::{Duration, Instant},
};

use evergate_kit::{
    Rng,
    deadline::{Clock, TICK},
};
use evergate_upstream::Local;
use slab::Slab;
use tokio::{
    runtime::LocalOptions,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    conn::Conn,
    listen::Incarnation,
    meter::{Meter, Sum},
    serve,
    snapshot::{Entrance, Published, Snapshot},
};

/// How often idle upstream connections are looked through.
const SWEEP_MS: u64 = 1000;

/// What the control side tells a worker.
pub(crate) enum Message {
    /// A snapshot was published: look at it also if no request comes.
    Adopt,
    /// Accept connections.
    Accept,
    /// Leave new connections to the others; end when nothing is open any more.
    Retire,
    /// Do not end, even if nothing is open: there will be work again.
    Stay(std_mpsc::Sender<()>),
    /// What have you counted?
    Count(oneshot::Sender<Sum>),
    /// Requests that began with this generation or an older one should be the last on their connections.
    DrainUpTo(u64),
    /// Close every connection politely once it is idle.
    Drain,
    /// End now; what is open is cut.
    Stop,
}

/// What all workers share with the control side.
pub(crate) struct Shared {
    /// The published snapshot.
    pub published: Published,
    /// Where the last holder of a snapshot hands it, so that freeing it costs no worker's time.
    pub reaper: std_mpsc::Sender<Arc<Snapshot>>,
    /// How this gateway calls itself in `Via` (RFC 9110 §7.6.3); unique, so that loops are seen.
    pub via: http::HeaderValue,
}

/// A worker's own hold on a snapshot. Requests clone the `Rc`, which costs no atomic operation.
pub(crate) struct View {
    snapshot: Option<Arc<Snapshot>>,
    reaper: std_mpsc::Sender<Arc<Snapshot>>,
    requests: Arc<AtomicU64>,
    /// Of the snapshot; rises with each publication.
    pub sequence: u64,
}

/// A request's hold on a view, counted.
pub(crate) struct Held(Rc<View>);

impl View {
    /// The snapshot.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Holds it for a request.
    pub(crate) fn hold(self: Rc<View>) -> Held {
        // Written by this thread alone: no need for a locked instruction.
        self.requests.store(self.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Held(self)
    }
}

impl std::ops::Deref for Held {
    type Target = View;
    fn deref(&self) -> &View {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let requests = &self.0.requests;
        requests.store(requests.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            // Without a reaper the gateway is ending, and the thread that drops it may free it.
            let _ = self.reaper.send(snapshot);
        }
    }
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
    /// Pools and balancer positions of this thread.
    pub upstreams: Local,
    view: RefCell<Rc<View>>,
    epoch: Cell<u64>,
    conns: RefCell<Slab<Rc<Conn>>>,
    accepting: Cell<bool>,
    ending: Cell<bool>,
    draining: Cell<bool>,
    acceptors: RefCell<HashMap<usize, Acceptor>>,
    date: RefCell<(u64, http::HeaderValue)>,
}

struct Acceptor {
    entrance: Arc<Entrance>,
    tasks: Vec<JoinHandle<()>>,
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Rc<Worker> {
        let clock = Clock::new(Instant::now());
        let seed = u64::from(std::process::id()) << 16 ^ index as u64 ^ now_unix().as_nanos() as u64;
        let view = Rc::new(View {
            snapshot: None,
            reaper: shared.reaper.clone(),
            requests: Arc::default(),
            sequence: 0,
        });
        Rc::new(Worker {
            upstreams: Local::new(clock.clone(), index, seed),
            rng: Rng::new(seed),
            meter: Meter::default(),
            view: RefCell::new(view),
            epoch: Cell::new(0),
            conns: RefCell::default(),
            accepting: Cell::new(false),
            ending: Cell::new(false),
            draining: Cell::new(false),
            acceptors: RefCell::default(),
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
        let view = View {
            requests: snapshot.holds.join(),
            snapshot: Some(snapshot.clone()),
            reaper: self.shared.reaper.clone(),
            sequence: epoch,
        };
        self.epoch.set(epoch);
        let before = self.view.replace(Rc::new(view));
        self.follow_listeners(&snapshot);
        self.upstreams.adopt(|name| snapshot.cluster(name));
        drop(before);
    }

    /// Starts accepting where the snapshot says, ends it where it no longer does.
    fn follow_listeners(self: &Rc<Worker>, snapshot: &Snapshot) {
        let wanted: HashMap<usize, &Arc<Entrance>> = match self.accepting.get() {
            true => snapshot.listeners.values().map(|e| (key(&e.incarnation), e)).collect(),
            false => HashMap::new(),
        };
        let mut left = Vec::new();
        let mut acceptors = self.acceptors.borrow_mut();
        acceptors.retain(|key, acceptor| {
            let keep = wanted.contains_key(key);
            if !keep {
                acceptor.tasks.iter().for_each(JoinHandle::abort);
                left.push(acceptor.entrance.clone());
            }
            keep
        });
        for (key, entrance) in &wanted {
            let begin =
                || Acceptor { entrance: (*entrance).clone(), tasks: serve::accepting(self, entrance) };
            acceptors.entry(*key).or_insert_with(begin).entrance = (*entrance).clone();
        }
        drop(acceptors);
        let stay: Vec<_> = wanted.values().flat_map(|e| e.incarnation.bound.all()).collect();
        for entrance in left.iter().filter(|entrance| entrance.incarnation.is_over()) {
            for bound in entrance.incarnation.bound.all() {
                if !stay.iter().any(|other| Arc::ptr_eq(other, &bound)) {
                    // Nobody else will take what waits in the queue of a socket that is about to close.
                    serve::accept_waiting(self, entrance, &bound);
                    if self.draining.get() {
                        // The snapshot holds it to the end of the process; who connects meanwhile must be told at once.
                        bound.close();
                    }
                }
            }
        }
        for (_, conn) in self.conns.borrow().iter() {
            if conn.incarnation().is_over() || !conn.may_speak(snapshot) {
                conn.close_politely();
            }
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

    fn handle(self: &Rc<Worker>, message: Message) {
        match message {
            Message::Adopt => {
                self.view();
            }
            Message::Accept => {
                self.accepting.set(true);
                self.adopt();
            }
            Message::Retire => {
                self.accepting.set(false);
                self.ending.set(true);
                self.adopt();
            }
            Message::Stay(reply) => {
                self.ending.set(false);
                // Whoever asked may have stopped waiting; the same below.
                let _ = reply.send(());
            }
            Message::Count(reply) => {
                let mut sum = Sum::default();
                self.meter.add_to(&mut sum);
                let _ = reply.send(sum);
            }
            Message::DrainUpTo(sequence) => {
                self.conns
                    .borrow()
                    .iter()
                    .filter(|(_, c)| c.oldest_request() <= sequence)
                    .for_each(|(_, c)| c.close_politely());
            }
            Message::Drain => {
                self.draining.set(true);
                self.ending.set(true);
                self.accepting.set(false);
                self.adopt();
                self.conns.borrow().iter().for_each(|(_, c)| c.close_politely());
            }
            Message::Stop => {}
        }
    }

    /// Connections that are open here.
    fn open(&self) -> usize {
        self.conns.borrow().len()
    }
}

fn key(incarnation: &Arc<Incarnation>) -> usize {
    Arc::as_ptr(incarnation) as usize
}

fn now_unix() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// The body of a worker's thread: runs until it is told to stop, or until nothing is open once it is to end.
/// Says through `ready` whether it could begin; leaves what it counted in `ended`.
pub(crate) fn run(
    index: usize,
    shared: Arc<Shared>,
    mut inbox: mpsc::UnboundedReceiver<Message>,
    ready: &std_mpsc::Sender<std::io::Result<()>>,
    ended: &Mutex<Sum>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let worker = Worker::new(index, shared);
    let _ = ready.send(Ok(()));
    runtime.block_on(serve(&worker, &mut inbox));
    // No message is taken any more: who asks this worker to stay must see that it is gone.
    inbox.close();
    worker.meter.add_to(&mut ended.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn serve(worker: &Rc<Worker>, inbox: &mut mpsc::UnboundedReceiver<Message>) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept_ms = 0;
    loop {
        tokio::select! {
            biased;
            message = inbox.recv() => match message {
                Some(Message::Stop) | None => return,
                Some(message) => worker.handle(message),
            },
            _ = tick.tick() => {
                worker.clock.tick(Instant::now());
                let now_ms = worker.clock.now_ms();
                if now_ms >= swept_ms + SWEEP_MS {
                    swept_ms = now_ms;
                    worker.upstreams.sweep();
                }
            }
        }
        if worker.ending.get() && worker.open() == 0 {
            return;
        }
    }
}
