//! Where QUIC connections come in: one endpoint for each socket, on the first worker, which is
//! there for as long as any is.
//!
//! An endpoint stays for as long as it is wanted or has connections: packets come by its socket until they end.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use evergate_contract::config::{Name, Protocol};
use evergate_tls::{ClientRule, Identity};
use evergate_wire::h3::code;
use quinn::{Endpoint, Incoming, ServerConfig, VarInt, crypto::rustls::HandshakeData};
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;

use super::{h3, handshake, registered};
use crate::{
    conn::{Agreed, Conn, Settings},
    listen::{Peer, UdpBound},
    quic::{self, Quic},
    snapshot::{Entrance, Snapshot},
    worker::Worker,
};

/// Wait after a socket could not be taken up (no descriptors left, say).
const OPEN_RETRY: Duration = Duration::from_millis(50);
/// With so many handshakes under way, who begins another one first has to show that it is where it says it is
/// (RFC 9000 §8.1.2): a round trip more for it, no state for us.
const HANDSHAKES_MAX: usize = 256;

/// The endpoints of a worker, by the address of their sockets.
#[derive(Default)]
pub(crate) struct QuicDoors(Rc<RefCell<Table>>);

type Table = HashMap<usize, Rc<Door>>;

struct Door {
    socket: Arc<UdpBound>,
    /// The listener that takes new connections; nobody's while the endpoint only finishes what it has.
    listener: RefCell<Option<Name>>,
    changed: Notify,
    /// While it is open.
    endpoint: RefCell<Option<Endpoint>>,
    handshakes: Cell<usize>,
}

impl QuicDoors {
    /// Opens endpoints where the snapshot says; others take no connections any more.
    pub(crate) fn follow(&self, worker: &Rc<Worker>, snapshot: &Snapshot) {
        let mut wanted: HashMap<usize, (&Name, &Quic, Arc<UdpBound>)> = HashMap::new();
        if worker.accepting().is_some_and(|rank| rank.index == 0) {
            let live = snapshot.listeners.values().filter(|e| !e.incarnation.is_over());
            wanted.extend(live.filter_map(|e| {
                let quic = e.quic.as_ref()?;
                let socket = quic.socket.upgrade()?;
                Some((key(&socket), (&e.incarnation.name, quic, socket)))
            }));
        }
        let mut doors = self.0.borrow_mut();
        for (key, door) in doors.iter() {
            let listener = wanted.remove(key).map(|(name, ..)| name.clone());
            if door.listener.replace(listener.clone()) != listener {
                door.changed.notify_one();
            }
        }
        for (key, (name, quic, socket)) in wanted {
            let door = Rc::new(Door {
                socket,
                listener: RefCell::new(Some(name.clone())),
                changed: Notify::new(),
                endpoint: RefCell::new(None),
                handshakes: Cell::new(0),
            });
            doors.insert(key, door.clone());
            let (worker, table) = (worker.clone(), self.0.clone());
            let (steering, config) = (quic.steering.clone(), quic.config.clone());
            // At once: whoever hears that this worker has the snapshot may send clients here.
            let first = quic::endpoint(&door.socket, &steering, &config);
            tokio::task::spawn_local(async move {
                let again = || quic::endpoint(&door.socket, &steering, &config);
                serve(&worker, &door, first, again).await;
                table.borrow_mut().remove(&key);
            });
        }
    }
}

impl QuicDoors {
    /// The thread ends: whoever is still connected is told, since no kernel does it for us.
    pub(crate) fn end(&self) {
        for door in self.0.borrow().values() {
            if let Some(endpoint) = &*door.endpoint.borrow() {
                endpoint.close(VarInt::from_u32(code::NO_ERROR), b"");
            }
        }
    }
}

fn key(socket: &Arc<UdpBound>) -> usize {
    Arc::as_ptr(socket) as usize
}

