//! Evergate: a gateway that is never restarted.
//!
//! Reads the command line and ends the process; everything else is done by others.

mod built_in;
mod cli;
mod compose;
mod exit;
mod leave;
mod log;
mod overseer;
mod place;
mod reap;
mod serve;
mod stop;
mod time;

use std::process::ExitCode;

use clap::Parser;

use evergate_supervisor::Options;

use crate::{
    cli::{Cli, Command, RunArgs},
    exit::Exit,
    serve::Failure,
};

#[expect(clippy::print_stderr, reason = "why it did not start is for whoever started it")]
fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(wrong) => {
            // Help and version come this way too.
            let _ = wrong.print();
            return if wrong.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let Command::Run(args) = command else { return cli::carry_out(&command).into() };
    let is_child = evergate_supervisor::is_child(place::variable);
    let ended =
        if args.no_supervisor || is_child { serve::run(&args).map(ExitCode::from) } else { supervise(&args) };
    match ended {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", failure.text);
            failure.exit.into()
        }
    }
}

/// Stays behind while a child serves.
fn supervise(args: &RunArgs) -> Result<ExitCode, Failure> {
    let options = Options { args: std::env::args_os().skip(1).collect(), pid_file: args.pid_file.clone() };
    match evergate_supervisor::run(options, place::variable) {
        Ok(code) => Ok(code.into()),
        Err(error) => Err(Failure { exit: Exit::System, text: format!("cannot supervise: {error}") }),
    }
}
