//! All peers at the same jobs, in turn, in one run.
//!
//! `suite [--quick] [--report] [--only ID,…] [--peers NAME,…]`. What has been measured goes into `bench/results`: figures as
//! JSON, a report, charts; `--report` writes report and charts anew and measures nothing. Figures of
//! a quick run, which shows whether everything works, and of some peers only go to `bench/out`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    bed::Bed,
    machine::{self, Machine},
    peers::{self, CORES, Found, Peer},
    report,
    results::{Program, Results, Row, Scenario},
};

mod changes;
mod latency;
mod own;
mod routes;
mod sockets;
mod throughput;

/// Memory is looked at so long after what came before it: by then everybody has given back what they give back.
pub(crate) const SETTLE: Duration = Duration::from_secs(2);

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Rounds of the first scenario and of the others.
    pub rounds: [usize; 2],
    /// Length of a round.
    pub seconds: u64,
    /// Host routes.
    pub hosts: &'static [usize],
    /// Changes at each size.
    pub changes: usize,
    /// Seconds for all changes of one peer at one size.
    pub changes_seconds: u64,
    /// Changes with WebSockets.
    pub sockets: usize,
    /// Changes of one gateway in a row.
    pub many: usize,
}

const FULL: Size = Size {
    rounds: [5, 3],
    seconds: 2,
    hosts: &[10, 10_000, 100_000],
    changes: 8,
    changes_seconds: 15,
    sockets: 100,
    many: 1000,
};

const QUICK: Size = Size {
    rounds: [1, 1],
    seconds: 1,
    hosts: &[10, 1000],
    changes: 2,
    changes_seconds: 5,
    sockets: 5,
    many: 20,
};

/// Names of all scenarios, in their order.
fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = throughput::ALL.iter().map(|t| t.id).collect();
    names.extend(["latency", "routes", "changes", "sockets", "own"]);
    names
}

/// What a scenario has to work with.
pub(crate) struct Suite {
    pub bed: Bed,
    /// All peers that were asked for; those that are missing are errors.
    pub peers: Vec<Result<Found, &'static dyn Peer>>,
    pub size: Size,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    quick: bool,
    report: bool,
    only: Vec<String>,
    peers: Vec<String>,
}

fn wanted(args: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted { quick: false, report: false, only: Vec::new(), peers: Vec::new() };
    let mut args = args.iter();
    let list = |value: Option<&String>, known: &[&str]| -> Result<Vec<String>, String> {
        let names: Vec<String> = value.map(|v| v.split(',').map(str::to_owned).collect()).unwrap_or_default();
        match names.iter().find(|n| !known.contains(&n.as_str())) {
            Some(name) => Err(format!("no {name:?}; there are {}", known.join(", "))),
            None if names.is_empty() => Err(format!("say some of {}", known.join(", "))),
            None => Ok(names),
        }
    };
    let peers: Vec<&str> = peers::ALL.iter().map(|p| p.name()).collect();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => wanted.quick = true,
            "--report" => wanted.report = true,
            "--only" => wanted.only = list(args.next(), &names())?,
            "--peers" => wanted.peers = list(args.next(), &peers)?,
            other => {
                return Err(format!(
                    "suite [--quick] [--report] [--only ID,…] [--peers NAME,…]: no {other:?}"
                ));
            }
        }
    }
    Ok(wanted)
}

/// Runs what the arguments ask for, with the gateway that `build` makes. Panics where it cannot begin.
pub(crate) async fn run(build: fn() -> PathBuf, args: &[String]) {
    let wanted = wanted(args).unwrap_or_else(|why| panic!("{why}"));
    // Figures of some peers only would stand among those of all as if they were of one run.
    let aside = wanted.quick || !wanted.peers.is_empty();
    let folder = crate::here().join(if aside { "out/suite" } else { "results" });
    let file = folder.join("latest.json");
    if wanted.report {
        let results = Results::read(&file).unwrap_or_else(|| panic!("nothing has been measured"));
        return report::write(&results, &folder);
    }
    let found: Vec<_> = peers::ALL
        .into_iter()
        .map(|peer| match peer.name() {
            "evergate" => peers::at(peer, build()).ok_or(peer),
            _ => peers::find(peer).ok_or(peer),
        })
        .collect();
    let programs = found.iter().map(program).collect();
    let machine = Machine::this();
    machine::settle(CORES[1]);
    let mut results = Results::resume(&file, machine, programs);
    let asked = |name: &str| wanted.peers.is_empty() || wanted.peers.iter().any(|p| p == name);
    let peers = found.into_iter().filter(|f| asked(name(f))).collect();
    let suite = Suite { bed: Bed::new().await, peers, size: if wanted.quick { QUICK } else { FULL } };
    let command = format!("cargo run --release -p bench -- suite {}", args.join(" "));
    let all = names();
    for id in all.iter().filter(|id| wanted.only.is_empty() || wanted.only.iter().any(|o| o == **id)) {
        let start = Instant::now();
        let mut scenario = suite.scenario(id).await;
        scenario.date = machine::date();
        command.trim_end().clone_into(&mut scenario.command);
        scenario.took_seconds = start.elapsed().as_secs_f64().round();
        report::print(&results, &scenario);
        results.put(scenario);
        results.scenarios.sort_by_key(|s| all.iter().position(|id| *id == s.id));
        results.write(&file);
        report::write(&results, &folder);
    }
}

