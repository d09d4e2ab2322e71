//! A client's connection, as the worker and the exchanges on it see it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use evergate_contract::config::{Listener, ListenerTls, Protocol};
use evergate_kit::Pace;
use evergate_tls::{ClientRule, Identity};
use evergate_wire::{h1::HeadLimits, proxy_protocol::Said};
use http::HeaderValue;

use crate::{
    carries::Load,
    front::Front,
    listen::{Admitted, Incarnation, OfClient, Peer},
    snapshot::{Entrance, Snapshot},
    view::View,
};

/// How long an idle HTTP/1 connection that is to end waits for a request that may be under way, to answer it with
/// `Connection: close`: HTTP/1 has no other way to say so (RFC 9112 §9.6).
const LAST_REQUEST_WAIT: Duration = Duration::from_secs(1);
/// The same, where nobody is in a hurry: a client that stalls for longer while it sends may find its connection closed.
const PATIENT_WAIT: Duration = Duration::from_secs(10);

/// The listener's limits and timeouts, in a form that is cheap to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Limits of a request's head.
    pub head: HeadLimits,
    /// Bytes of a request's body.
    pub body_max: Option<u64>,
    /// Requests at once on an HTTP/2 connection.
    pub streams_max: u32,
    /// Connections of one client.
    pub per_client: Option<u32>,
    /// Requests on one connection.
    pub requests_max: Option<u32>,
    /// How fast bodies have to move.
    pub pace: Option<Pace>,
    /// For a handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// Silence within a body.
    pub body_timeout: Duration,
    /// Some clients have to show who they are.
    pub asks_clients: bool,
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
            per_client: limits.connections_per_client,
            requests_max: limits.requests,
            pace: limits.body_rate.map(|rate| Pace::new(rate.0, *timeouts.grace)),
            handshake_timeout: *timeouts.handshake,
            header_timeout: *timeouts.header,
            idle_timeout: *timeouts.idle,
            body_timeout: *timeouts.body,
            asks_clients: listener.tls.as_ref().is_some_and(ListenerTls::asks_clients),
        }
    }
}

/// What a handshake agreed on, besides the keys.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    /// The name that the client asked for.
    pub name: Option<Box<str>>,
    /// Who the client had to be.
    pub rule: Option<Arc<ClientRule>>,
    /// Who it is, if it showed a certificate.
    pub client: Option<Identity>,
}

/// One connection.
pub(crate) struct Conn {
    admitted: Admitted,
    /// The client, or the proxy that connects for it.
    peer: Cell<Peer>,
    /// What it connected to.
    to: Cell<Option<SocketAddr>>,
    /// The peer's address as `X-Forwarded-For` has it; a Unix socket has none.
    forwarded_for: OnceCell<Option<HeaderValue>>,
    of_client: RefCell<Option<OfClient>>,
    requests: Cell<u32>,
    front: RefCell<Option<Arc<Front>>>,
    protocol: Cell<Option<Protocol>>,
    /// Set once, by a TLS handshake.
    agreed: OnceCell<Box<Agreed>>,
    settings: Cell<(u64, Settings)>,
    alt_svc: RefCell<Option<HeaderValue>>,
    /// Present: it is to end, and waits so long for a request that may be under way.
    closing: Cell<Option<Duration>>,
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// What it carries, and who serves it.
    pub load: Load,
    /// Requests that hold a view: its sequence and their number. On HTTP/1 one at most, on HTTP/2 hardly ever more entries.
    holds: RefCell<Vec<(u64, u32)>>,
}

/// A request's hold on the view that it began with.
pub(crate) struct Held<'c> {
    view: Rc<View>,
    conn: &'c Conn,
}

impl std::ops::Deref for Held<'_> {
    type Target = View;
    fn deref(&self) -> &View {
        &self.view
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut holds = self.conn.holds.borrow_mut();
        if let Some((_, requests)) = holds.iter_mut().find(|(sequence, _)| *sequence == self.view.sequence) {
            *requests -= 1;
        }
        let before = holds.len();
        holds.retain(|(_, requests)| *requests > 0);
        self.view.released(holds.len() < before);
    }
}

