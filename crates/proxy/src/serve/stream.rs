//! A connection whose bytes are carried to an upstream as they are.
//!
//! Which upstream it is, is decided by the newest snapshot when the connection is ready to be carried; from then on
//! it is a tunnel, and no change touches it.

use std::{rc::Rc, sync::Arc};

use bytes::BytesMut;
use evergate_contract::{Fault, FaultKind};
use evergate_upstream::{Tunnel, stream};
use evergate_wire::{
    Stream,
    tunnel::{Side, Way},
};

use super::tunnel;
use crate::{carries::Carries, conn::Conn, meter::End, onward::Onward, worker::Worker};

/// Carries a connection. `early` was read from it already.
pub(super) async fn carry(
    worker: &Rc<Worker>,
    conn: &Conn,
    onward: Arc<Onward>,
    io: Stream,
    early: BytesMut,
) {
    conn.load.becomes(Carries::Tunnel);
    let listener = &conn.incarnation().name;
    let streams = worker.meter.streams(listener);
    let idle = Some(onward.idle);
    let connected = connect(worker, conn, &onward).await;
    drop(onward);
    let end = match connected {
        Ok(upstream) => {
            let moved = |way, n| match way {
                Way::Up => streams.received.add(n),
                Way::Down => streams.sent.add(n),
            };
            tunnel::run(worker, Side { io, early }, upstream, idle, moved).await
        }
        Err(fault) => {
            let cause = fault.cause.as_ref().map(tracing::field::display);
            tracing::debug!(%listener, code = fault.code(), cause, "stream not carried");
            io.carrier().reset();
            End::Unreachable
        }
    };
    streams.ended(end);
}

async fn connect(worker: &Rc<Worker>, conn: &Conn, onward: &Onward) -> Result<Tunnel, Fault> {
    let name = onward.to.choose(&worker.rng).ok_or(FaultKind::NoEndpoint)?;
    // By its name: a listener that was taken out just now may have forwarded to one that was as well.
    let cluster = worker.view().snapshot().and_then(|s| s.cluster(name)).cloned();
    let cluster = cluster.ok_or(FaultKind::NoEndpoint)?;
    stream::open(&worker.upstreams, &cluster, conn.ends(), onward.connect).await
}
