//! An upgraded connection: bytes both ways until both ends have said goodbye.
//!
//! It holds no snapshot, only its place at the endpoint: a change never touches it, and it keeps no generation alive.

use std::rc::Rc;

use evergate_upstream::Tunnel;
use evergate_wire::{
    Wire,
    tunnel::{Side, relay},
};

use crate::worker::Worker;

/// Carries bytes between the client and the endpoint that agreed to the upgrade.
pub(super) async fn run(worker: &Rc<Worker>, client: Wire, upstream: Tunnel) {
    let Wire { io, input, .. } = client;
    let tunnels = &worker.meter.tunnels;
    tunnels.set(tunnels.get() + 1);
    let Tunnel { io: upstream_io, early, lease } = upstream;
    let carried = relay(Side { io, early: input }, Side { io: upstream_io, early }).await;
    drop(lease);
    tunnels.set(tunnels.get().saturating_sub(1));
    match carried {
        Ok((up, down)) => {
            worker.meter.bytes_in.add(up);
            worker.meter.bytes_out.add(down);
        }
        Err(error) => tracing::debug!(%error, "tunnel ended"),
    }
}
