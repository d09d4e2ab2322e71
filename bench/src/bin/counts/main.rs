//! What a request and a change cost, as counted work: the same numbers on every machine, however busy. CI runs it, and
//! it fails when a figure is more than 5 % above the one in `bench/counts.json`.
//!
//! `cargo xtask counts` compares; `cargo xtask counts --accept` writes the figures down instead. Words after that take only the
//! figures whose names contain one of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement"
)]

mod baseline;
mod callgrind;
mod changes;
mod programs;
mod requests;
mod tools;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use baseline::{Baseline, Figures};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let accept = words.iter().position(|w| w == "--accept").map(|at| words.remove(at)).is_some();
    if let Some(unknown) = words.iter().find(|w| w.starts_with('-')) {
        eprintln!("no such option: {unknown}; there is --accept");
        return ExitCode::FAILURE;
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| name.contains(w.as_str()));
    let programs = programs::build();
    let mut figures = Figures::new();
    requests::count(&programs.gateway, &wanted, &mut figures).await;
    changes::count(&programs.change_cost, &wanted, &mut figures);
    let now = Baseline { tools: tools::used(), figures };
    if accept { take(now, words.is_empty()) } else { judge(&now, &wanted) }
}

/// Writes the figures down; those that were not counted this time stay.
fn take(now: Baseline, whole: bool) -> ExitCode {
    let before = if whole { Baseline::default() } else { Baseline::read(&file()).unwrap_or_default() };
    let new = before.updated(now);
    new.write(&file());
    print!("{}", new.table());
    println!("written to {}; commit it with the reason", file().display());
    ExitCode::SUCCESS
}

/// Compares with what is written down.
fn judge(now: &Baseline, wanted: &dyn Fn(&str) -> bool) -> ExitCode {
    let Some(mut before) = Baseline::read(&file()) else {
        print!("{}", now.table());
        eprintln!("{} is not there: `cargo xtask counts --accept` writes it", file().display());
        return ExitCode::FAILURE;
    };
    before.figures.retain(|name, _| wanted(name));
    let judgement = before.judge(now);
    print!("{}", judgement.text);
    if judgement.worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn file() -> PathBuf {
    top().join("bench/counts.json")
}

/// The folder of the workspace.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench is in a workspace")
}
