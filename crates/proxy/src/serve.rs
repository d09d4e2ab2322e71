//! Connections: accepted, handshaken, and handed to the protocol that they speak.

mod announced;
mod h1;
mod h2;
mod h3;
mod handshake;
mod idle;
mod passthrough;
mod quic;
mod stream;
mod taking;
mod tunnel;
mod udp;

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::BytesMut;
use evergate_contract::config::{Carried, Others, Protocol};
use evergate_kit::deadline::{Deadline, Expired};
use evergate_wire::{Plain, Socket, Stream, Wire, h2::PREFACE};
pub(crate) use quic::QuicDoors;
use tokio::task::JoinHandle;

use idle::Idle;
use passthrough::Passed;
pub(crate) use udp::{Carrying, Order, carry as carry_datagrams};

use crate::{
    conn::{Conn, Settings},
    listen::{Acceptor, Listening, Peer, accept_now},
    snapshot::Entrance,
    worker::Worker,
};

/// Wait after a failed accept (no descriptors left, say): the queue is kept by the kernel meanwhile.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts on a socket until the task is aborted.
pub(crate) fn accepting(
    worker: &Rc<Worker>,
    entrance: &Arc<Entrance>,
    socket: &Arc<Listening>,
) -> JoinHandle<()> {
    tokio::task::spawn_local(accept(worker.clone(), entrance.clone(), socket.clone()))
}

