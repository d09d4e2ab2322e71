//! Datagrams of a listener: each client has a socket of its own to the endpoint that was chosen for it.
//!
//! All of it runs on one worker, the first, which is there whatever their number: so a client's datagrams keep their
//! order, no table is shared, and a change of the number of workers moves nobody. Nothing is kept of a datagram but
//! while an endpoint is looked up; what cannot be sent at once is dropped, as any network may.

mod session;
mod waiting;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use evergate_contract::config::Name;
use evergate_upstream::Cluster;
use session::Session;
use slab::Slab;
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    listen::{Datagrams, Incarnation, Pair},
    meter::{Dropped, StreamMeter},
    onward::UdpOnward,
    snapshot::Entrance,
    view::View,
    worker::Worker,
};

/// No datagram is larger (RFC 768).
const DATAGRAM_MAX: usize = 64 << 10;
/// Others get their turn after so many in a row.
const ROW_MAX: u32 = 64;
/// Wait after a socket could not be read or had.
const RETRY: Duration = Duration::from_millis(50);

/// It is not said more often that there are as many clients as there may be.
const SAY_MS: u64 = 10_000;

/// What a listener's task is told, and what it says of itself.
#[derive(Default)]
pub(crate) struct Carrying {
    order: Cell<Order>,
    told: Notify,
    open: Cell<usize>,
}

/// What is to be done, the least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Take datagrams.
    #[default]
    Take,
    /// Somebody else takes them: another listener, or another process. Answers go on.
    Leave,
    /// Nobody takes them any more. What waits is sent on, and what was asked may be answered for a moment.
    End,
    /// All that was begun ends now.
    Cut,
}

impl Carrying {
    /// From now on.
    pub(crate) fn tell(&self, order: Order) {
        self.order.set(order.max(self.order.get()));
        self.told.notify_one();
    }

    /// Clients whose answers still go out.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    async fn until(&self, order: Order) {
        while self.order.get() < order {
            self.told.notified().await;
        }
    }
}

/// A listener that carries datagrams, on the worker that has it.
struct Port {
    worker: Rc<Worker>,
    incarnation: Arc<Incarnation>,
    socket: Datagrams,
    meter: Rc<StreamMeter>,
    carrying: Rc<Carrying>,
    /// As the newest snapshot that has the listener says.
    onward: RefCell<Arc<UdpOnward>>,
    /// Those that take new datagrams, each by its client.
    sessions: RefCell<HashMap<Pair, Rc<Session>>>,
    /// These, and those whose clients went elsewhere and that may still hear something.
    all: RefCell<Slab<Rc<Session>>>,
    /// Bytes that wait for endpoints.
    waiting: Rc<Cell<usize>>,
    /// Sequence of the view that the sessions were last compared with.
    seen: Cell<u64>,
    /// When it was last said that there are too many clients.
    said_ms: Cell<Option<u64>>,
}

/// Carries datagrams that come to a listener from now on, until told otherwise, and then answers.
pub(crate) fn carry(worker: &Rc<Worker>, entrance: &Entrance) -> Option<Rc<Carrying>> {
    let mailbox = entrance.mailbox.as_ref()?.mailbox().clone();
    let (onward, incarnation) = (entrance.udp.clone()?, entrance.incarnation.clone());
    // At once: the one that has had the address until now is about to go.
    let mut opened = Datagrams::new(&mailbox);
    let carrying = Rc::<Carrying>::default();
    let (worker, told) = (worker.clone(), carrying.clone());
    tokio::task::spawn_local(async move {
        let socket = loop {
            match opened {
                Ok(socket) => break socket,
                Err(_) if told.order.get() > Order::Take => return,
                Err(error) => {
                    tracing::error!(listener = %incarnation.name, %error, "cannot take datagrams, trying again");
                }
            }
            tokio::time::sleep(RETRY).await;
            opened = Datagrams::new(&mailbox);
        };
        run(worker, incarnation, (socket, onward), told).await;
    });
    Some(carrying)
}

async fn run(
    worker: Rc<Worker>,
    incarnation: Arc<Incarnation>,
    (socket, onward): (Datagrams, Arc<UdpOnward>),
    carrying: Rc<Carrying>,
) {
    let meter = worker.meter.streams(&incarnation.name);
    let port = Rc::new(Port {
        worker,
        incarnation,
        socket,
        meter,
        carrying,
        onward: RefCell::new(onward),
        sessions: RefCell::default(),
        all: RefCell::default(),
        waiting: Rc::default(),
        seen: Cell::new(0),
        said_ms: Cell::new(None),
    });
    let mut running = JoinSet::new();
    tokio::select! {
        biased;
        () = port.carrying.until(Order::Leave) => {}
        () = port.serve(&mut running) => {}
    }
    port.finish(&mut running).await;
    port.carrying.open.set(0);
}

