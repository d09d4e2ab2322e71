//! One client's datagrams, there and back.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use evergate_contract::config::Name;
use evergate_kit::deadline::{Clock, Deadline, Expired};
use evergate_upstream::{
    Cluster,
    datagram::{self, Flow},
};
use rustix::{io::Errno, net::SendFlags};
use tokio::io::Interest;

use super::{Port, waiting::Waiting};
use crate::{
    listen::Pair,
    meter::{Dropped, End, StreamMeter},
};

/// When the listener is over, what was asked within that time may still be answered.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A client of a listener.
pub(super) struct Session {
    /// The client.
    pub pair: Pair,
    /// The upstream that was chosen for it.
    pub upstream: Name,
    flow: OnceCell<Flow>,
    waiting: Waiting,
    /// The upstream as the newest snapshot has it; gone once it is not forwarded to.
    cluster: RefCell<Weak<Cluster>>,
    silence: Deadline,
    idle: Cell<Duration>,
    clock: Rc<Clock>,
    heard_ms: Cell<u64>,
    closing: Cell<bool>,
    meter: Rc<StreamMeter>,
}

impl Session {
    /// One that waits for an endpoint; [`Session::run`] finds it.
    pub(super) fn new(port: &Port, pair: Pair, upstream: Name, idle: Duration) -> Session {
        Session {
            pair,
            upstream,
            flow: OnceCell::new(),
            waiting: Waiting::among(&port.waiting),
            cluster: RefCell::default(),
            silence: port.worker.clock.deadline(),
            idle: Cell::new(idle),
            clock: port.worker.clock.clone(),
            heard_ms: Cell::new(0),
            closing: Cell::new(false),
            meter: port.meter.clone(),
        }
    }

    /// A new snapshot has its upstream so; `None`: the listener does not forward there.
    pub(super) fn follow(&self, cluster: Option<&Arc<Cluster>>, idle: Duration) {
        *self.cluster.borrow_mut() = cluster.map_or_else(Weak::new, Arc::downgrade);
        self.idle.set(idle);
    }

    /// True while it takes the client's next datagram.
    pub(super) fn fits(&self) -> bool {
        let cluster = self.cluster.borrow().upgrade();
        cluster.is_some_and(|cluster| self.flow.get().is_none_or(|flow| flow.fits(&cluster)))
    }

    /// Sends a datagram of the client to the endpoint, or keeps it until there is one. False: it was not sent, since
    /// nobody took an earlier one there.
    pub(super) fn send(&self, datagram: &[u8]) -> bool {
        self.alive();
        let Some(flow) = self.flow.get() else {
            if !self.waiting.push(datagram) {
                self.meter.dropped(Dropped::Full);
            }
            return true;
        };
        // Not by tokio, which does not know of a new socket that it takes something.
        match rustix::net::send(&flow.socket, datagram, SendFlags::DONTWAIT) {
            Ok(_) => true,
            // Also what is larger than a datagram can be there: that is not the endpoint's fault.
            Err(Errno::WOULDBLOCK | Errno::NOBUFS | Errno::MSGSIZE) => {
                self.meter.dropped(Dropped::Full);
                true
            }
            Err(_) => {
                if let Some(cluster) = self.cluster.borrow().upgrade() {
                    flow.note(&cluster, false);
                }
                false
            }
        }
    }

    fn alive(&self) {
        if !self.closing.get() {
            self.heard_ms.set(self.clock.now_ms());
            self.silence.arm(self.idle.get());
        }
    }

    /// The client can ask no more: only answers to what it has asked just now are waited for.
    pub(super) fn close(&self, now_ms: u64) {
        self.closing.set(true);
        let silent = Duration::from_millis(now_ms.saturating_sub(self.heard_ms.get()));
        self.silence.arm(self.idle.get().min(ANSWER_MAX).saturating_sub(silent));
    }

    /// Finds an endpoint, and carries what it answers until both are silent for too long, or nobody takes what is sent.
    pub(super) async fn run(&self, port: &Port, cluster: Arc<Cluster>) {
        *self.cluster.borrow_mut() = Arc::downgrade(&cluster);
        let flow = match datagram::open(&port.worker.upstreams, &cluster).await {
            Ok(flow) => self.flow.get_or_init(|| flow),
            Err(fault) => {
                let cause = fault.cause.as_ref().map(tracing::field::display);
                tracing::debug!(listener = %port.incarnation.name, code = fault.code(), cause, "no endpoint for datagrams");
                self.waiting.take().iter().for_each(|_| self.meter.dropped(Dropped::Unreachable));
                return self.meter.ended(End::Unreachable);
            }
        };
        drop(cluster);
        for datagram in self.waiting.take() {
            if !self.send(&datagram) {
                self.meter.dropped(Dropped::Unreachable);
            }
        }
        let end = loop {
            match self.silence.guard(flow.socket.ready(Interest::READABLE | Interest::ERROR)).await {
                Err(Expired) => break End::Idle,
                Ok(_) => match self.hear(port, flow) {
                    Ok(()) => {}
                    Err(error) => {
                        tracing::debug!(listener = %port.incarnation.name, %error, "nobody takes datagrams");
                        break End::Unreachable;
                    }
                },
            }
        };
        self.meter.ended(end);
    }

    /// Carries what is there. What is wrong is told to the endpoint's record.
    fn hear(&self, port: &Port, flow: &Flow) -> io::Result<()> {
        let mut heard = false;
        let outcome = port.worker.scratch.lend(|buffer| {
            loop {
                match flow.socket.try_recv(buffer) {
                    Ok(n) => {
                        heard = true;
                        self.answer(port, buffer.get(..n).unwrap_or_default());
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return failed(flow),
                    Err(e) => return Err(e),
                }
            }
        });
        if (heard || outcome.is_err())
            && let Some(cluster) = port.worker.view().snapshot().and_then(|s| s.cluster(&self.upstream))
        {
            flow.note(cluster, outcome.is_ok());
        }
        outcome
    }

    fn answer(&self, port: &Port, datagram: &[u8]) {
        self.alive();
        match port.socket.answer(self.pair, datagram) {
            Ok(()) => {
                self.meter.datagrams.sent.one();
                self.meter.sent.add(datagram.len() as u64);
            }
            // A client that cannot be reached is told nothing more.
            Err(_) => self.meter.dropped(Dropped::Full),
        }
    }
}

/// What the kernel was told of an earlier datagram: nobody takes it. It does not make a socket readable.
fn failed(flow: &Flow) -> io::Result<()> {
    let look = || flow.socket.take_error()?.map_or_else(|| Err(io::ErrorKind::WouldBlock.into()), Err);
    match flow.socket.try_io(Interest::ERROR, look) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}
