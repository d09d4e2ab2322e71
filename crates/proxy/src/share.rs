//! How requests and connections are shared among upstreams, by their weights.

use evergate_contract::config::{Forward, Name};
use evergate_kit::Rng;

/// Upstreams with their shares; `U` is how one is found.
#[derive(Debug)]
pub(crate) enum Share<U> {
    /// All go to one.
    All(U),
    /// Each with the sum of the weights up to and including its own.
    Weighted(Box<[(U, u64)]>),
}

impl<U> Share<U> {
    /// As the document says; `find` tells of a name how that upstream is found.
    #[must_use]
    pub(crate) fn new(forward: &Forward, find: impl Fn(&Name) -> U) -> Share<U> {
        if let [only] = &*forward.to
            && only.weight > 0
        {
            return Share::All(find(&only.upstream));
        }
        let mut sum = 0;
        let weighted = forward.to.iter().map(|target| {
            sum += u64::from(target.weight);
            (find(&target.upstream), sum)
        });
        Share::Weighted(weighted.collect())
    }

    /// True if some go there.
    #[must_use]
    pub(crate) fn has(&self, upstream: &U) -> bool
    where
        U: PartialEq,
    {
        match self {
            Share::All(only) => only == upstream,
            Share::Weighted(many) => {
                let mut below = 0;
                many.iter().any(|(one, sum)| {
                    let weight = sum - below;
                    below = *sum;
                    one == upstream && weight > 0
                })
            }
        }
    }

    /// The upstream for one more; `None` if no weight is above 0.
    #[must_use]
    pub(crate) fn choose(&self, rng: &Rng) -> Option<&U> {
        match self {
            Share::All(only) => Some(only),
            Share::Weighted(many) => {
                let dice = rng.below(many.last().map_or(0, |last| last.1));
                many.iter().find(|(_, sum)| dice < *sum).map(|(upstream, _)| upstream)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights() {
        let forward = |weights: &[u32]| {
            let target = |(i, weight): (usize, &u32)| format!("{{\"upstream\":\"{i}\",\"weight\":{weight}}}");
            let to: Vec<_> = weights.iter().enumerate().map(target).collect();
            let forward: Forward = serde_json::from_str(&format!("{{\"to\":[{}]}}", to.join(","))).unwrap();
            Share::new(&forward, |name| name.parse::<usize>().unwrap())
        };
        let (share, rng) = (forward(&[90, 0, 10]), Rng::new(5));
        let mut seen = [0; 3];
        for _ in 0..10_000 {
            seen[*share.choose(&rng).unwrap()] += 1;
        }
        assert_eq!([0, 1, 2, 3].map(|one| share.has(&one)), [true, false, true, false]);
        assert_eq!(seen[1], 0, "weight 0 takes none");
        assert!((8800..9200).contains(&seen[0]) && seen[0] + seen[2] == 10_000, "{seen:?}");
        assert_eq!(forward(&[0]).choose(&rng), None);
        assert_eq!(forward(&[7]).choose(&rng), Some(&0));
    }
}
