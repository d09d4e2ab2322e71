//! A client's connection, as the worker and the exchanges on it see it.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use evergate_contract::config::{Listener, Protocol};
use evergate_wire::h1::HeadLimits;
use http::HeaderValue;

use crate::{
    listen::{Admitted, Incarnation},
    snapshot::Snapshot,
    view::View,
};

/// The listener's limits and timeouts, in a form that is cheap to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Limits of a request's head.
    pub head: HeadLimits,
    /// Bytes of a request's body.
    pub body_max: Option<u64>,
    /// Requests at once on an HTTP/2 connection.
    pub streams_max: u32,
    /// From the first byte of a head to its last, and for a handshake.
    pub header_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// Silence within a body.
    pub body_timeout: Duration,
}

impl Settings {
    /// Those of a listener.
    #[must_use]
    pub(crate) fn of(listener: &Listener) -> Settings {
        let (limits, timeouts) = (&listener.limits, &listener.timeouts);
        Settings {
            head: HeadLimits {
                bytes: usize::try_from(limits.header_bytes.0).unwrap_or(usize::MAX),
                headers: usize::from(limits.headers),
            },
            body_max: limits.body.map(|size| size.0),
            streams_max: limits.streams,
            header_timeout: *timeouts.header,
            idle_timeout: *timeouts.idle,
            body_timeout: *timeouts.body,
        }
    }
}

/// One connection.
pub(crate) struct Conn {
    admitted: Admitted,
    /// The client.
    pub peer: SocketAddr,
    /// The client's address as `X-Forwarded-For` has it.
    pub forwarded_for: HeaderValue,
    protocol: Cell<Option<Protocol>>,
    settings: Cell<(u64, Settings)>,
    closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Sequence of the oldest snapshot that a request in flight began with; `u64::MAX` for none.
    oldest: Cell<u64>,
}

impl Conn {
    /// A connection that was just accepted.
    #[must_use]
    pub(crate) fn new(admitted: Admitted, peer: SocketAddr, settings: Settings) -> Conn {
        let ip = peer.ip().to_canonical().to_string();
        Conn {
            admitted,
            peer,
            forwarded_for: HeaderValue::from_str(&ip).unwrap_or(HeaderValue::from_static("unknown")),
            protocol: Cell::new(None),
            settings: Cell::new((0, settings)),
            closing: Cell::new(false),
            waker: RefCell::new(None),
            oldest: Cell::new(u64::MAX),
        }
    }

    /// What accepted it.
    #[must_use]
    pub(crate) fn incarnation(&self) -> &Arc<Incarnation> {
        self.admitted.by()
    }

    /// The listener's settings in this view; those it had last, once it is gone.
    #[must_use]
    pub(crate) fn settings(&self, view: &View) -> Settings {
        let (seen, settings) = self.settings.get();
        if seen == view.sequence {
            return settings;
        }
        let entrance = view.snapshot().and_then(|s| s.listeners.get(&self.incarnation().name));
        let settings = match entrance {
            Some(e) if Arc::ptr_eq(&e.incarnation, self.incarnation()) => Settings::of(&e.config),
            _ => settings,
        };
        self.settings.set((view.sequence, settings));
        settings
    }

    /// Both sides have agreed what to speak.
    pub(crate) fn speaks(&self, protocol: Protocol) {
        self.protocol.set(Some(protocol));
    }

    /// Whether the listener still allows what is spoken here.
    #[must_use]
    pub(crate) fn may_speak(&self, snapshot: &Snapshot) -> bool {
        let entrance = snapshot.listeners.get(&self.incarnation().name);
        entrance.is_none_or(|e| match self.protocol.get() {
            Some(Protocol::Http1) => e.http1,
            Some(Protocol::Http2) => e.http2,
            None => true,
        })
    }

    /// The current request is to be the last: `Connection: close`, or GOAWAY; an idle connection ends now.
    pub(crate) fn close_politely(&self) {
        self.closing.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// True once it is to end.
    #[must_use]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Ready once it is to end; else the task is woken then.
    pub(crate) fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(w) if w.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Notes that a request began with this snapshot. On HTTP/2 the oldest counts.
    pub(crate) fn request_began(&self, sequence: u64) {
        self.oldest.set(self.oldest.get().min(sequence));
    }

    /// Notes that no request is in flight.
    pub(crate) fn idle(&self) {
        self.oldest.set(u64::MAX);
        self.wake();
    }

    /// Sequence of the oldest snapshot in use here; `u64::MAX` for none.
    #[must_use]
    pub(crate) fn oldest_request(&self) -> u64 {
        self.oldest.get()
    }
}
