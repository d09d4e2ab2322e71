//! What routes cost that nobody asks for: time of a request, memory, time to start.

use std::rc::Rc;

use evergate_testkit::process;

use super::{Suite, scenario};
use crate::{
    bed::{Instance, Used, limited},
    load,
    peers::Job,
    results::{Figure, Row, Scenario, routes},
};

/// Requests for each CPU second, and what the core did.
type Round = (f64, Used);

pub(crate) async fn run(suite: &Suite) -> Scenario {
    let mut found = scenario(
        "routes",
        "Host routes: requests, memory, start",
        "Each host has a route of its own to one of two backends; all of them are asked for in turn. Memory is looked at \
         after the first answers: RSS counts shared pages for each process, PSS once. Start is from exec to the first \
         right answers. All sizes of all peers run at once and are measured in turn.",
        &[
            ("per_cpu_s", "requests per CPU second", 0),
            ("rss_mib", "RSS, MiB", 1),
            ("pss_mib", "PSS, MiB", 1),
            ("start_s", "start, s", 2),
            ("busy", "core busy, %", 0),
        ],
    );
    let mut ready: Vec<(Rc<Instance>, Row, Vec<Round>)> = Vec::new();
    let mut rows = Vec::new();
    // Each start has the core to itself: nobody else is asked anything meanwhile.
    for count in suite.size.hosts {
        let case = routes(*count);
        let (there, missing) = suite.there(&case);
        rows.extend(missing);
        for peer in there {
            match suite.bed.get(peer, Job::Hosts(*count)).await {
                Ok(instance) => {
                    let name = peer.peer.name();
                    let row = match requests(&instance, *count, 1) {
                        Ok(_) => first(&instance, Row::new(name, &case)),
                        Err(why) => Row::absent(name, &case, why),
                    };
                    ready.push((instance, row, Vec::new()));
                }
                Err(why) => rows.push(Row::absent(peer.peer.name(), &case, why)),
            }
        }
    }
    for _ in 0..suite.size.rounds[1] {
        for (instance, row, rounds) in &mut ready {
            let Job::Hosts(count) = instance.job else { continue };
            if row.absent.is_some() {
                continue;
            }
            match requests(instance, count, suite.size.seconds) {
                Ok(taken) => rounds.push(taken),
                Err(why) => row.absent = Some(why),
            }
        }
    }
    for (instance, mut row, rounds) in ready {
        if let Err(why) = suite.bed.probe(&instance).await {
            row.absent.get_or_insert(format!("afterwards: {why}"));
        }
        let used: Vec<Used> = rounds.iter().map(|r| r.1).collect();
        let busy = Figure::of(&used.iter().map(|u| u.busy * 100.0).collect::<Vec<_>>());
        row.remarks.extend(limited(&used));
        let rate = Figure::of(&rounds.iter().map(|r| r.0).collect::<Vec<_>>());
        rows.push(row.with("per_cpu_s", rate).with("busy", busy));
    }
    found.rows = suite.sorted(rows);
    found
}

fn first(instance: &Instance, row: Row) -> Row {
    let memory = process::memory(instance.pid());
    row.with("rss_mib", memory.rss_kib as f64 / 1024.0)
        .with("pss_mib", memory.pss_kib as f64 / 1024.0)
        .with("start_s", instance.start.as_secs_f64())
}

/// One round.
fn requests(instance: &Instance, count: usize, seconds: u64) -> Result<Round, String> {
    let script = crate::here().join("peers/hosts.lua").display().to_string();
    let mut args =
        vec!["-t1".to_owned(), "-c64".to_owned(), format!("-d{seconds}s"), "-s".to_owned(), script];
    args.extend([format!("http://{}/", instance.site.listen), "--".to_owned(), count.to_string()]);
    let before = instance.clock();
    let ran = load::wrk(&args)?;
    let used = before.used(instance);
    ran.sound()?;
    Ok((ran.requests / used.cpu, used))
}
