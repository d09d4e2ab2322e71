//! Balancers: which member of a cluster takes the next request.
//!
//! One file and one line in [`of`] for each. A balancer is built with the cluster and is immutable; what changes
//! from pick to pick is the worker's (a turn, random numbers) or the endpoint's (its load).

mod least_requests;
mod p2c;
mod random;
mod round_robin;
mod spread;

use std::{cell::Cell, fmt::Debug};

use evergate_contract::config::Balance;
use evergate_kit::Rng;

use crate::member::Member;

/// Chooses among members. No choice costs more than looking at each member a few times.
pub trait Balancer: Debug + Send + Sync {
    /// The place of a member for which [`Picking::takes`] holds; `None` only if there is none.
    fn pick(&self, picking: &Picking<'_>) -> Option<usize>;
}

/// What a balancer may look at.
pub struct Picking<'a> {
    /// All members, by place.
    pub members: &'a [Member],
    /// How often this worker has asked, more or less: any number, for the balancer to move on.
    pub turn: &'a Cell<u32>,
    /// Random numbers.
    pub rng: &'a Rng,
    /// Places that have been tried for this request.
    pub tried: &'a [usize],
    /// Whether verdicts of health checks count.
    pub checked: bool,
    /// Whether ejections count.
    pub ejecting: bool,
}

/// The balancer that the document names.
#[must_use]
pub fn of(balance: Balance, weights: &[u16]) -> Box<dyn Balancer> {
    match balance {
        Balance::RoundRobin => Box::new(round_robin::RoundRobin::new(weights)),
        Balance::LeastRequests => Box::new(least_requests::LeastRequests::new(weights)),
        Balance::P2c => Box::new(p2c::P2c::new(weights)),
        Balance::Random => Box::new(random::Random::new(weights)),
    }
}

impl Picking<'_> {
    /// Whether the member there may take a request: it has weight, lives, is not set aside and was not tried.
    #[must_use]
    pub fn takes(&self, place: usize) -> bool {
        self.members.get(place).is_some_and(|m| m.weight > 0 && m.is_up(self.checked, self.ejecting))
            && !self.tried.contains(&place)
    }

    /// The load of the member there: requests in flight, and its weight to compare them by.
    fn load(&self, place: usize) -> Load {
        self.members.get(place).map_or(Load { in_flight: u64::MAX, weight: 1 }, |m| Load {
            in_flight: u64::from(m.state.in_flight()),
            weight: u64::from(m.weight.max(1)),
        })
    }
}

/// Requests in flight in relation to a weight.
#[derive(Clone, Copy, Debug)]
struct Load {
    in_flight: u64,
    weight: u64,
}

impl Load {
    fn compare(self, other: Load) -> std::cmp::Ordering {
        self.in_flight.saturating_mul(other.weight).cmp(&other.in_flight.saturating_mul(self.weight))
    }
}

#[cfg(test)]
mod tests;
