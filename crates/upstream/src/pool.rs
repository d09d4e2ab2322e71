//! One worker's connections to one endpoint: idle HTTP/1 ones, and shared HTTP/2 ones.
//!
//! Newest first, so that the rest can grow old. A connection that was closed or spoke out of turn while idle is
//! noticed before it is used. Must not know: requests, snapshots, other workers.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::BytesMut;
use evergate_contract::config::{Protocol, Upstream};
use evergate_kit::deadline::Clock;
use evergate_wire::{Carrier, Stream, Wire, h2::Link};
use tokio::sync::Notify;

use crate::connect::Connector;

/// A connection that is idle for [`BUFFER_KEPT_MS`] keeps buffers up to this; one that grew by a large body gives
/// them back. Until then the next body finds them: new memory costs a fault for each of its pages.
const BUFFER_KEPT_MAX: usize = 16 << 10;
const BUFFER_KEPT_MS: u64 = 1000;

/// An HTTP/1 connection between requests or within one.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) wire: Wire,
    idle_since_ms: u64,
}

impl Conn {
    pub(crate) fn new(stream: Stream) -> Box<Conn> {
        Box::new(Conn { wire: Wire::new(stream, BytesMut::new()), idle_since_ms: 0 })
    }

    /// Gives back large buffers; nothing is in them between requests.
    fn trim(&mut self) {
        if self.wire.input.capacity() > BUFFER_KEPT_MAX {
            self.wire.input = BytesMut::new();
        }
        if self.wire.small().capacity() > BUFFER_KEPT_MAX {
            *self.wire.small() = BytesMut::new();
        }
    }

    /// False if the peer has closed it or sent something that nobody asked for. Costs no system call unless
    /// something came; what TLS sends between requests (tickets) is taken in.
    fn is_alive(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        match self.wire.io.carrier().poll_read_ready(cx) {
            Poll::Pending => true,
            Poll::Ready(_) => self.wire.poll_fill(cx).is_pending(),
        }
    }
}

/// An HTTP/2 connection.
pub(crate) struct Shared {
    link: Link,
    /// No new request goes this way.
    retired: Cell<bool>,
    streams: Cell<u32>,
    idle_since_ms: Cell<u64>,
    used: Cell<bool>,
}

/// A stream's share of an HTTP/2 connection.
pub(crate) struct Slot {
    shared: Rc<Shared>,
    pool: Rc<Pool>,
    /// The connection has carried another request before.
    pub(crate) reused: bool,
}

/// What the pool has for a request.
pub(crate) enum Found {
    /// An idle HTTP/1 connection.
    Idle(Box<Conn>),
    /// Room on an HTTP/2 connection.
    Room(Slot),
    /// Nothing; the holder of this connects, and others wait where they may share the outcome.
    Nothing(Option<Dialing>),
}

/// Connections to one endpoint.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    clock: Rc<Clock>,
    idle: RefCell<VecDeque<Box<Conn>>>,
    idle_max: Cell<usize>,
    idle_ms_max: Cell<u64>,
    gone: Cell<bool>,
    shared: RefCell<Vec<Rc<Shared>>>,
    protocol: Cell<Option<Protocol>>,
    dialing: Cell<bool>,
    dialed: Notify,
}

/// The right to connect while others wait.
pub(crate) struct Dialing(Rc<Pool>);

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.dialing.set(false);
        self.0.dialed.notify_waiters();
    }
}

impl Pool {
    pub(crate) fn new(connector: &Arc<Connector>, clock: &Rc<Clock>, spec: &Upstream) -> Rc<Pool> {
        let pool = Pool {
            connector: connector.clone(),
            clock: clock.clone(),
            idle: RefCell::default(),
            idle_max: Cell::new(0),
            idle_ms_max: Cell::new(0),
            gone: Cell::new(false),
            shared: RefCell::default(),
            protocol: Cell::new(connector.known_protocol()),
            dialing: Cell::new(false),
            dialed: Notify::new(),
        };
        pool.set_limits(spec);
        Rc::new(pool)
    }

    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    pub(crate) fn set_limits(&self, spec: &Upstream) {
        self.idle_max.set(usize::try_from(spec.pool.idle).unwrap_or(usize::MAX));
        self.idle_ms_max.set(millis(*spec.timeouts.idle));
        self.sweep();
    }