fn name(found: &Result<Found, &'static dyn Peer>) -> &'static str {
    match found {
        Ok(found) => found.peer.name(),
        Err(peer) => peer.name(),
    }
}

fn program(found: &Result<Found, &'static dyn Peer>) -> Program {
    let (peer, version, digest) = match found {
        Ok(found) => (found.peer, Some(found.version.clone()), machine::digest(&found.program)),
        Err(peer) => (*peer, None, None),
    };
    Program {
        name: peer.name().to_owned(),
        title: peer.title().to_owned(),
        comes_from: peer.comes_from().to_owned(),
        version,
        digest,
    }
}

impl Suite {
    async fn scenario(&self, id: &str) -> Scenario {
        if let Some(scenario) = throughput::ALL.iter().find(|t| t.id == id) {
            return throughput::run(self, scenario).await;
        }
        match id {
            "latency" => latency::run(self).await,
            "routes" => {
                // What has run until now is of no more use.
                self.bed.clear();
                routes::run(self).await
            }
            "changes" => changes::run(self).await,
            "sockets" => sockets::run(self).await,
            "own" => own::run(self).await,
            _ => unreachable!("one of names()"),
        }
    }

    /// The peers that are there; the missing ones as rows that say so.
    pub(crate) fn there(&self, case: &str) -> (Vec<&Found>, Vec<Row>) {
        let there = self.peers.iter().filter_map(|f| f.as_ref().ok()).collect();
        let missing = self.peers.iter().filter_map(|f| f.as_ref().err());
        let row = |peer: &&'static dyn Peer| {
            Row::absent(peer.name(), case, format!("not on this machine ({})", peer.comes_from()))
        };
        (there, missing.map(row).collect())
    }

    /// Something that a scenario can still do within its time; what it cannot is said.
    pub(crate) fn in_time(start: Instant, seconds: u64) -> Result<(), String> {
        let left = start.elapsed().as_secs() < seconds;
        if left { Ok(()) } else { Err(format!("left out: the scenario had its {seconds} s")) }
    }

    /// Puts rows into the order of the peers, those of one peer by size.
    pub(crate) fn sorted(&self, mut rows: Vec<Row>) -> Vec<Row> {
        let place = |row: &Row| self.peers.iter().position(|f| name(f) == row.peer);
        rows.sort_by_key(|row| (place(row), size(&row.case)));
        rows
    }

    /// The gateway itself, if it is among the peers.
    pub(crate) fn evergate(&self) -> Option<&Found> {
        self.peers.iter().filter_map(|f| f.as_ref().ok()).find(|f| f.peer.name() == "evergate")
    }
}

/// The number that a case begins with.
fn size(case: &str) -> usize {
    let number = case.split(' ').next().unwrap_or_default().replace(',', "");
    number.parse().unwrap_or_default()
}

/// A scenario before it has run.
pub(crate) fn scenario(id: &str, title: &str, about: &str, columns: &[(&str, &str, usize)]) -> Scenario {
    Scenario {
        id: id.to_owned(),
        title: title.to_owned(),
        about: about.to_owned(),
        columns: crate::results::columns(columns),
        rows: Vec::new(),
        date: String::new(),
        command: String::new(),
        took_seconds: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_a_size() {
        for (case, expected) in [("", 0), ("10 routes", 10), ("100,000 routes, by file: x", 100_000)] {
            assert_eq!(size(case), expected);
        }
    }

    #[test]
    fn the_command_line_is_understood() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (text, expected) in [
            ("", Some((false, false, "", ""))),
            ("--quick", Some((true, false, "", ""))),
            ("--report", Some((false, true, "", ""))),
            ("--only http1,routes --peers nginx", Some((false, false, "http1 routes", "nginx"))),
            ("--only nothing", None),
            ("--only", None),
            ("--peers apache", None),
            ("--fast", None),
        ] {
            let expected = expected.map(|(quick, report, only, peers)| Wanted {
                quick,
                report,
                only: words(only),
                peers: words(peers),
            });
            assert_eq!(wanted(&words(text)).ok(), expected, "{text}");
        }
    }
}
