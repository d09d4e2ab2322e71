//! The command line: one file for each group of commands, this one for what they take.

mod change;
mod check;
mod client;
mod diff;
mod look;
mod show;
mod upgrade;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;

/// A gateway that is never restarted: every setting changes under live traffic.
#[derive(Debug, Parser)]
#[command(
    name = "evergate",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve; without a document, a welcome page
    Run(RunArgs),
    /// Say everything that is wrong with a document; exit code 0 or 1
    Check(CheckArgs),
    /// Show what differs: between two documents or revisions, or to what runs
    Diff(DiffArgs),
    /// Read the files again, also those that are held or have shrunk, and wait for the verdict
    Reload(ReloadArgs),
    /// Set the overlay, the layer above the files, to a document, and wait for the verdict
    Apply(ApplyArgs),
    /// Change the overlay by a merge patch (RFC 7396), and wait for the verdict
    Patch(PatchArgs),
    /// Go back to a revision, or to the one before, and wait for the verdict
    Rollback(RollbackArgs),
    /// Show what runs, what is pending, what was last refused
    Status(LookArgs),
    /// Show what ran
    History(HistoryArgs),
    /// Show a revision with its document
    Show(ShowArgs),
    /// Show which layer set a value
    Explain(ExplainArgs),
    /// Replace the running program, by the one in FILE or the one that was installed since, without a lost connection
    Upgrade(UpgradeArgs),
    /// Print the JSON Schema of the document, for editors
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Documents and folders of documents, merged in this order
    #[arg(value_name = "FILE|DIR")]
    pub(crate) files_or_folders: Vec<PathBuf>,
    /// Without a document: send everything to this URL
    #[arg(long, value_name = "URL", conflicts_with_all = ["files_or_folders", "files"])]
    pub(crate) proxy: Option<String>,
    /// Without a document: serve the files of this folder
    #[arg(long, value_name = "DIR", conflicts_with = "files_or_folders")]
    pub(crate) files: Option<PathBuf>,
    /// Without a document: listen here [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", conflicts_with = "files_or_folders")]
    pub(crate) listen: Option<String>,
    /// Without a document: the admin API listens here [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR", conflicts_with = "files_or_folders")]
    pub(crate) admin: Option<String>,
    /// Where revisions are kept [default: $EVERGATE_DATA_DIR, or a folder of the user's]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Never start from the last good revision: broken files end the start
    #[arg(long)]
    pub(crate) strict: bool,
    /// Run in one process, which nobody restarts when it dies, and which cannot be upgraded
    #[arg(long)]
    pub(crate) no_supervisor: bool,
    /// Write the number of the process to send signals to into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
}

/// How to reach the gateway.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The gateway's admin API: http://host:port, or unix:/path [default: $EVERGATE_ADMIN]
    #[arg(long, value_name = "URL", conflicts_with_all = ["socket", "data_dir"])]
    pub(crate) admin: Option<String>,
    /// The gateway's admin socket
    #[arg(long, value_name = "PATH", conflicts_with = "data_dir")]
    pub(crate) socket: Option<PathBuf>,
    /// The gateway's data directory, which says where it is [default: $EVERGATE_DATA_DIR, or a folder of the user's]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// For whom to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Human,
    /// For programs
    Json,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Documents and folders of documents, merged in this order; `-` is standard input
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A document or a revision such as 42-9f3a1c or 42; without it, what a reload would change
    #[arg(value_name = "FILE|REV")]
    pub(crate) from: Option<String>,
    /// Another; without it, what leads from what runs to the first
    #[arg(value_name = "FILE|REV")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) at: Where,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What every change takes.
#[derive(Debug, Args)]
pub(crate) struct Write {
    /// Only say what it would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only if this revision runs
    #[arg(long, value_name = "REV")]
    pub(crate) if_match: Option<String>,
    #[command(flatten)]
    pub(crate) at: Where,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A document; `-` is standard input. Relative paths in it start where the gateway's own document is
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Args)]
pub(crate) struct PatchArgs {
    /// The patch, such as '{"log":{"level":"debug"}}'; null removes a key; `-` is standard input
    #[arg(value_name = "JSON")]
    pub(crate) patch: String,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// A revision such as 42-9f3a1c or 42
    #[arg(value_name = "REV")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) write: Write,
}

#[derive(Debug, Args)]
pub(crate) struct LookArgs {
    #[command(flatten)]
    pub(crate) at: Where,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// At most so many, newest first
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A revision such as 42-9f3a1c or 42, or `running`
    #[arg(value_name = "REV")]
    pub(crate) revision: String,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    /// The program; without it, the file that the gateway was started from
    #[arg(value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A value and all below it, such as routes.api
    #[arg(value_name = "PATH", default_value = "")]
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

/// Carries out a command other than `run`; prints what it has to say.
pub(crate) fn carry_out(command: &Command) -> Exit {
    let done = match command {
        Command::Run(_) => return Exit::Usage,
        Command::Check(args) => check::check(args),
        Command::Diff(args) => diff::diff(args),
        Command::Reload(args) => change::reload(args),
        Command::Apply(args) => change::apply(args),
        Command::Patch(args) => change::patch(args),
        Command::Rollback(args) => change::rollback(args),
        Command::Status(args) => look::status(args),
        Command::History(args) => look::history(args),
        Command::Show(args) => look::show(args),
        Command::Explain(args) => look::explain(args),
        Command::Upgrade(args) => upgrade::upgrade(args),
        Command::Schema => check::schema(),
    };
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            show::complain(&failure.text);
            failure.exit
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: text.into() }
    }
}

type Done = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_hangs_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_document_and_its_substitutes_exclude_each_other() {
        for (args, fits) in [
            (&["run"][..], true),
            (&["run", "a.yaml", "b"], true),
            (&["run", "--proxy", "http://a", "--listen", ":80"], true),
            (&["run", "a.yaml", "--listen", ":80"], false),
            (&["run", "a.yaml", "--proxy", "http://a"], false),
            (&["run", "--files", "x", "--proxy", "http://a"], false),
            (&["status", "--socket", "a", "--data-dir", "b"], false),
            (&["upgrade"], true),
            (&["upgrade", "a", "b"], false),
            (&[], false),
        ] {
            let parsed = Cli::try_parse_from(["evergate"].iter().chain(args));
            assert_eq!(parsed.is_ok(), fits, "{args:?}");
        }
    }
}