    /// An idle HTTP/1 connection, the newest that lives.
    fn take_idle(&self) -> Option<Box<Conn>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut conn) = idle.pop_back() {
            if !self.is_old(conn.idle_since_ms) && conn.is_alive() {
                return Some(conn);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange is complete.
    pub(crate) fn put(&self, mut conn: Box<Conn>) {
        if self.gone.get() || self.idle_max.get() == 0 || self.connector.announces() {
            return;
        }
        conn.idle_since_ms = self.clock.now_ms();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.idle_max.get() {
            idle.pop_front();
        }
        idle.push_back(conn);
    }

    /// What there is for a request; `None` if another one is connecting whose outcome may serve both, which
    /// [`Pool::dialed`] waits for. `http1_only` is for requests that HTTP/2 cannot carry, `fresh` for those that
    /// do not trust an idle connection.
    pub(crate) fn find(self: &Rc<Pool>, http1_only: bool, fresh: bool) -> Option<Found> {
        if self.connector.announces() {
            return Some(Found::Nothing(None));
        }
        let protocol = self.protocol.get();
        if !fresh
            && (http1_only || protocol != Some(Protocol::Http2))
            && let Some(conn) = self.take_idle()
        {
            return Some(Found::Idle(conn));
        }
        if http1_only || protocol == Some(Protocol::Http1) {
            return Some(Found::Nothing(None));
        }
        if let Some(slot) = self.take_slot() {
            return Some(Found::Room(slot));
        }
        let first = !self.dialing.replace(true);
        first.then(|| Found::Nothing(Some(Dialing(self.clone()))))
    }

    /// Ready once a request that was connecting has succeeded or failed.
    pub(crate) async fn dialed(&self) {
        self.dialed.notified().await;
    }

    /// Takes note of what ALPN chose.
    pub(crate) fn learn(&self, protocol: Protocol) {
        self.protocol.set(Some(protocol));
    }

    /// Shares a new HTTP/2 connection. It is closed when no request uses it and the pool has let it go.
    pub(crate) fn share(self: &Rc<Pool>, link: Link) -> Slot {
        let shared = Rc::new(Shared {
            link,
            retired: Cell::new(false),
            streams: Cell::new(0),
            idle_since_ms: Cell::new(self.clock.now_ms()),
            used: Cell::new(false),
        });
        if !self.gone.get() && !self.connector.announces() {
            self.shared.borrow_mut().push(shared.clone());
        }
        Slot::new(shared, self)
    }

    /// Room on a connection that is open and not full.
    fn take_slot(self: &Rc<Pool>) -> Option<Slot> {
        let mut all = self.shared.borrow_mut();
        all.retain(|s| s.is_open());
        let free = all.iter().find(|s| s.streams.get() < s.link.streams_max())?;
        Some(Slot::new(free.clone(), self))
    }

    /// Closes what is idle for too long, dead, or more than the limit.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|c| self.is_old(c.idle_since_ms)) || idle.len() > self.idle_max.get() {
            idle.pop_front();
        }
        idle.retain_mut(|c| c.is_alive());
        let now = self.clock.now_ms();
        idle.iter_mut().filter(|c| now >= c.idle_since_ms + BUFFER_KEPT_MS).for_each(|c| c.trim());
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
        let mut unused = 0;
        self.shared.borrow_mut().retain(|s| {
            let is_idle = s.streams.get() == 0;
            unused += usize::from(is_idle);
            s.is_open() && !(is_idle && (unused > self.idle_max.get() || self.is_old(s.idle_since_ms.get())))
        });
    }

    /// Closes what is idle, and from now on whatever becomes so: the endpoint is no longer wanted.
    pub(crate) fn close(&self) {
        self.gone.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Connections that no request uses.
    pub(crate) fn idle(&self) -> usize {
        self.idle.borrow().len() + self.shared.borrow().iter().filter(|s| s.streams.get() == 0).count()
    }

    /// True if it holds no connection at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    fn is_old(&self, idle_since_ms: u64) -> bool {
        self.clock.now_ms().saturating_sub(idle_since_ms) >= self.idle_ms_max.get()
    }
}

impl Shared {
    fn is_open(&self) -> bool {
        !self.retired.get() && self.link.takes_streams()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl Slot {
    fn new(shared: Rc<Shared>, pool: &Rc<Pool>) -> Slot {
        shared.streams.set(shared.streams.get() + 1);
        let reused = shared.used.replace(true);
        Slot { shared, pool: pool.clone(), reused }
    }

    /// The connection.
    pub(crate) fn link(&self) -> &Link {
        &self.shared.link
    }

    /// The worker's time.
    pub(crate) fn clock(&self) -> &Rc<Clock> {
        &self.pool.clock
    }

    /// No new request goes this way.
    pub(crate) fn retire(&self) {
        self.shared.retired.set(true);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let left = self.shared.streams.get().saturating_sub(1);
        self.shared.streams.set(left);
        if left == 0 {
            self.shared.idle_since_ms.set(self.pool.clock.now_ms());
            if self.pool.idle_max.get() == 0
                && let Ok(mut all) = self.pool.shared.try_borrow_mut()
            {
                all.retain(|s| !Rc::ptr_eq(s, &self.shared));
            }
        }
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
