//! Evergate alone: memory over a thousand changes in a row.

use std::time::Instant;

use evergate_testkit::process;

use super::{SETTLE, Suite, scenario};
use crate::{
    peers::{Change, Job},
    results::{Row, Scenario, routes},
    template::{backend, touched},
};

pub(crate) async fn run(suite: &Suite) -> Scenario {
    let mut found = scenario(
        "own",
        "Evergate: memory over many changes",
        "One route after the other is changed by `PATCH`, as fast as the verdicts come. Memory is RSS, two seconds after the \
         start and after the last change.",
        &[
            ("before_mib", "before, MiB", 1),
            ("after_mib", "after, MiB", 1),
            ("growth", "growth, %", 1),
            ("changes", "changes", 0),
            ("change_ms", "until the verdict, ms", 2),
        ],
    );
    let count = suite.size.hosts.get(1).copied().unwrap_or(10);
    let case = routes(count);
    found.rows = vec![match trial(suite, count).await {
        Ok(row) => Row { peer: "evergate".to_owned(), case, ..row },
        Err(why) => Row::absent("evergate", &case, why),
    }];
    found
}

async fn trial(suite: &Suite, count: usize) -> Result<Row, String> {
    let job = Job::Hosts(count);
    let peer = suite.evergate().ok_or("not asked for")?;
    suite.bed.end(peer, job);
    let instance = suite.bed.get(peer, job).await?;
    suite.bed.probe(&instance).await?;
    let mib = || process::memory(instance.pid()).rss_kib as f64 / 1024.0;
    tokio::time::sleep(SETTLE).await;
    let before = mib();
    let start = Instant::now();
    for turn in 1..=suite.size.many {
        let number = touched(count, turn);
        let change = Change { host: number, backend: backend(count, number, turn), file: None };
        instance.peer.change(&instance.site, instance.pid(), &change)?;
        instance.turn.set(turn);
    }
    let took = start.elapsed().as_secs_f64();
    suite.bed.probe(&instance).await?;
    tokio::time::sleep(SETTLE).await;
    let after = mib();
    suite.bed.end(peer, job);
    Ok(Row::default()
        .with("before_mib", before)
        .with("after_mib", after)
        .with("growth", (after / before - 1.0) * 100.0)
        .with("changes", suite.size.many as f64)
        .with("change_ms", took * 1000.0 / suite.size.many as f64))
}
