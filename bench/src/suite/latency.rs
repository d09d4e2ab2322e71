//! How long requests take at a load that all can carry: half of what nginx can at most.

use std::{rc::Rc, sync::Arc, time::Duration};

use evergate_testkit::paced::{Paced, Plan, Sample, quantile};

use super::{Suite, scenario};
use crate::{
    bed::{Instance, NAME, Used, disturbed},
    load,
    peers::Job,
    results::{Figure, Row, Scenario},
};

/// Left out at the start: connections are fresh, caches are cold.
const WARM: Duration = Duration::from_millis(500);
/// Half of the requests take longer than so many milliseconds: the proxy falls behind, and more so the longer it lasts.
const BEHIND: f64 = 50.0;
/// So many times as many rounds as elsewhere: the slowest of a hundred requests say as much of the machine as of the proxy.
const MORE: usize = 4;
/// Requests a second, where there is no nginx to take half of.
const RATE: f64 = 10_000.0;

/// What was seen, and what the core did.
type Round = (Row, Option<Used>);

pub(crate) async fn run(suite: &Suite) -> Scenario {
    let mut found = scenario(
        "latency",
        "Latency at a paced load",
        "",
        &[
            ("p50", "p50, ms", 3),
            ("p99", "p99, ms", 3),
            ("p999", "p99.9, ms", 3),
            ("busy", "core busy, %", 0),
        ],
    );
    let (there, mut rows) = suite.there("");
    let mut ready: Vec<(Rc<Instance>, Vec<Round>)> = Vec::new();
    for peer in there {
        match suite.bed.get(peer, Job::Plain).await {
            Ok(instance) => ready.push((instance, Vec::new())),
            Err(why) => rows.push(Row::absent(peer.peer.name(), "", why)),
        }
    }
    let nginx = ready.iter().find(|(i, _)| i.peer.name() == "nginx");
    let most = nginx.map(|(i, _)| most(i)).transpose();
    let (rate, of) = match most {
        Ok(Some(most)) => (most / 2.0, "half of what nginx did at most just before"),
        _ => (RATE, "there is no nginx to take half of"),
    };
    found.about = format!(
        "{rate:.0} requests a second at fixed times ({of}), 64 connections, small bodies. Time counts from when a \
         request was due."
    );
    for _ in 0..MORE * suite.size.rounds[1] {
        for (instance, rounds) in &mut ready {
            // Who has fallen behind once need not be waited for again.
            if rounds.iter().any(|(row, _)| row.median("p50").is_some_and(|p50| p50 > BEHIND)) {
                continue;
            }
            rounds.push(round(instance, rate, Duration::from_secs(suite.size.seconds + 1)));
        }
    }
    for (instance, rounds) in ready {
        let mut row = Row::new(instance.peer.name(), "");
        for column in &found.columns {
            let numbers: Vec<f64> = rounds.iter().filter_map(|(r, _)| r.median(&column.key)).collect();
            row = row.with(&column.key, Figure::of(&numbers));
        }
        let used: Vec<Used> = rounds.iter().filter_map(|(_, used)| *used).collect();
        row.remarks = rounds.into_iter().flat_map(|(r, _)| r.remarks).collect();
        row.remarks.extend(disturbed(&used));
        let [p50, p99] = ["p50", "p99"].map(|key| row.median(key).unwrap_or_default());
        row.absent =
            (p50 > BEHIND).then(|| format!("cannot carry this load: p50 {p50:.0} ms, p99 {p99:.0} ms"));
        rows.push(row);
    }
    found.rows = suite.sorted(rows);
    found
}

fn most(nginx: &Instance) -> Result<f64, String> {
    let url = format!("http://{NAME}:{}/", nginx.site.listen.port());
    let ran = load::wrk(&["-t1".to_owned(), "-c64".to_owned(), "-d2s".to_owned(), url])?;
    Ok(ran.requests / ran.seconds)
}

fn round(instance: &Instance, rate: f64, takes: Duration) -> Round {
    let plan = Plan {
        address: instance.site.listen,
        connections: 64,
        every: Duration::from_secs_f64(1.0 / rate),
        asks: Arc::new(vec![format!("GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n").into_bytes()]),
    };
    let mut row = Row::new(instance.peer.name(), "");
    let before = instance.clock();
    let paced = match Paced::start(plan) {
        Ok(paced) => paced,
        Err(error) => {
            row.remarks.push(error.to_string());
            return (row, None);
        }
    };
    std::thread::sleep(WARM + takes);
    let used = before.used(instance);
    let samples = paced.stop();
    let counted: Vec<Sample> = samples.into_iter().filter(|s| s.due >= WARM).collect();
    let bad = counted.iter().filter(|s| !s.good()).count();
    if bad > 0 {
        row.remarks.push(format!("{bad} of {} requests without a good answer", counted.len()));
    }
    let times = sorted_ms(counted.iter());
    let row = row
        .with("p50", quantile(&times, 0.5))
        .with("p99", quantile(&times, 0.99))
        .with("p999", quantile(&times, 0.999))
        .with("busy", used.busy * 100.0);
    (row, Some(used))
}

/// Milliseconds, least first.
pub(crate) fn sorted_ms<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<f64> {
    let mut times: Vec<f64> = samples.map(|s| s.latency().as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    times
}