impl Port {
    /// Takes what comes.
    async fn serve(self: &Rc<Port>, running: &mut JoinSet<()>) {
        let (mut buffer, mut row) = (vec![0; DATAGRAM_MAX], 0_u32);
        loop {
            tokio::select! {
                biased;
                Some(_) = running.join_next() => {}
                received = self.socket.receive(&mut buffer) => match received {
                    Ok((n, pair)) => self.take(pair, buffer.get(..n).unwrap_or_default(), running),
                    Err(error) => {
                        tracing::warn!(listener = %self.incarnation.name, %error, "cannot take datagrams, trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
            row = row.wrapping_add(1);
            if row.is_multiple_of(ROW_MAX) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Answers as long as there is somebody to answer.
    async fn finish(self: &Rc<Port>, running: &mut JoinSet<()>) {
        if self.carrying.order.get() == Order::End {
            // They came while the listener was there. Nothing comes any more.
            let mut buffer = vec![0; DATAGRAM_MAX];
            while let Ok((n, pair)) = self.socket.receive_now(&mut buffer) {
                self.take(pair, buffer.get(..n).unwrap_or_default(), running);
            }
        }
        self.sessions.borrow_mut().clear();
        let mut closing = false;
        loop {
            if self.carrying.order.get() == Order::End && !closing {
                closing = true;
                let now_ms = self.worker.clock.now_ms();
                self.all.borrow().iter().for_each(|(_, session)| session.close(now_ms));
            }
            tokio::select! {
                biased;
                ended = running.join_next() => if ended.is_none() { return },
                () = self.carrying.until(Order::Cut) => return,
                () = self.carrying.until(Order::End), if !closing => {}
            }
        }
    }

    fn take(self: &Rc<Port>, pair: Pair, datagram: &[u8], running: &mut JoinSet<()>) {
        self.meter.datagrams.received.one();
        self.meter.received.add(datagram.len() as u64);
        let view = self.worker.view();
        if self.seen.replace(view.sequence) != view.sequence {
            self.compare(&view);
        }
        let known = self.sessions.borrow().get(&pair).cloned();
        if let Some(session) = known {
            if session.fits() && session.send(datagram) {
                return;
            }
            // What it still hears goes back; the client's next datagrams go elsewhere.
            self.sessions.borrow_mut().remove(&pair);
        }
        let onward = self.onward.borrow().clone();
        let Some(admitted) = self.incarnation.admit(Some(onward.sessions)) else {
            self.say_full(onward.sessions);
            return self.meter.dropped(Dropped::Sessions);
        };
        let Some((upstream, cluster)) = self.choose(&view, &onward) else {
            return self.meter.dropped(Dropped::Unreachable);
        };
        let session = Rc::new(Session::new(self, pair, upstream, onward.idle));
        session.send(datagram);
        self.sessions.borrow_mut().insert(pair, session.clone());
        let key = self.all.borrow_mut().insert(session.clone());
        self.count();
        let port = self.clone();
        running.spawn_local(async move {
            session.run(&port, cluster).await;
            port.forget(key, &session);
            drop(admitted);
        });
    }

    fn count(&self) {
        self.carrying.open.set(self.all.borrow().len());
    }

    fn say_full(&self, sessions: u32) {
        let now_ms = self.worker.clock.now_ms();
        if self.said_ms.get().is_none_or(|said_ms| now_ms >= said_ms + SAY_MS) {
            self.said_ms.set(Some(now_ms));
            let listener = &self.incarnation.name;
            tracing::warn!(%listener, sessions, "as many clients as `udp.sessions` allows: datagrams of others are dropped");
        }
    }

    fn choose(&self, view: &View, onward: &UdpOnward) -> Option<(Name, Arc<Cluster>)> {
        let name = onward.to.choose(&self.worker.rng)?;
        Some((name.clone(), view.snapshot()?.cluster(name)?.clone()))
    }

    /// Tells every session of a new snapshot. One that has the listener no more leaves all as it was.
    fn compare(&self, view: &View) {
        let Some(snapshot) = view.snapshot() else { return };
        let entrance = snapshot.listeners.get(&self.incarnation.name);
        let same = entrance.filter(|entrance| Arc::ptr_eq(&entrance.incarnation, &self.incarnation));
        let Some(onward) = same.and_then(|entrance| entrance.udp.clone()) else { return };
        for session in self.sessions.borrow().values() {
            let cluster = snapshot.cluster(&session.upstream);
            session.follow(cluster.filter(|_| onward.to.has(&session.upstream)), onward.idle);
        }
        *self.onward.borrow_mut() = onward;
    }

    fn forget(&self, key: usize, session: &Rc<Session>) {
        self.all.borrow_mut().try_remove(key);
        self.count();
        let mut sessions = self.sessions.borrow_mut();
        if sessions.get(&session.pair).is_some_and(|known| Rc::ptr_eq(known, session)) {
            sessions.remove(&session.pair);
        }
    }
}
