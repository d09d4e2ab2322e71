//! In turn, by smooth weights: `a a b a c a a`, never `a a a a a b c`.

use super::{Balancer, Picking};

/// Slots of a schedule, unless there are more members.
const SLOTS_MAX: u64 = 4096;

/// A schedule in which each member stands as often as it weighs, spread evenly. A worker walks along it and
/// steps over members that take nothing, so that what is left keeps its proportions.
#[derive(Debug)]
pub(super) struct RoundRobin {
    schedule: Box<[u32]>,
}

impl RoundRobin {
    pub(super) fn new(weights: &[u16]) -> RoundRobin {
        RoundRobin { schedule: schedule(weights) }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, picking: &Picking<'_>) -> Option<usize> {
        self.next(picking, |_| true)
    }
}

impl RoundRobin {
    /// The next in turn that may take a request and is `wanted`; the turn moves past it.
    pub(super) fn next(&self, picking: &Picking<'_>, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let len = u32::try_from(self.schedule.len()).ok().filter(|len| *len > 0)?;
        let mut at = picking.turn.get() % len;
        for _ in 0..len {
            let place = *self.schedule.get(at as usize)? as usize;
            at = if at + 1 == len { 0 } else { at + 1 };
            if picking.takes(place) && wanted(place) {
                picking.turn.set(at);
                return Some(place);
            }
        }
        None
    }
}

/// nginx's smooth weighted round robin, run ahead for one whole cycle.
fn schedule(weights: &[u16]) -> Box<[u32]> {
    let weights = reduced(weights);
    let total: i64 = weights.iter().sum();
    let mut current = vec![0i64; weights.len()];
    let slot = |current: &mut Vec<i64>| {
        let mut best: Option<(usize, i64)> = None;
        for (place, (have, weight)) in current.iter_mut().zip(&weights).enumerate() {
            *have += weight;
            if *weight > 0 && best.is_none_or(|(_, most)| *have > most) {
                best = Some((place, *have));
            }
        }
        let (place, _) = best?;
        if let Some(have) = current.get_mut(place) {
            *have -= total;
        }
        u32::try_from(place).ok()
    };
    if weights.iter().all(|w| *w == 1) {
        return (0..u32::try_from(weights.len()).unwrap_or(u32::MAX)).collect();
    }
    (0..total).map_while(|_| slot(&mut current)).collect()
}

/// Weights without their common divisor, made smaller where the schedule would get too long.
fn reduced(weights: &[u16]) -> Vec<i64> {
    let divisor = weights.iter().fold(0u64, |a, b| gcd(a, u64::from(*b))).max(1);
    let whole: Vec<u64> = weights.iter().map(|w| u64::from(*w) / divisor).collect();
    let total: u64 = whole.iter().sum();
    let most = SLOTS_MAX.max(weights.len() as u64);
    let fit = |w: u64| if total <= most || w == 0 { w } else { (w * most / total).max(1) };
    whole.into_iter().map(|w| i64::try_from(fit(w)).unwrap_or(0)).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let check = |weights: &[u16], expected: &str| {
            let letters: String = schedule(weights).iter().map(|p| char::from(b'a' + *p as u8)).collect();
            assert_eq!(letters, expected, "for {weights:?}");
        };
        check(&[], "");
        check(&[0, 0], "");
        check(&[1], "a");
        check(&[7, 7, 7], "abc");
        check(&[5, 1, 1], "aabacaa");
        check(&[50, 10, 10], "aabacaa");
        check(&[3, 0, 1], "aaca");
    }

    #[test]
    fn long_schedules_are_bounded_and_keep_their_proportions() {
        let weights: Vec<u16> = (1..=100).map(|i| i * 10 - 3).collect();
        let schedule = schedule(&weights);
        assert!(schedule.len() <= SLOTS_MAX as usize);
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        for (place, weight) in weights.iter().enumerate() {
            let slots = schedule.iter().filter(|p| **p as usize == place).count();
            let share = f64::from(*weight) / total * schedule.len() as f64;
            assert!((slots as f64 - share).abs() <= 1.5, "{place}: {slots} slots for a share of {share}");
        }
    }
}
