//! At random, by weight.

use super::{Balancer, Picking, spread::Spread};

/// Remembers nothing, so many gateways do not fall into step.
#[derive(Debug)]
pub(super) struct Random {
    spread: Spread,
}

impl Random {
    pub(super) fn new(weights: &[u16]) -> Random {
        Random { spread: Spread::new(weights) }
    }
}

impl Balancer for Random {
    fn pick(&self, picking: &Picking<'_>) -> Option<usize> {
        self.spread.draw(picking, |_| true)
    }
}
