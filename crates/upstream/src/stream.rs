//! A connection to an endpoint for a stream of bytes: nothing is sent until it is there, so that any endpoint may be
//! tried.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use evergate_contract::{Fault, FaultKind};
use evergate_wire::{Socket, proxy_protocol::Said};

use crate::{
    cluster::Cluster,
    connect::ConnectError,
    ejection::Event,
    forward::Tunnel,
    local::{Local, Picked},
    timer::Timer,
};

/// Connects to an endpoint of the cluster; `within` is for all tries together, and each has `timeouts.connect`. Further
/// endpoints are tried `retries.connect` times. `client` is told where the endpoint is to have a PROXY header.
///
/// # Errors
/// `NoEndpoint` if none lives, `UpstreamConnect`, `UpstreamTimeout`.
pub async fn open(
    local: &Local,
    cluster: &Arc<Cluster>,
    client: Said,
    within: Duration,
) -> Result<Tunnel, Fault> {
    let (site, spec) = (local.site(cluster), cluster.spec());
    let timer = Timer::new(&local.clock, Some(within));
    let (mut tried, mut last) = (Vec::new(), None);
    while tried.len() <= usize::from(spec.retries.connect) && !timer.is_over() {
        let Some(picked) = local.pick(&site, cluster, &tried) else { break };
        let Some(member) = cluster.members().get(picked.place()) else { break };
        let lease = picked.lease();
        timer.arm(*spec.timeouts.connect);
        let carrier = |tcp| Socket::new(tcp, &local.outbox);
        match timer.guard(member.connector.connect(false, client, carrier)).await {
            Ok(Ok(connected)) => {
                note(cluster, &picked, Event::Success);
                return Ok(Tunnel { io: connected.into_stream(), early: BytesMut::new(), lease });
            }
            Ok(Err(error)) => last = Some(unreachable(&picked, &error)),
            Err(_) => last = Some(Fault::new(FaultKind::UpstreamTimeout).because(picked.url().to_owned())),
        }
        note(cluster, &picked, Event::Failure);
        tried.push(picked.place());
    }
    Err(last.unwrap_or_else(|| FaultKind::NoEndpoint.into()))
}

fn unreachable(picked: &Picked, error: &ConnectError) -> Fault {
    Fault::new(FaultKind::UpstreamConnect).because(format!("{}: {error}", picked.url()))
}

fn note(cluster: &Cluster, picked: &Picked, event: Event) {
    if cluster.note(picked, event) {
        tracing::warn!(upstream = %picked.upstream(), endpoint = picked.url(), "endpoint set aside: it takes no connections");
    }
}

#[cfg(test)]
mod tests;
