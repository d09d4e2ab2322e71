//! Measurements that a claim of this project rests on. Each prints a table and writes its numbers to
//! `bench/out/<name>.json`; the suite of all peers writes a report to `bench/results`.
//!
//! `cargo run --release -p bench -- <changes|websockets|broken|kill|workers|deaths|upgrades|queue|all>`
//! `cargo run --release -p bench -- suite [--quick] [--report] [--only ID,…] [--peers NAME,…]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

mod bed;
mod broken;
mod changes;
mod chart;
mod deaths;
mod kill;
mod load;
mod machine;
mod peers;
mod queue;
mod report;
mod results;
mod suite;
mod table;
mod template;
mod upgrades;
mod websockets;
mod workers;

const NAMES: [&str; 8] =
    ["changes", "websockets", "broken", "kill", "workers", "deaths", "upgrades", "queue"];

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("suite", args)) = wanted.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return suite::run(build, args).await;
    }
    let all = wanted.iter().any(|w| w == "all");
    let known = wanted.iter().all(|w| w == "all" || NAMES.contains(&w.as_str()));
    assert!(known && !wanted.is_empty(), "say one of {NAMES:?}, all, or suite");
    let binary = build();
    for name in NAMES.into_iter().filter(|n| all || wanted.iter().any(|w| w == n)) {
        let numbers = match name {
            "changes" => changes::run(&binary).await,
            "websockets" => websockets::run(&binary).await,
            "broken" => broken::run(&binary).await,
            "deaths" => deaths::run(&binary).await,
            "kill" => kill::run(&binary).await,
            "queue" => queue::run(&binary).await,
            "upgrades" => upgrades::run(&binary).await,
            "workers" => workers::run(&binary).await,
            _ => unreachable!("one of NAMES"),
        };
        record(name, &numbers);
    }
}

/// The folder of this bench.
pub(crate) fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Builds the gateway with the same settings as this bench, and says where it is.
fn build() -> PathBuf {
    if let Some(binary) = std::env::var_os("EVERGATE_BIN") {
        return binary.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--release", "-p", "evergate"]).current_dir(here()).status();
    assert!(built.expect("cargo").success(), "the gateway does not build");
    std::env::current_exe().expect("a path").with_file_name("evergate")
}

fn record(name: &str, numbers: &Value) {
    let folder = here().join("out");
    std::fs::create_dir_all(&folder).expect("a folder");
    let text = serde_json::to_string_pretty(numbers).expect("JSON");
    std::fs::write(folder.join(format!("{name}.json")), text).expect("numbers written");
}
