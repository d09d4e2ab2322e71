use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::{Cell, Picking, Rng};
use crate::{Cluster, Verdict, testing::Rig, verdict::Streak};

/// A cluster of endpoints with these weights, and a worker's part in choosing among them.
struct Bench {
    cluster: Arc<Cluster>,
    turn: Cell<u32>,
    rng: Rng,
    tried: Vec<usize>,
}

impl Bench {
    fn new(balance: &str, weights: &[u16]) -> Bench {
        let endpoints: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(i, w)| json!({ "url": format!("http://127.0.0.1:{}", i + 1), "weight": w }))
            .collect();
        let cluster =
            Rig::stopped().cluster(json!({ "endpoints": endpoints, "balance": balance, "health": {} }));
        Bench { cluster, turn: Cell::new(0), rng: Rng::new(7), tried: Vec::new() }
    }

    fn picking(&self) -> Picking<'_> {
        Picking {
            members: self.cluster.members(),
            turn: &self.turn,
            rng: &self.rng,
            tried: &self.tried,
            checked: true,
            ejecting: false,
        }
    }

    fn pick(&self) -> Option<usize> {
        self.cluster.balancer().pick(&self.picking())
    }

    fn kill(&self, place: usize) {
        self.cluster.members()[place].state.set_streak(Streak { verdict: Verdict::Unhealthy, in_row: 0 });
    }

    fn load(&self, place: usize, requests: u32) {
        (0..requests).for_each(|_| self.cluster.members()[place].state.enter());
    }

    /// So many picks, as letters.
    fn letters(&self, n: usize) -> String {
        (0..n).map(|_| self.pick().map_or('-', |p| char::from(b'a' + p as u8))).collect()
    }

    /// Share of each in so many picks.
    fn shares(&self, n: usize) -> Vec<f64> {
        let mut counts = vec![0.0; self.cluster.members().len()];
        (0..n).for_each(|_| counts[self.pick().unwrap()] += 1.0 / n as f64);
        counts
    }
}

fn near(got: &[f64], expected: &[f64]) {
    assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 0.02), "{got:?} is not {expected:?}");
}

#[test]
fn round_robin() {
    let bench = Bench::new("round_robin", &[1, 1, 1]);
    assert_eq!(bench.letters(7), "abcabca");
    bench.kill(1);
    assert_eq!(bench.letters(6), "cacaca", "the dead one's turns go to no single heir");
    let bench = Bench::new("round_robin", &[5, 1, 1]);
    assert_eq!(bench.letters(14), "aabacaaaabacaa");
    bench.kill(1);
    near(&bench.shares(6000), &[5.0 / 6.0, 0.0, 1.0 / 6.0]);
    assert_eq!(Bench::new("round_robin", &[0, 1, 0]).letters(3), "bbb");
}

#[test]
fn least_requests() {
    let bench = Bench::new("least_requests", &[1, 1, 2]);
    assert_eq!(bench.letters(8), "cabccabc", "idle ones take turns by weight");
    bench.load(2, 1);
    assert_eq!(bench.letters(4), "abab");
    bench.load(0, 1);
    assert_eq!(bench.letters(3), "bbb");
    bench.load(1, 1);
    assert_eq!(bench.letters(3), "ccc", "one request weighs half on twice the weight");
    bench.load(2, 1);
    bench.kill(2);
    assert_eq!(bench.letters(4).matches('c').count(), 0);
}

#[test]
fn random() {
    let bench = Bench::new("random", &[1, 0, 3]);
    near(&bench.shares(20_000), &[0.25, 0.0, 0.75]);
    let bench = Bench::new("random", &[1000, 1, 3]);
    bench.kill(0);
    near(&bench.shares(20_000), &[0.0, 0.25, 0.75]);
}

#[test]
fn p2c() {
    let bench = Bench::new("p2c", &[1, 1, 2]);
    near(&bench.shares(20_000), &[0.25, 0.25, 0.5]);
    bench.load(2, 3);
    let shares = bench.shares(20_000);
    assert!(shares[2] < 0.001, "two draws never take the most loaded of three: {shares:?}");
    bench.kill(0);
    bench.kill(1);
    assert_eq!(bench.letters(3), "ccc");
}

proptest! {
    /// Any balancer finds a member if there is one that takes requests, and no other.
    #[test]
    fn every_balancer_takes_what_there_is(
        balance in prop::sample::select(&["round_robin", "least_requests", "p2c", "random"][..]),
        members in prop::collection::vec((0u16..4, any::<bool>(), any::<bool>(), 0u32..3), 0..12),
        turn in any::<u32>(),
    ) {
        let weights: Vec<u16> = members.iter().map(|m| m.0).collect();
        let mut bench = Bench::new(balance, &weights);
        bench.turn.set(turn);
        for (place, (_, dead, tried, load)) in members.iter().enumerate() {
            bench.load(place, *load);
            if *dead {
                bench.kill(place);
            }
            if *tried {
                bench.tried.push(place);
            }
        }
        let able = |place: usize| members[place].0 > 0 && !members[place].1 && !members[place].2;
        for _ in 0..20 {
            match bench.pick() {
                Some(place) => prop_assert!(able(place), "{place} cannot take it"),
                None => prop_assert!(!(0..members.len()).any(able), "there is one that can"),
            }
        }
    }
}
