//! One route is changed under a paced load: when does the change show, and what do requests notice of it?

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evergate_testkit::paced::{Paced, Plan, Said, Sample, quantile};

use super::{Suite, latency::sorted_ms, scenario};
use crate::{
    bed::Instance,
    peers::{Change, Found, Job, PARTS, Way},
    results::{Figure, Row, Scenario, routes},
    template::{backend, host, touched},
};

/// Nothing further begins after so many seconds.
const SECONDS: u64 = 480;
/// From one request to the next; every second one is for the host that changes.
const EVERY: Duration = Duration::from_micros(500);
/// This long after a change its neighbourhood ends.
const NEAR: Duration = Duration::from_millis(500);
/// Quiet time between that and the next change.
const AWAY: Duration = Duration::from_millis(600);
/// Whose p99 is above so many milliseconds while nothing changes falls behind its load.
const BEHIND: f64 = 1000.0;
/// Between two looks at the answers.
const LOOK: Duration = Duration::from_millis(20);
/// A change that does not show within this is given up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(suite: &Suite) -> Scenario {
    let mut found = scenario(
        "changes",
        "One route changes under load",
        "2,000 requests a second at fixed times, half of them for the route that changes. The first answer by the new \
         route and the last one by the old are counted from the rename of the file, or from the call of the API. Near is \
         from there to half a second after the last old answer; each change has a p99 near it and one of the time before \
         it, of which the median counts: a machine that stands still for a moment is in one of them. Failed are requests \
         without a good answer.",
        &[
            ("first_ms", "first new answer, ms", 1),
            ("last_ms", "last old answer, ms", 1),
            ("worst_ms", "at worst, ms", 1),
            ("near_ms", "p99 near, ms", 2),
            ("away_ms", "p99 away, ms", 2),
            ("failed", "failed", 0),
            ("changes", "changes", 0),
        ],
    );
    let start = Instant::now();
    let (there, _) = suite.there("");
    let mut rows = Vec::new();
    for count in suite.size.hosts {
        rows.extend(suite.there(&routes(*count)).1);
        for peer in &there {
            let mut ways = peer.peer.ways();
            // An API may lay itself over the files: they come first.
            ways.sort_by_key(|(way, _)| *way == Way::Api);
            for (way, name) in ways {
                // A hundred files for ten routes would be empty ones.
                if way == Way::Part && *count < PARTS {
                    continue;
                }
                let case = way.case(&routes(*count), name);
                let job = if way == Way::Part { Job::Split(*count) } else { Job::Hosts(*count) };
                let row = match in_time(suite, peer, job, way, start).await {
                    Ok(row) => Row { peer: peer.peer.name().to_owned(), case, ..row },
                    Err(why) => Row::absent(peer.peer.name(), &case, why),
                };
                rows.push(row);
            }
            // The next scenario finds fresh ones.
            suite.bed.end(peer, Job::Hosts(*count));
            suite.bed.end(peer, Job::Split(*count));
        }
    }
    found.rows = suite.sorted(rows);
    found
}

/// When a change began, when it first showed, and when the last answer by the old route came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    began: Duration,
    first: Duration,
    last: Duration,
}

async fn in_time(suite: &Suite, peer: &Found, job: Job, way: Way, start: Instant) -> Result<Row, String> {
    Suite::in_time(start, SECONDS)?;
    changes(suite, peer, job, way).await
}

async fn changes(suite: &Suite, peer: &Found, job: Job, way: Way) -> Result<Row, String> {
    let instance = suite.bed.get(peer, job).await?;
    suite.bed.probe(&instance).await?;
    let count = match job {
        Job::Hosts(count) | Job::Split(count) => count,
        _ => return Err("no hosts".to_owned()),
    };
    let drafts = drafts(&instance, way, count, suite.size.changes);
    let asks = (0..count).map(|n| format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(n)).into_bytes());
    let plan =
        Plan { address: instance.site.listen, connections: 16, every: EVERY, asks: Arc::new(asks.collect()) };
    let paced = Paced::start(plan).map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_secs(1));
    let until = Instant::now() + Duration::from_secs(suite.size.changes_seconds);
    let mut turns = Vec::new();
    for change in drafts {
        if Instant::now() > until {
            break;
        }
        paced.focus(change.host);
        away(&paced, &change);
        turns.push(turn(&paced, &instance, &change)?);
    }
    let samples = paced.stop();
    suite.bed.probe(&instance).await.map_err(|why| format!("afterwards: {why}"))?;
    Ok(row(&turns, &samples))
}

/// Everything that the next changes need, written before the clock runs.
fn drafts(instance: &Instance, way: Way, count: usize, changes: usize) -> Vec<Change> {
    let from = instance.turn.get();
    let draft = |turn: usize| {
        let number = touched(count, turn);
        let file = (way != Way::Api).then(|| instance.site.draft(instance.peer, instance.job, turn, number));
        Change { host: number, backend: backend(count, number, turn), file }
    };
    (from + 1..=from + changes).map(draft).collect()
}

/// Lets quiet time pass, looking at the answers just as near a change: looking takes time of the core that asks.
fn away(paced: &Paced, change: &Change) {
    let (mark, until) = (paced.count(), Instant::now() + AWAY);
    while Instant::now() < until {
        std::thread::sleep(LOOK);
        std::hint::black_box(seen(&paced.since(mark), change, Duration::ZERO));
    }
}

fn turn(paced: &Paced, instance: &Instance, change: &Change) -> Result<Turn, String> {
    let mark = paced.count();
    let began = paced.now();
    instance.peer.change(&instance.site, instance.pid(), change)?;
    instance.turn.set(instance.turn.get() + 1);
    loop {
        std::thread::sleep(LOOK);
        let turn = seen(&paced.since(mark), change, began);
        let now = paced.now();
        match turn {
            Some(turn) if now > turn.last.max(turn.first) + NEAR => return Ok(turn),
            None if now > began + PATIENCE => {
                return Err(format!("a change does not show within {} s", PATIENCE.as_secs()));
            }
            _ => {}
        }
    }
}

