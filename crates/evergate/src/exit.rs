//! How the process ends, as scripts and service managers read it.

use std::process::ExitCode;

/// Why the process ends. The number is its exit code; those from 64 on follow sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All is well: applied, unchanged, valid, stopped as asked.
    Ok = 0,
    /// Refused: the document is wrong, or it was meant for another revision.
    Refused = 1,
    /// No gateway answers, or there is no verdict.
    NoAnswer = 3,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// A file is no YAML, TOML or JSON (`EX_DATAERR`).
    Data = 65,
    /// A file cannot be read (`EX_NOINPUT`).
    NoInput = 66,
    /// An address or the data directory is in use by another process (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A defect of ours (`EX_SOFTWARE`).
    Software = 70,
    /// The system gives no thread or signal (`EX_OSERR`).
    System = 71,
    /// The data directory cannot be made (`EX_CANTCREAT`).
    CannotCreate = 73,
    /// The disk fails (`EX_IOERR`).
    Io = 74,
    /// The document is wrong (`EX_CONFIG`).
    Config = 78,
    /// Interrupted a second time while it drained.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
