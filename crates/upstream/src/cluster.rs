//! An upstream as a snapshot knows it: members, balancer, settings. Immutable and shared by all workers.
//!
//! Made new when its upstream changes, else the same `Arc` as before. What must survive a change (health, load,
//! sessions) is asked for in `Keep` by identity. Must not know: which route sends here, who else has a snapshot.

use std::{sync::Arc, time::Duration};

use evergate_contract::{
    config::{Ejection, Endpoint, Name, Upstream},
    status::{EndpointStatus, HealthStatus, UpstreamStatus},
};
use evergate_tls::ClientError;

use crate::{
    balance::{self, Balancer},
    build::Build,
    connect::{Connector, Handshake},
    ejection::{self, Event, Record},
    endpoint::EndpointState,
    member::Member,
    verdict::Verdict,
};

/// An upstream, ready for requests.
#[derive(Debug)]
pub struct Cluster {
    name: Name,
    spec: Arc<Upstream>,
    members: Box<[Member]>,
    balancer: Box<dyn Balancer>,
}

impl Cluster {
    /// Builds the cluster of that upstream.
    ///
    /// # Errors
    /// If the TLS settings are of no use.
    pub fn build(name: &Name, spec: &Arc<Upstream>, cx: &Build<'_>) -> Result<Arc<Cluster>, ClientError> {
        let tls_used = spec.tls.is_some() || spec.endpoints.iter().any(Endpoint::is_tls);
        let handshake = if tls_used { Some(Handshake::kept(spec, cx)?) } else { None };
        let members = spec
            .endpoints
            .iter()
            .map(|endpoint| {
                Ok(Member {
                    state: EndpointState::kept(cx.keep, name, &endpoint.id()),
                    connector: Connector::kept(cx.keep, name, spec, endpoint, handshake.as_ref())?,
                    weight: endpoint.weight,
                })
            })
            .collect::<Result<Box<[Member]>, ClientError>>()?;
        let weights: Vec<u16> = members.iter().map(|m| m.weight).collect();
        let balancer = balance::of(spec.balance, &weights);
        Ok(Arc::new(Cluster { name: name.clone(), spec: spec.clone(), members, balancer }))
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The upstream's settings.
    #[must_use]
    pub fn spec(&self) -> &Upstream {
        &self.spec
    }

    /// True if it was built from this very upstream.
    #[must_use]
    pub fn is_made_of(&self, spec: &Arc<Upstream>) -> bool {
        Arc::ptr_eq(&self.spec, spec)
    }

    /// Its endpoints, in the order of the document.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Its endpoints as the admin API shows them.
    #[must_use]
    pub fn status(&self) -> UpstreamStatus {
        let endpoint = |m: &Member| EndpointStatus {
            url: m.state.url().to_owned(),
            weight: m.weight,
            health: match (self.spec.health.is_some(), m.state.verdict()) {
                (false, _) | (true, Verdict::Unknown) => HealthStatus::Unknown,
                (true, Verdict::Healthy) => HealthStatus::Healthy,
                (true, Verdict::Unhealthy) => HealthStatus::Unhealthy,
            },
            ejected: self.spec.ejection.is_some() && m.state.is_ejected(),
            active: u64::from(m.state.in_flight()),
            requests: m.state.requests(),
            failures: m.state.failures(),
        };
        UpstreamStatus { name: self.name.clone(), endpoints: self.members.iter().map(endpoint).collect() }
    }

    pub(crate) fn balancer(&self) -> &dyn Balancer {
        &*self.balancer
    }

    /// Takes note of how a request to a member went. True if the member is set aside by this.
    pub(crate) fn note(&self, state: &EndpointState, event: Event) -> bool {
        if event == Event::Failure {
            state.count_failure();
        } else if state.is_spotless() {
            return false;
        }
        let Some(rules) = &self.spec.ejection else { return false };
        let (before, now) = (state.record(), Duration::from_millis(state.age_ms()));
        let (ejected, total) = (self.ejected_beside(state), self.members.len());
        let (after, ejected) = ejection::step(rules, before, event, now, ejected, total);
        if after != before {
            state.set_record(after);
        }
        ejected && self.has_room_for(state, before, rules)
    }

    /// Looks once more after a member was set aside: two workers may have taken the last place at once. Then it is
    /// given back, as one too few is the lesser evil.
    fn has_room_for(&self, state: &EndpointState, before: Record, rules: &Ejection) -> bool {
        let room = ejection::has_room(rules, self.ejected_beside(state), self.members.len());
        if !room {
            state.set_record(before);
        }
        room
    }

    /// Other members that are set aside.
    fn ejected_beside(&self, state: &EndpointState) -> usize {
        self.members.iter().filter(|m| !std::ptr::eq(&*m.state, state) && m.state.is_ejected()).count()
    }
}

#[cfg(test)]
mod tests;
