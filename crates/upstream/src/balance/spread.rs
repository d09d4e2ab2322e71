//! Members drawn at random by weight.

use super::Picking;

/// Draws that may hit a member which takes nothing before all are looked at.
const DRAWS_MAX: usize = 8;

/// Where each member's weight ends on a line from 0.
#[derive(Debug)]
pub(super) struct Spread {
    ends: Box<[u64]>,
}

impl Spread {
    pub(super) fn new(weights: &[u16]) -> Spread {
        let end = |sum: &mut u64, weight: &u16| {
            *sum += u64::from(*weight);
            Some(*sum)
        };
        Spread { ends: weights.iter().scan(0, end).collect() }
    }

    /// A member that may take a request and is `wanted`, by weight.
    pub(super) fn draw(&self, picking: &Picking<'_>, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let total = self.ends.last().copied().filter(|total| *total > 0)?;
        let good = |place: &usize| picking.takes(*place) && wanted(*place);
        for _ in 0..DRAWS_MAX {
            let point = picking.rng.below(total);
            let place = self.ends.partition_point(|end| *end <= point);
            if good(&place) {
                return Some(place);
            }
        }
        // Most are out: draw once more, among those that are in.
        let weight = |place: usize| picking.members.get(place).map_or(0, |m| u64::from(m.weight));
        let total: u64 = (0..self.ends.len()).filter(good).map(weight).sum();
        let mut point = picking.rng.below(total);
        let drawn = (0..self.ends.len()).filter(good).find(|place| {
            let here = point < weight(*place);
            point = point.saturating_sub(weight(*place));
            here
        });
        // A verdict may have changed between the two looks; then any will do.
        drawn.or_else(|| (0..self.ends.len()).find(good))
    }
}
