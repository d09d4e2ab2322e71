//! A socket to an endpoint for the datagrams of one client.

use std::{io, sync::Arc, time::Duration};

use evergate_contract::{Fault, FaultKind};
use rustix::io::Errno;
use tokio::net::UdpSocket;

use crate::{
    cluster::Cluster,
    connect::ConnectError,
    ejection::Event,
    local::{Lease, Local},
};

/// The look-up of a name takes no longer; then another endpoint is tried.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// A way to an endpoint. While it is held, it counts as one request in flight there.
#[derive(Debug)]
pub struct Flow {
    /// Sends to the endpoint, and receives from it alone.
    pub socket: UdpSocket,
    lease: Lease,
}

/// Chooses an endpoint of the cluster. Nothing is sent.
///
/// # Errors
/// `NoEndpoint` if none lives, `UpstreamConnect` if none has an address.
pub async fn open(local: &Local, cluster: &Arc<Cluster>) -> Result<Flow, Fault> {
    let site = local.site(cluster);
    let (mut tried, mut last) = (Vec::new(), None);
    while let Some(picked) = local.pick(&site, cluster, &tried) {
        let Some(member) = cluster.members().get(picked.place()) else { break };
        let deadline = local.clock.deadline();
        deadline.arm(LOOKUP_MAX);
        let lease = picked.lease();
        let why = match deadline.guard(member.connector.udp()).await {
            Ok(Ok(socket)) => return Ok(Flow { socket, lease }),
            Ok(Err(ConnectError::Tcp(error))) if is_own(&error) => {
                // Another endpoint would need one as well, and this one may be as sound as ever.
                return Err(Fault::new(FaultKind::UpstreamConnect).because(error.to_string()));
            }
            Ok(Err(error)) => format!("{}: {error}", picked.url()),
            Err(_) => format!("{}: no address in time", picked.url()),
        };
        last = Some(Fault::new(FaultKind::UpstreamConnect).because(why));
        note(cluster, &lease, Event::Failure);
        tried.push(picked.place());
    }
    Err(last.unwrap_or_else(|| FaultKind::NoEndpoint.into()))
}

/// True if it is us who have no socket left.
fn is_own(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN))
}

impl Flow {
    /// True while the cluster would send a client there.
    #[must_use]
    pub fn fits(&self, cluster: &Cluster) -> bool {
        let (spec, place) = (cluster.spec(), self.lease.endpoint().place());
        let here = |m: &&crate::Member| std::ptr::eq(&*m.state, &**self.lease.endpoint());
        // It is where it was, unless the list has changed.
        let at_hand = cluster.members().get(place).filter(here);
        let member = at_hand.or_else(|| cluster.members().iter().find(here));
        member.is_some_and(|m| m.weight > 0 && m.is_up(spec.health.is_some(), spec.ejection.is_some()))
    }

    /// Takes note of an answer, or of being told that nobody takes datagrams there.
    pub fn note(&self, cluster: &Cluster, answered: bool) {
        note(cluster, &self.lease, if answered { Event::Success } else { Event::Failure });
    }
}

fn note(cluster: &Cluster, lease: &Lease, event: Event) {
    let endpoint = lease.endpoint();
    if cluster.note(endpoint, event) {
        tracing::warn!(upstream = %endpoint.upstream(), endpoint = endpoint.url(), "endpoint set aside: it takes no datagrams");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Rig, run};

    async fn server() -> (UdpSocket, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let url = format!("udp://{}", socket.local_addr().unwrap());
        (socket, url)
    }

    #[test]
    fn clients_are_balanced_and_stay_while_it_fits() {
        run(async {
            let (rig, (_a, a), (_b, b)) = (Rig::new(), server().await, server().await);
            let both = rig.cluster(json!({ "endpoints": [a, b] }));
            let one = open(&rig.local, &both).await.unwrap();
            let two = open(&rig.local, &both).await.unwrap();
            let load = || both.members().iter().map(|m| m.state.in_flight()).collect::<Vec<_>>();
            assert_eq!(load(), [1, 1]);
            assert_ne!(one.socket.peer_addr().unwrap(), two.socket.peer_addr().unwrap());
            let check = |spec: serde_json::Value, expected: [bool; 2]| {
                let cluster = rig.cluster(spec.clone());
                let urls = [&a, &b].map(|url| url.replace("udp://", ""));
                let fits = urls.map(|at| {
                    [&one, &two]
                        .iter()
                        .any(|f| f.socket.peer_addr().unwrap().to_string() == at && f.fits(&cluster))
                });
                assert_eq!(fits, expected, "{spec}");
            };
            check(json!({ "endpoints": [b, a], "balance": "random" }), [true, true]);
            check(json!({ "endpoints": [b] }), [false, true]);
            check(json!({ "endpoints": [a, { "url": b, "weight": 0 }] }), [true, false]);
            drop((one, two));
            assert_eq!(load(), [0, 0]);
        });
    }

    #[test]
    fn who_is_set_aside_no_longer_fits() {
        run(async {
            let (rig, (_a, a), (_b, b)) = (Rig::new(), server().await, server().await);
            let cluster = rig.cluster(json!({ "endpoints": [a, b], "ejection": { "failures": 2 } }));
            let flow = open(&rig.local, &cluster).await.unwrap();
            for fits in [true, false] {
                flow.note(&cluster, false);
                assert_eq!(flow.fits(&cluster), fits);
            }
            let next = open(&rig.local, &cluster).await.unwrap();
            next.note(&cluster, true);
            assert!(next.fits(&cluster));
            assert_ne!(next.socket.peer_addr().unwrap(), flow.socket.peer_addr().unwrap());
            let gone = rig.cluster(json!({ "endpoints": ["udp://no-such-name.invalid:1"] }));
            assert_eq!(open(&rig.local, &gone).await.unwrap_err().kind, FaultKind::UpstreamConnect);
        });
    }

    #[test]
    fn want_of_sockets_is_no_endpoints_fault() {
        for (errno, own) in [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NETUNREACH, false)] {
            assert_eq!(is_own(&io::Error::from(errno)), own, "{errno}");
        }
    }
}
