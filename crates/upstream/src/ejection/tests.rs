use evergate_kit::Rng;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The first ejection lasts half a minute.
fn rules(failures: u16, max_percent: u8) -> Ejection {
    Ejection { failures, max_percent, ..Ejection::default() }
}

#[test]
fn failures_in_a_row_count() {
    use Event::{Failure, Success};
    let check = |events: &[Event], expected: &[bool]| {
        let rules = rules(3, 100);
        let mut record = Record::default();
        let mut got = Vec::new();
        for (i, event) in events.iter().enumerate() {
            let (next, ejected) = step(&rules, record, *event, SECOND * i as u32, 0, 2);
            record = next;
            got.push(ejected);
        }
        assert_eq!(got, expected, "{events:?}");
    };
    check(&[Failure, Failure, Failure], &[false, false, true]);
    check(&[Failure, Failure, Success, Failure, Failure], &[false; 5]);
    // While it is set aside, nothing counts.
    check(&[Failure; 8], &[false, false, true, false, false, false, false, false]);
}

#[test]
fn durations_grow_up_to_ten_times_and_start_again_after_a_success() {
    let rules = rules(1, 100);
    let (mut record, mut now) = (Record::default(), SECOND);
    for times in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10] {
        let (next, ejected) = step(&rules, record, Event::Failure, now, 0, 2);
        assert!(ejected);
        assert_eq!(next.until, Some(now + 30 * times * SECOND));
        (record, now) = (next, now + 30 * times * SECOND);
    }
    let (record, _) = step(&rules, record, Event::Success, now, 0, 2);
    assert_eq!(record, Record::default());
    let (record, _) = step(&rules, record, Event::Failure, now, 0, 2);
    assert_eq!(record.until, Some(now + 30 * SECOND));
}

#[test]
fn no_more_than_the_share_is_set_aside() {
    let check = |max_percent: u8, ejected: usize, total: usize, expected: bool| {
        assert_eq!(
            has_room(&rules(1, max_percent), ejected, total),
            expected,
            "{max_percent}% {ejected}/{total}"
        );
    };
    check(50, 0, 1, false);
    check(50, 0, 2, true);
    check(50, 1, 2, false);
    check(50, 1, 3, false);
    check(100, 0, 1, true);
    check(100, 2, 3, true);
    check(0, 0, 9, false);
    check(33, 0, 3, false);
    check(34, 0, 3, true);
}

/// Endpoints that fail at random, each in its own measure. After every step: never more than the share is set
/// aside; who is set aside has just failed as often as the rules say; each comes back in time.
#[test]
fn any_course_keeps_the_rules() {
    for seed in 0..256 {
        let rng = Rng::new(seed);
        let total = 1 + rng.below(6) as usize;
        let rules = rules(1 + rng.below(4) as u16, (rng.below(11) * 10) as u8);
        let mut records = vec![Record::default(); total];
        let mut in_row = vec![0u32; total];
        let mut now = Duration::ZERO;
        for _ in 0..500 {
            now += SECOND * rng.below(8) as u32;
            let place = rng.below(total as u64) as usize;
            let out = |record: &Record| record.until.is_some_and(|until| now < until);
            let was_out = out(&records[place]);
            let others = (0..total).filter(|other| *other != place && out(&records[*other])).count();
            let failed = rng.below(total as u64 + 1) as usize <= place;
            let event = if failed { Event::Failure } else { Event::Success };
            let (next, ejected) = step(&rules, records[place], event, now, others, total);
            if !was_out {
                in_row[place] = if failed { in_row[place] + 1 } else { 0 };
            }
            if ejected {
                assert!(in_row[place] >= u32::from(rules.failures), "seed {seed}: set aside too early");
                let length = next.until.unwrap() - now;
                assert!(length <= *rules.duration * 10, "seed {seed}: set aside for {length:?}");
                in_row[place] = 0;
            }
            records[place] = next;
            let aside = records.iter().filter(|r| out(r)).count();
            assert!(aside * 100 <= total * usize::from(rules.max_percent), "seed {seed}: {aside} of {total}");
        }
    }
}
