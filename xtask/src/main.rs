//! Every chore of this project: `cargo xtask help` names them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

mod bench;
mod counts;
mod docs;
mod suite;
mod tidy;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const HELP: &str = "\
cargo xtask <chore>

  test [ARGS]     everything that can fail: house rules, documents, all tests, the fuzz targets once over;
                  ARGS go to `cargo test`
  tidy            the house rules that a machine can check
  docs [--check]  writes docs/configuration.md from the schema; --check only says whether it is up to date
  bench [NAME…]   the measurements in bench/; without a name, all trials; `bench suite …` compares with other proxies
  counts [--accept] [WORD…]
                  instructions of a request and of a change, against bench/counts.json; --accept writes them there
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(&top()),
        ["test", rest @ ..] => suite::run(&top(), rest),
        ["docs"] => docs::write(&top()),
        ["docs", "--check"] => docs::check(&top()),
        ["counts", args @ ..] => counts::run(&top(), args),
        ["bench", names @ ..] => bench::run(&top(), names),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("no such chore: {}\n\n{HELP}", words.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Runs a command and fails if it does.
fn call(top: &Path, command: &[&str]) -> Result<(), String> {
    let shown = command.join(" ");
    let (program, args) = command.split_first().ok_or("no command")?;
    println!("$ {shown}");
    let ended = std::process::Command::new(program).args(args).current_dir(top).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(why) => Err(format!("cannot run `{shown}`: {why}")),
    }
}
