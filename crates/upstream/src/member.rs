//! An endpoint's place in a cluster. Whether it may take a request is asked here; who does is the balancer's choice.

use std::sync::Arc;

use crate::{connect::Connector, endpoint::EndpointState, verdict::Verdict};

/// An endpoint as this cluster uses it.
#[derive(Clone, Debug)]
pub struct Member {
    /// What is known of the endpoint; the same in every snapshot.
    pub state: Arc<EndpointState>,
    /// How to reach it; the same as long as address, protocol and TLS settings are.
    pub connector: Arc<Connector>,
    /// Share of the requests; 0 takes none.
    pub weight: u16,
}

impl Member {
    /// Whether it lives, as far as verdicts of checks and ejections are to count.
    #[must_use]
    pub fn is_up(&self, checked: bool, ejecting: bool) -> bool {
        let dead = checked && self.state.verdict() == Verdict::Unhealthy;
        let set_aside = ejecting && self.state.is_ejected();
        !dead && !set_aside
    }
}
