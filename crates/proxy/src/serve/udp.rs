//! Datagrams of a listener: each client has a socket of its own to the endpoint that was chosen for it.
//!
//! All of it runs on one worker, the first, which is there whatever their number: so a client's datagrams keep their
//! order, no table is shared, and a change of the number of workers moves nobody. Nothing is kept of a datagram but
//! while an endpoint is looked up; what cannot be sent at once is dropped, as any network may.

mod session;

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
use tokio::task::JoinSet;

use crate::{
    listen::{Datagrams, Incarnation, Pair, UdpBound},
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

/// A listener that carries datagrams, on the worker that has it.
struct Port {
    worker: Rc<Worker>,
    incarnation: Arc<Incarnation>,
    socket: Datagrams,
    meter: Rc<StreamMeter>,
    /// Those that take new datagrams, each by its client.
    sessions: RefCell<HashMap<Pair, Rc<Session>>>,
    /// Sequence of the view that the sessions were last compared with.
    seen: Cell<u64>,
}

/// Carries datagrams until the task is aborted; all that was begun ends with it.
pub(crate) async fn carry(worker: Rc<Worker>, entrance: Arc<Entrance>, bound: Arc<UdpBound>) {
    let incarnation = entrance.incarnation.clone();
    drop(entrance);
    let socket = loop {
        match Datagrams::new(&bound) {
            Ok(socket) => break socket,
            Err(error) => {
                tracing::error!(listener = %incarnation.name, %error, "cannot take datagrams, trying again");
            }
        }
        tokio::time::sleep(RETRY).await;
    };
    let meter = worker.meter.streams(&incarnation.name);
    let (sessions, seen) = (RefCell::default(), Cell::new(0));
    let port = Rc::new(Port { worker, incarnation, socket, meter, sessions, seen });
    let (mut buffer, mut running, mut row) = (vec![0; DATAGRAM_MAX], JoinSet::new(), 0);
    loop {
        tokio::select! {
            biased;
            Some(_) = running.join_next() => {}
            received = port.socket.receive(&mut buffer) => match received {
                Ok((n, pair)) => port.take(pair, buffer.get(..n).unwrap_or_default(), &mut running),
                Err(error) => {
                    tracing::warn!(listener = %port.incarnation.name, %error, "cannot take datagrams, trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        row += 1;
        if row % ROW_MAX == 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Port {
    fn take(self: &Rc<Port>, pair: Pair, datagram: &[u8], running: &mut JoinSet<()>) {
        self.meter.datagrams.received.one();
        self.meter.received.add(datagram.len() as u64);
        let view = self.worker.view();
        // Between the end of a listener and the end of this task.
        let Some(onward) = self.onward(&view) else { return self.meter.dropped(Dropped::Gone) };
        if self.seen.replace(view.sequence) != view.sequence {
            self.compare(&view, &onward);
        }
        let known = self.sessions.borrow().get(&pair).cloned();
        if let Some(session) = known {
            if session.fits() && session.send(datagram) {
                return;
            }
            // What it still hears goes back; the client's next datagrams go elsewhere.
            self.sessions.borrow_mut().remove(&pair);
        }
        let Some(admitted) = self.incarnation.admit(Some(onward.sessions)) else {
            return self.meter.dropped(Dropped::Sessions);
        };
        let Some((upstream, cluster)) = self.choose(&view, &onward) else {
            return self.meter.dropped(Dropped::Unreachable);
        };
        let session = Rc::new(Session::new(self, pair, upstream, onward.idle));
        session.send(datagram);
        self.sessions.borrow_mut().insert(pair, session.clone());
        let port = self.clone();
        running.spawn_local(async move {
            session.run(&port, cluster).await;
            port.forget(&session);
            drop(admitted);
        });
    }

    fn onward(&self, view: &View) -> Option<Arc<UdpOnward>> {
        let entrance = view.snapshot()?.listeners.get(&self.incarnation.name)?;
        let same = Arc::ptr_eq(&entrance.incarnation, &self.incarnation);
        entrance.udp.clone().filter(|_| same)
    }

    fn choose(&self, view: &View, onward: &UdpOnward) -> Option<(Name, Arc<Cluster>)> {
        let name = onward.to.choose(&self.worker.rng)?;
        Some((name.clone(), view.snapshot()?.cluster(name)?.clone()))
    }

    /// Tells every session of a new snapshot.
    fn compare(&self, view: &View, onward: &UdpOnward) {
        for session in self.sessions.borrow().values() {
            let cluster = view.snapshot().and_then(|s| s.cluster(&session.upstream));
            session.follow(cluster.filter(|_| onward.to.has(&session.upstream)), onward.idle);
        }
    }

    fn forget(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions.get(&session.pair).is_some_and(|known| Rc::ptr_eq(known, session)) {
            sessions.remove(&session.pair);
        }
    }
}
