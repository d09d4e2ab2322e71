//! The better of two taken at random (Mitzenmacher, "The Power of Two Choices", 2001).

use super::{Balancer, Picking, spread::Spread};

/// Both are drawn by weight; the one with less load for its weight is taken, of equals the first.
#[derive(Debug)]
pub(super) struct P2c {
    spread: Spread,
}

impl P2c {
    pub(super) fn new(weights: &[u16]) -> P2c {
        P2c { spread: Spread::new(weights) }
    }
}

impl Balancer for P2c {
    fn pick(&self, picking: &Picking<'_>) -> Option<usize> {
        let first = self.spread.draw(picking, |_| true)?;
        let other = self.spread.draw(picking, |place| place != first);
        let better = |other: &usize| picking.load(*other).compare(picking.load(first)).is_lt();
        Some(other.filter(better).unwrap_or(first))
    }
}