async fn accept(worker: Rc<Worker>, entrance: Arc<Entrance>, socket: Arc<Listening>) {
    let acceptor = loop {
        match Acceptor::new(&socket) {
            Ok(acceptor) => break acceptor,
            Err(error) => {
                tracing::error!(listener = %entrance.incarnation.name, %error, "cannot accept, trying again");
            }
        }
        tokio::time::sleep(ACCEPT_RETRY).await;
    };
    loop {
        match acceptor.accept().await {
            Ok((stream, peer)) => begin(&worker, &entrance, &socket, stream, peer),
            // Another worker was told first that the gateway drains, and closed the socket.
            Err(_) if entrance.incarnation.is_over() => return,
            Err(error) => {
                tracing::warn!(listener = %entrance.incarnation.name, %error, "cannot accept, trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Takes what waits in the queue of a socket that is about to close; its connections get one answer each.
pub(crate) fn accept_waiting(worker: &Rc<Worker>, entrance: &Arc<Entrance>, socket: &Arc<Listening>) {
    while let Ok((stream, peer)) = accept_now(socket) {
        begin(worker, entrance, socket, stream, peer);
    }
}

fn begin(
    worker: &Rc<Worker>,
    accepted_by: &Arc<Entrance>,
    socket: &Arc<Listening>,
    stream: Plain,
    peer: Peer,
) {
    let view = worker.view();
    // Settings may have changed since the acceptor began, and so may the listener: what waited in the queue of its
    // socket is for the one that has it now.
    let newest = view.snapshot().and_then(|s| s.owner(&accepted_by.incarnation, socket));
    let entrance = newest.unwrap_or(accepted_by).clone();
    let Some(admitted) = entrance.incarnation.admit(entrance.config.limits.connections) else { return };
    // Where the address is one of many, the kernel is asked which.
    let to = socket.place.address.ip().filter(|ip| !ip.ip().is_unspecified()).or_else(|| stream.local_ip());
    let (settings, front) = (Settings::of(&entrance.config), entrance.front.clone());
    let conn = Rc::new(Conn::new(admitted, (peer, to), settings, front));
    let registered = registered(worker, &conn);
    let serving = conn.clone();
    let task = tokio::task::spawn_local(async move {
        if conn.incarnation().is_over() {
            conn.close_politely();
        }
        speak(&registered.worker, &conn, entrance, stream).await;
    });
    serving.load.is_served_by(task.abort_handle());
}

/// Puts a connection on the worker's list.
fn registered(worker: &Rc<Worker>, conn: &Rc<Conn>) -> Registered {
    Registered { key: worker.register(conn), worker: worker.clone() }
}

/// Takes the connection off the worker's list however its task ends.
struct Registered {
    worker: Rc<Worker>,
    key: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.forget(self.key);
    }
}

async fn speak(worker: &Rc<Worker>, conn: &Rc<Conn>, entrance: Arc<Entrance>, stream: Plain) {
    let settings = Settings::of(&entrance.config);
    let deadline = worker.clock.deadline();
    if !expected(&stream, conn, &entrance, &deadline).await {
        return;
    }
    deadline.arm(settings.handshake_timeout);
    let mut wire = Wire::new(Stream::Tcp(Socket::new(stream, &worker.outbox)), BytesMut::new());
    if entrance.passthrough.is_some() {
        match passthrough::sort(worker, conn, &entrance, &mut wire, &deadline).await {
            Some(Passed::Onward(onward)) => {
                return stream::carry(worker, conn, onward, wire.io, wire.input).await;
            }
            Some(Passed::Here) => {}
            None => return,
        }
    }
    if let Some(tls) = &entrance.tls {
        let Some((socket, early)) = passthrough::unread(wire) else { return };
        // Boxed: what a handshake needs is much, and of no use afterwards.
        match deadline.guard(Box::pin(handshake::shake(worker, conn, tls, socket, &early))).await {
            Ok(Ok(stream)) => wire = Wire::new(Stream::Tls(stream), BytesMut::new()),
            Ok(Err(error)) => return tracing::debug!(peer = %conn.peer(), %error, "TLS handshake failed"),
            Err(_) => return,
        }
    }
    if entrance.carries == Carried::Tcp {
        let newest = conn.newest(&worker.view());
        let onward = newest.as_deref().unwrap_or(&entrance).tcp.clone();
        let Some(onward) = onward else { return };
        drop((newest, entrance));
        return stream::carry(worker, conn, onward, wire.io, wire.input).await;
    }
    let (http1, http2) = (entrance.http1, entrance.http2);
    drop(entrance);
    let protocol = match wire.io.alpn() {
        Some(b"h2") => Protocol::Http2,
        Some(_) => Protocol::Http1,
        None if !http2 => Protocol::Http1,
        None if !http1 => Protocol::Http2,
        None => match by_first_bytes(worker, &mut wire, conn, &deadline).await {
            Some(protocol) => protocol,
            None => return,
        },
    };
    conn.speaks(protocol);
    match protocol {
        Protocol::Http1 => h1::serve(worker, conn, wire, deadline).await,
        Protocol::Http2 => h2::serve(worker, conn, wire, deadline).await,
        // It is not spoken over TCP, so neither ALPN nor the first bytes lead here.
        Protocol::Http3 => {}
    }
}

/// Lets a proxy say for whom it connects, where that is to be believed. False: the connection is not wanted.
async fn expected(stream: &Plain, conn: &Conn, entrance: &Entrance, deadline: &Deadline) -> bool {
    let settings = Settings::of(&entrance.config);
    if let Some(proxies) = &entrance.config.proxy_protocol {
        let peer = conn.peer().ip();
        if proxies.from.iter().any(|source| source.has(peer)) {
            deadline.arm(settings.handshake_timeout);
            match deadline.guard(announced::read(stream)).await {
                Ok(Ok(said)) => conn.announced(said),
                Ok(Err(error)) => {
                    tracing::debug!(peer = %conn.peer(), %error, "no PROXY header");
                    return false;
                }
                Err(_) => return false,
            }
            deadline.disarm();
        } else if proxies.others == Others::Refuse {
            return false;
        }
    }
    conn.count_for_client(settings.per_client)
}

/// Reads until it is clear what the client speaks, for so long after its first byte as a handshake may take. `None`: it is
/// gone, or took too long.
async fn by_first_bytes(
    worker: &Rc<Worker>,
    wire: &mut Wire,
    conn: &Conn,
    deadline: &Deadline,
) -> Option<Protocol> {
    let mut closing = false;
    let idle = Idle::default();
    idle.begin(worker, conn, deadline);
    loop {
        let seen = wire.input.len();
        let compared = seen.min(PREFACE.len());
        if wire.input.get(..compared) != PREFACE.get(..compared) {
            return Some(Protocol::Http1);
        }
        if compared == PREFACE.len() {
            return Some(Protocol::Http2);
        }
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = wire.poll_fill(cx) {
                return Poll::Ready(First::Read(read.unwrap_or(0)));
            }
            if closing || seen > 0 {
                return deadline.poll_expired(cx).map(|Expired| First::Read(0));
            }
            if let Poll::Ready(wait) = conn.poll_closing(cx) {
                return Poll::Ready(First::Closing(wait));
            }
            idle.poll_over(cx, worker, conn, deadline).map(|Expired| First::Read(0))
        });
        match read.await {
            First::Closing(wait) => {
                closing = true;
                deadline.arm(wait);
            }
            First::Read(0) => return None,
            First::Read(n) if n == wire.input.len() => {
                deadline.arm(conn.settings(&worker.view()).handshake_timeout);
            }
            First::Read(_) => {}
        }
    }
}

/// What happens before it is clear what a client speaks.
enum First {
    /// So many bytes; none once it is gone, or takes too long.
    Read(usize),
    /// The connection is to end after so long.
    Closing(Duration),
}
