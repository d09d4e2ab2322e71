//! Evergate: a gateway that is never restarted.
//!
//! Reads the command line and ends the process; everything else is done by others.

mod built_in;
mod cli;
mod compose;
mod exit;
mod log;
mod place;
mod serve;
mod time;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    exit::Exit,
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
    match serve::run(&args) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{}", failure.text);
            failure.exit.into()
        }
    }
}