/// What samples since a change say of it; nothing until it shows.
fn seen(samples: &[Sample], change: &Change, began: Duration) -> Option<Turn> {
    let by = |new: bool| {
        samples.iter().filter(move |s| {
            let fits = s.ask == change.host && s.done >= began;
            fits && matches!(s.said, Said::Answer(200, b) if (b == change.backend as u8) == new)
        })
    };
    let first = by(true).map(|s| s.done).min()?;
    let last = by(false).map(|s| s.done).max().unwrap_or(began);
    Some(Turn { began, first, last })
}

fn row(turns: &[Turn], samples: &[Sample]) -> Row {
    let ms =
        |times: Vec<Duration>| -> Vec<f64> { times.into_iter().map(|t| t.as_secs_f64() * 1000.0).collect() };
    let first = ms(turns.iter().map(|t| t.first - t.began).collect());
    let over = |t: &Turn| t.last.max(t.first);
    let last = Figure::of(&ms(turns.iter().map(|t| over(t) - t.began).collect()));
    // The start is warm-up.
    let counted: Vec<&Sample> = samples.iter().filter(|s| s.due > NEAR).collect();
    let p99 = |from: Duration, to: Duration| {
        let within = counted.iter().copied().filter(|s| (from..to).contains(&s.due));
        quantile(&sorted_ms(within), 0.99)
    };
    let near: Vec<f64> = turns.iter().map(|t| p99(t.began, over(t) + NEAR)).collect();
    // From the end of one neighbourhood to the next change.
    let quiet = std::iter::once(NEAR).chain(turns.iter().map(|t| over(t) + NEAR));
    let away: Vec<f64> = quiet.zip(turns).map(|(from, t)| p99(from, t.began)).collect();
    let failed = counted.iter().filter(|s| !s.good()).count();
    let mut row = Row::default()
        .with("first_ms", Figure::of(&first))
        .with("last_ms", last)
        .with("worst_ms", last.most)
        .with("near_ms", Figure::of(&near))
        .with("away_ms", Figure::of(&away))
        .with("failed", failed as f64)
        .with("changes", turns.len() as f64);
    row.remarks.extend(failures(&counted));
    if row.median("away_ms").is_some_and(|away| away > BEHIND) {
        row.remarks.push("does not carry this load away from changes either".to_owned());
    }
    row
}

/// Failed requests by kind.
fn failures(samples: &[&Sample]) -> Option<String> {
    let count = |fits: fn(&Said) -> bool| samples.iter().filter(|s| fits(&s.said)).count();
    let kinds = [
        ("reset", count(|s| *s == Said::Reset)),
        ("closed without an answer", count(|s| *s == Said::Closed)),
        ("refused", count(|s| *s == Said::Refused)),
        ("with another status", count(|s| matches!(s, Said::Answer(status, _) if *status != 200))),
        ("never answered", count(|s| *s == Said::Nothing)),
        ("not understood", count(|s| *s == Said::Bad)),
    ];
    let found: Vec<String> =
        kinds.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{n} {kind}")).collect();
    (!found.is_empty()).then(|| format!("of {} requests {}", samples.len(), found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(due: u64, took: u64, ask: usize, said: Said) -> Sample {
        let at = Duration::from_millis(due);
        Sample { due: at, done: at + Duration::from_millis(took), ask, said }
    }

    #[test]
    fn changes_are_seen() {
        let change = Change { host: 7, backend: 'b', file: None };
        let ms = Duration::from_millis;
        let old = |at| sample(at, 1, 7, Said::Answer(200, b'a'));
        let new = |at| sample(at, 1, 7, Said::Answer(200, b'b'));
        let other = |at| sample(at, 1, 3, Said::Answer(200, b'b'));
        let failed = |at| sample(at, 1, 7, Said::Reset);
        for (samples, expected) in [
            (vec![], None),
            (vec![old(110), other(120), failed(130)], None),
            (vec![old(110), new(120)], Some((121, 111))),
            (vec![new(120), old(130), new(140)], Some((121, 131))),
            (vec![new(90), old(95), new(120)], Some((121, 100))),
        ] {
            let found = seen(&samples, &change, ms(100));
            let expected =
                expected.map(|(first, last)| Turn { began: ms(100), first: ms(first), last: ms(last) });
            assert_eq!(found, expected, "{samples:?}");
        }
    }

    #[test]
    fn near_and_away_are_told_apart() {
        let ms = Duration::from_millis;
        let turn = |began| Turn { began: ms(began), first: ms(began + 5), last: ms(began + 10) };
        let good = |due, took| sample(due, took, 0, Said::Answer(200, b'a'));
        let samples = [
            // The start, quiet, near.
            [good(100, 99), good(600, 1), good(1000, 9)],
            // Still near, quiet, and quiet before the second change.
            [good(1509, 8), good(1511, 2), sample(1999, 1, 0, Said::Closed)],
            // Near that, after it.
            [good(2000, 5), good(2509, 4), good(2511, 77)],
        ];
        let row = row(&[turn(1000), turn(2000)], samples.as_flattened());
        let median = |key| row.median(key).unwrap();
        assert_eq!((median("first_ms"), median("last_ms")), (5.0, 10.0));
        assert_eq!((median("near_ms"), median("away_ms")), (9.0, 2.0));
        assert_eq!((median("failed"), median("changes")), (1.0, 2.0));
        assert_eq!(row.remarks, ["of 8 requests 1 closed without an answer"]);
    }
}