impl Conn {
    /// A connection that was just accepted.
    #[must_use]
    pub(crate) fn new(
        admitted: Admitted,
        (peer, to): (Peer, Option<SocketAddr>),
        settings: Settings,
        front: Option<Arc<Front>>,
    ) -> Conn {
        Conn {
            admitted,
            peer: Cell::new(peer),
            to: Cell::new(to),
            forwarded_for: OnceCell::new(),
            of_client: RefCell::default(),
            requests: Cell::new(0),
            front: RefCell::new(front),
            protocol: Cell::new(None),
            agreed: OnceCell::new(),
            settings: Cell::new((0, settings)),
            alt_svc: RefCell::new(None),
            closing: Cell::new(None),
            told: Cell::new(false),
            waker: RefCell::new(None),
            load: Load::default(),
            holds: RefCell::default(),
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
        let settings = match self.newest(view) {
            Some(entrance) => {
                self.front.replace(entrance.front.clone());
                self.alt_svc.replace(entrance.quic.as_ref().and_then(|quic| quic.alt_svc.clone()));
                Settings::of(&entrance.config)
            }
            None => settings,
        };
        self.settings.set((view.sequence, settings));
        settings
    }

    /// What its listener does before routes, as of the last [`Conn::settings`]. Most have none.
    #[must_use]
    pub(crate) fn front(&self) -> Option<Arc<Front>> {
        self.front.borrow().clone()
    }

    /// The client, or the proxy that connects for it and says no more of it by the PROXY protocol.
    #[must_use]
    pub(crate) fn peer(&self) -> Peer {
        self.peer.get()
    }

    /// A trusted proxy says for whom it connects; to be called before anything asks for the peer.
    pub(crate) fn announced(&self, said: Said) {
        if let Said::From { source, destination } = said {
            self.peer.set(Peer::Ip(source));
            self.to.set(Some(destination));
        }
    }

    /// Both ends of the connection as a PROXY header has them.
    #[must_use]
    pub(crate) fn ends(&self) -> Said {
        match (self.peer.get(), self.to.get()) {
            (Peer::Ip(source), Some(destination)) => Said::From { source, destination },
            _ => Said::Nothing,
        }
    }

    /// The peer's address as `X-Forwarded-For` has it.
    #[must_use]
    pub(crate) fn forwarded_for(&self) -> Option<&HeaderValue> {
        let text = || self.peer.get().ip().and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok());
        self.forwarded_for.get_or_init(text).as_ref()
    }

    /// Counts it for its client, where that has a limit. False if the client has too many.
    #[must_use]
    pub(crate) fn count_for_client(&self, most: Option<u32>) -> bool {
        let (Some(most), Some(ip)) = (most, self.peer.get().ip()) else { return true };
        let mut of_client = self.of_client.borrow_mut();
        if of_client.is_some() {
            return true;
        }
        let (counted, count) = OfClient::count(self.incarnation(), ip);
        *of_client = Some(counted);
        count <= most
    }

    /// One more request; the last that the listener allows ends the connection politely.
    pub(crate) fn begin_request(&self, settings: &Settings) {
        self.requests.set(self.requests.get().saturating_add(1));
        if settings.requests_max.is_some_and(|most| self.requests.get() >= most) {
            self.close_politely();
        }
    }

    /// Its listener in this view, unless that is gone.
    #[must_use]
    pub(crate) fn newest(&self, view: &View) -> Option<Arc<Entrance>> {
        let entrance = view.snapshot()?.listeners.get(&self.incarnation().name)?;
        Arc::ptr_eq(&entrance.incarnation, self.incarnation()).then(|| entrance.clone())
    }

    /// What an answer over TCP says of HTTP/3 in this view (RFC 7838).
    #[must_use]
    pub(crate) fn alt_svc(&self, view: &View) -> Option<HeaderValue> {
        if self.protocol.get() == Some(Protocol::Http3) {
            return None;
        }
        let _ = self.settings(view);
        self.alt_svc.borrow().clone()
    }

    /// Both sides have agreed what to speak.
    pub(crate) fn speaks(&self, protocol: Protocol) {
        self.protocol.set(Some(protocol));
    }

    /// A TLS handshake is done.
    pub(crate) fn agreed(&self, agreed: Agreed) {
        // Once, before anything is asked.
        let _ = self.agreed.set(Box::new(agreed));
    }

    /// Who the client is, if it showed a certificate that is good.
    #[must_use]
    pub(crate) fn client(&self) -> Option<&Identity> {
        self.agreed.get()?.client.as_ref()
    }

    /// Whether the client showed of itself what it has to show to whom it asks for something of this host: settings differ by
    /// name, and one connection may ask for several.
    #[must_use]
    pub(crate) fn may_ask(&self, snapshot: &Snapshot, host: Option<&str>) -> bool {
        let tls = snapshot.listeners.get(&self.incarnation().name).and_then(|e| e.tls.as_ref());
        let wanted =
            tls.and_then(|tls| tls.rule_of(&host.map(evergate_router::canonical).unwrap_or_default()));
        wanted.is_none()
            || ClientRule::same(wanted, self.agreed.get().and_then(|agreed| agreed.rule.as_ref()))
    }

