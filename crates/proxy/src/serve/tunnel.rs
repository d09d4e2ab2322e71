//! Bytes both ways, until both ends have said goodbye: upgraded connections, and what a listener forwards.
//!
//! It holds no snapshot, only its place at the endpoint: a change never touches it, and it keeps no generation alive.

use std::{io, rc::Rc, time::Duration};

use evergate_kit::deadline::Expired;
use evergate_upstream::Tunnel;
use evergate_wire::{
    Stream, Wire,
    tunnel::{Side, Way, relay},
};

use crate::{meter::End, worker::Worker};

/// Carries bytes between the client and the endpoint that agreed to the upgrade.
pub(super) async fn upgraded(worker: &Rc<Worker>, client: Wire, upstream: Tunnel) {
    let tunnels = &worker.meter.tunnels;
    tunnels.set(tunnels.get() + 1);
    let Wire { io, input, .. } = client;
    run(worker, Side { io, early: input }, upstream, None, |_, _| {}).await;
    tunnels.set(tunnels.get().saturating_sub(1));
}

/// Carries bytes; `idle` is the longest silence, and `moved` is told of each piece.
pub(super) async fn run(
    worker: &Rc<Worker>,
    mut client: Side<Stream>,
    upstream: Tunnel,
    idle: Option<Duration>,
    moved: impl Fn(Way, u64),
) -> End {
    let Tunnel { io, early, lease } = upstream;
    let mut upstream = Side { io, early };
    let silence = worker.clock.deadline();
    let alive = || idle.iter().for_each(|idle| silence.arm(*idle));
    alive();
    let count = |way, n| {
        alive();
        let n = n as u64;
        match way {
            Way::Up => worker.meter.bytes_in.add(n),
            Way::Down => worker.meter.bytes_out.add(n),
        }
        moved(way, n);
    };
    let carried = silence.guard(relay(&mut client, &mut upstream, &worker.scratch, count)).await;
    drop(lease);
    match carried {
        Ok(Ok(())) => End::Whole,
        Ok(Err(error)) => {
            broken(&client, &upstream, &error);
            End::Reset
        }
        Err(Expired) => End::Idle,
    }
}

/// A stream that was cut must not look like one that is whole, to either side.
fn broken(client: &Side<Stream>, upstream: &Side<Stream>, error: &io::Error) {
    tracing::debug!(%error, "stream cut short");
    client.io.carrier().reset();
    upstream.io.carrier().reset();
}