/// Serves a socket until nobody wants it and no connection is left.
async fn serve(
    worker: &Rc<Worker>,
    door: &Rc<Door>,
    mut opened: io::Result<Endpoint>,
    again: impl Fn() -> io::Result<Endpoint>,
) {
    let endpoint = loop {
        match opened {
            Ok(endpoint) => break endpoint,
            Err(error) => {
                tracing::error!(address = %door.socket.address, %error, "cannot serve QUIC, trying again");
            }
        }
        tokio::time::sleep(OPEN_RETRY).await;
        if door.listener.borrow().is_none() {
            return;
        }
        opened = again();
    };
    door.endpoint.replace(Some(endpoint.clone()));
    take(worker, door, &endpoint).await;
    door.endpoint.replace(None);
}

async fn take(worker: &Rc<Worker>, door: &Rc<Door>, endpoint: &Endpoint) {
    loop {
        let unwanted = door.listener.borrow().is_none();
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => begin(worker, door, incoming),
                None => return,
            },
            () = door.changed.notified() => {}
            () = endpoint.wait_idle(), if unwanted => {
                if door.listener.borrow().is_none() {
                    return;
                }
            }
        }
    }
}

fn begin(worker: &Rc<Worker>, door: &Rc<Door>, incoming: Incoming) {
    let Some((entrance, quic)) = entrance(worker, door) else { return incoming.refuse() };
    if door.handshakes.get() >= HANDSHAKES_MAX && !incoming.remote_address_validated() {
        // It may be asked for that once, and has just been found not to have been.
        let _ = incoming.retry();
        return;
    }
    let limit = entrance.config.limits.connections;
    let Some(admitted) = entrance.incarnation.admit(limit) else { return incoming.refuse() };
    let peer = incoming.remote_address();
    let connecting = match incoming.accept_with(quic) {
        Ok(connecting) => connecting,
        Err(error) => return tracing::debug!(%peer, %error, "QUIC handshake failed"),
    };
    let settings = Settings::of(&entrance.config);
    let rule = entrance.tls.as_ref().and_then(|tls| tls.rule()).cloned();
    let ends = (Peer::Ip(peer), Some(door.socket.address));
    let conn = Rc::new(Conn::new(admitted, ends, settings, entrance.front.clone()));
    conn.speaks(Protocol::Http3);
    let registered = registered(worker, &conn);
    door.handshakes.set(door.handshakes.get() + 1);
    let (door, serving) = (door.clone(), conn.clone());
    let task = tokio::task::spawn_local(async move {
        let deadline = registered.worker.clock.deadline();
        deadline.arm(settings.handshake_timeout);
        let shaken = deadline.guard(connecting).await;
        door.handshakes.set(door.handshakes.get() - 1);
        match shaken {
            // Not before: until now its address could be a made up one, and the client somebody else.
            Ok(Ok(_)) if !conn.count_for_client(settings.per_client) => {}
            Ok(Ok(quic)) => {
                handshake::done(&registered.worker, &conn, agreed(&quic, rule));
                h3::serve(&registered.worker, &conn, quic, deadline).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "QUIC handshake failed"),
            Err(_) => {}
        }
    });
    serving.load.is_served_by(task.abort_handle());
}

/// What a handshake agreed on in which that rule held.
fn agreed(quic: &quinn::Connection, rule: Option<Arc<ClientRule>>) -> Agreed {
    let data = quic.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    let name = data.and_then(|data| data.server_name).map(Into::into);
    let chain = quic.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let client = chain.and_then(|chain| Identity::of(chain.first()?));
    Agreed { name, rule, client }
}

/// What takes new connections of this socket now.
fn entrance(worker: &Rc<Worker>, door: &Door) -> Option<(Arc<Entrance>, Arc<ServerConfig>)> {
    let name = door.listener.borrow().clone()?;
    let view = worker.view();
    let entrance = view.snapshot()?.listeners.get(&name)?;
    let quic = entrance.quic.as_ref().filter(|quic| quic.socket.as_ptr() == Arc::as_ptr(&door.socket))?;
    (!entrance.incarnation.is_over()).then(|| (entrance.clone(), quic.config.clone()))
}