    /// Whether the listener still asks this connection's client for what it was let in by.
    #[must_use]
    pub(crate) fn is_let_in(&self, snapshot: &Snapshot) -> bool {
        let Some(agreed) = self.agreed.get() else { return true };
        let tls = snapshot.listeners.get(&self.incarnation().name).and_then(|e| e.tls.as_ref());
        let name = agreed.name.as_deref();
        tls.is_none_or(|tls| match tls.rule_of(name.unwrap_or_default()) {
            None => true,
            wanted => ClientRule::same(wanted, agreed.rule.as_ref()),
        })
    }

    /// Whether the listener still allows what is spoken here.
    #[must_use]
    pub(crate) fn may_speak(&self, snapshot: &Snapshot) -> bool {
        let entrance = snapshot.listeners.get(&self.incarnation().name);
        entrance.is_none_or(|e| match self.protocol.get() {
            Some(Protocol::Http1) => e.http1,
            Some(Protocol::Http2) => e.http2,
            Some(Protocol::Http3) => e.quic.is_some(),
            None => true,
        })
    }

    /// Its listener has other settings: lets it look at them also if no request comes.
    pub(crate) fn tell_of_settings(&self) {
        self.told.set(true);
        self.wake();
    }

    /// True once after it was told of settings.
    pub(crate) fn take_told(&self) -> bool {
        self.told.take()
    }

    /// The current request is to be the last: `Connection: close`, or GOAWAY; an idle connection ends soon.
    pub(crate) fn close_politely(&self) {
        self.close_after(LAST_REQUEST_WAIT);
    }

    /// The same, where nobody is in a hurry.
    pub(crate) fn close_patiently(&self) {
        self.close_after(PATIENT_WAIT);
    }

    fn close_after(&self, wait: Duration) {
        self.closing.set(Some(wait));
        self.wake();
    }

    /// Lets the connection's task look at how things stand.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// True once it is to end.
    #[must_use]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }

    /// Ready once it is to end, with the time for which an idle one waits for a last request; else the task is woken then.
    pub(crate) fn poll_closing(&self, cx: &mut Context<'_>) -> Poll<Duration> {
        if let Some(wait) = self.closing.get() {
            return Poll::Ready(wait);
        }
        self.wakes(cx);
        Poll::Pending
    }

    /// Has [`Conn::wake`] wake this task.
    pub(crate) fn wakes(&self, cx: &mut Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(w) if w.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Holds a view for a request on this connection.
    pub(crate) fn hold(&self, view: Rc<View>) -> Held<'_> {
        let mut holds = self.holds.borrow_mut();
        let known = holds.iter_mut().find(|(sequence, _)| *sequence == view.sequence);
        view.held(known.is_none());
        match known {
            Some((_, requests)) => *requests += 1,
            None => holds.push((view.sequence, 1)),
        }
        Held { view, conn: self }
    }

    /// Sequence of the oldest view that a request here holds; `u64::MAX` for none.
    #[must_use]
    pub(crate) fn oldest_request(&self) -> u64 {
        self.holds.borrow().iter().map(|(sequence, _)| *sequence).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering, mpsc};

    use evergate_contract::config::Carried;

    use super::*;
    use crate::{snapshot::Published, view::Shared};

    #[test]
    fn requests_and_their_connections_are_counted_apart() {
        let config: Listener = serde_json::from_str(r#"{ "address": "127.0.0.1:0" }"#).unwrap();
        let listener = Arc::new(Incarnation::new("a".into(), String::new(), false, Carried::Http));
        let peer = (Peer::Unix, None);
        let open = || Conn::new(listener.admit(None).unwrap(), peer, Settings::of(&config), None);
        let (one, two) = (open(), open());
        let shared = Shared {
            published: Published::default(),
            reaper: mpsc::channel().0,
            via: HeaderValue::from_static("1.1 test"),
        };
        let view = Rc::new(View::empty(&shared));
        let counts = || {
            let count = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
            (count(&view.hold.connections), count(&view.hold.requests))
        };
        let (first, second) = (one.hold(view.clone()), one.hold(view.clone()));
        assert_eq!((counts(), one.oldest_request(), two.oldest_request()), ((1, 2), 0, u64::MAX));
        let third = two.hold(view.clone());
        assert_eq!(counts(), (2, 3));
        drop(first);
        assert_eq!((counts(), one.oldest_request()), ((2, 2), 0));
        drop((second, third));
        assert_eq!((counts(), one.oldest_request()), ((0, 0), u64::MAX));
    }
}
