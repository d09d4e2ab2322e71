//! Says in the log which certificates end soon: when they begin to be served, and once a day from then on.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use evergate_contract::config::Name;
use evergate_tls::{Lapse, Validity};
use tokio::sync::Notify;

use crate::{snapshot::Credentials, view::Shared};

/// How often it is looked, if nothing changes.
const LOOK: Duration = Duration::from_secs(3600);
/// How often the same is said of the same certificate. A little less than a day, so that looks which are not quite on time do
/// not make it two.
const SAY: Duration = Duration::from_secs(23 * 3600);

/// What was said: when, and of which end of a certificate.
#[derive(Default)]
struct Expiry(HashMap<Name, (SystemTime, i64)>);

impl Expiry {
    /// What is to be said now. A certificate with another end is another one.
    fn step<'a>(
        &mut self,
        now: SystemTime,
        served: impl Iterator<Item = (&'a Name, Validity)>,
    ) -> Vec<(Name, Lapse)> {
        let (mut said, mut to_say) = (HashMap::new(), Vec::new());
        for (name, validity) in served {
            let Some(lapse) = validity.lapse(now) else { continue };
            let is_known = |(since, end): &(SystemTime, i64)| {
                *end == validity.until && now.duration_since(*since).is_ok_and(|passed| passed < SAY)
            };
            let known = self.0.remove(name).filter(is_known);
            if known.is_none() {
                to_say.push((name.clone(), lapse));
            }
            said.insert(name.clone(), known.unwrap_or((now, validity.until)));
        }
        self.0 = said;
        to_say
    }
}

/// Looks at what is served: after each change, and every hour. Ends with the gateway.
pub(crate) async fn watch(shared: Weak<Shared>, changed: Arc<Notify>) {
    let (mut expiry, mut seen) = (Expiry::default(), Credentials::default());
    loop {
        let is_change = tokio::time::timeout(LOOK, changed.notified()).await.is_ok();
        let Some(shared) = shared.upgrade() else { return };
        let Some(snapshot) = shared.published.load() else { continue };
        let served = snapshot.credentials.clone();
        // Freeing a snapshot is for others.
        let _ = shared.reaper.send(snapshot);
        if is_change && served.is_same(&seen) {
            continue;
        }
        for (certificate, lapse) in expiry.step(SystemTime::now(), ends(&served)) {
            match lapse {
                Lapse::Ending(_) => tracing::warn!(%certificate, "certificate {lapse}"),
                _ => tracing::warn!(%certificate, "certificate {lapse}; clients will refuse it"),
            }
        }
        seen = served;
    }
}

/// When each certificate is valid.
pub(crate) fn ends(served: &Credentials) -> impl Iterator<Item = (&Name, Validity)> {
    served.iter().map(|(name, credential)| (name, credential.validity))
}

/// Of all certificates those that end first, at most so many; the soonest first.
pub(crate) fn soonest<'a>(
    all: impl Iterator<Item = (&'a Name, Validity)>,
    most: usize,
) -> Vec<(&'a Name, Validity)> {
    let mut all: Vec<_> = all.collect();
    let by_end = |(name, validity): &(&'a Name, Validity)| (validity.until, *name);
    if all.len() > most {
        all.select_nth_unstable_by_key(most, by_end);
        all.truncate(most);
    }
    all.sort_unstable_by_key(by_end);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    /// Certificates by name and by the day on which they end.
    fn served(ends: &[(&str, u64)]) -> Vec<(Name, Validity)> {
        let until = |day: u64| i64::try_from(day * DAY).unwrap();
        ends.iter().map(|(name, day)| (Name::from(*name), Validity { from: 0, until: until(*day) })).collect()
    }

    fn iter(all: &[(Name, Validity)]) -> impl Iterator<Item = (&Name, Validity)> {
        all.iter().map(|(name, validity)| (name, *validity))
    }

    #[test]
    fn each_is_said_when_it_begins_to_end_and_once_a_day() {
        let mut expiry = Expiry::default();
        let mut say = |second, served: &[(Name, Validity)]| {
            let said = expiry.step(at(second), iter(served));
            said.into_iter().map(|(name, lapse)| format!("{name} {lapse}")).collect::<Vec<_>>()
        };
        let both = served(&[("far", 100), ("near", 10)]);
        assert_eq!(say(2 * DAY, &both), [""; 0]);
        assert_eq!(say(3 * DAY + 1, &both), ["near ends in 6 days"]);
        for hour in 1..23 {
            assert_eq!(say(3 * DAY + hour * 3600, &both), [""; 0], "{hour}");
        }
        assert_eq!(say(4 * DAY, &both), ["near ends in 6 days"]);
        assert_eq!(say(10 * DAY + 60, &both), ["near expired 1 minute ago"]);
        // Replaced by another that ends soon: that is news. Removed and back: too.
        assert_eq!(say(10 * DAY + 61, &served(&[("near", 11)])), ["near ends in 23 hours"]);
        assert_eq!(say(10 * DAY + 62, &served(&[("near", 100)])), [""; 0]);
        assert_eq!(say(10 * DAY + 63, &served(&[])), [""; 0]);
        assert_eq!(say(10 * DAY + 64, &served(&[("near", 11)])), ["near ends in 23 hours"]);
    }

    #[test]
    fn the_soonest_are_shown() {
        let all = served(&[("a", 5), ("b", 3), ("c", 9), ("d", 3)]);
        let names =
            |most| soonest(iter(&all), most).iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(9), ["b", "d", "a", "c"]);
        assert_eq!(names(3), ["b", "d", "a"]);
        assert_eq!(names(0), [""; 0]);
    }
}
