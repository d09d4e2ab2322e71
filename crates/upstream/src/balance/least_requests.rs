//! The member with the fewest requests in flight, relative to its weight.

use std::cmp::Ordering;

use super::{Balancer, Picking, round_robin::RoundRobin};

/// Looks at all members; equals take turns by weight, so that an idle upstream is used evenly.
#[derive(Debug)]
pub(super) struct LeastRequests {
    turns: RoundRobin,
}

impl LeastRequests {
    pub(super) fn new(weights: &[u16]) -> LeastRequests {
        LeastRequests { turns: RoundRobin::new(weights) }
    }
}

impl Balancer for LeastRequests {
    fn pick(&self, picking: &Picking<'_>) -> Option<usize> {
        let mut best: Option<(usize, super::Load)> = None;
        let mut equals = false;
        for place in (0..picking.members.len()).filter(|place| picking.takes(*place)) {
            let load = picking.load(place);
            match best.map_or(Ordering::Less, |(_, least)| load.compare(least)) {
                Ordering::Less => (best, equals) = (Some((place, load)), false),
                Ordering::Equal => equals = true,
                Ordering::Greater => {}
            }
        }
        let (first, least) = best?;
        if !equals {
            return Some(first);
        }
        // Another worker may have changed a load since; then the first of the equals is as good.
        self.turns.next(picking, |place| picking.load(place).compare(least).is_le()).or(Some(first))
    }
}
