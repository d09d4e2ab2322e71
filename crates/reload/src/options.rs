//! What an engine is started with, and why it may not start.

use std::{path::PathBuf, sync::Arc};

use evergate_conf::{Loader, Node, Report};

use crate::plan::{Redactor, hide_literals};

/// What to load, and where to keep what ran.
pub struct Options {
    /// Files and folders, merged in this order.
    pub roots: Vec<PathBuf>,
    /// A document that lies below the files; the only one if there are no files.
    pub built_in: Option<Node>,
    /// Where relative paths in API edits start.
    pub folder: PathBuf,
    /// Where revisions are kept; `None`: only in memory.
    pub data_dir: Option<PathBuf>,
    /// Never start from the last good revision: broken files end the start.
    pub strict: bool,
    /// What to run first.
    pub begin: Begin,
    /// Reads the files.
    pub loader: Loader,
    /// Says which values are secrets.
    pub redactor: Redactor,
}

/// What an engine runs first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// What the files say, as a person starts it.
    #[default]
    Files,
    /// What ran last on this data directory: this process takes the place of one that ran it. The files are looked at
    /// afterwards, as when they change. Where nothing was kept, the files.
    Last,
    /// What ran before that: the last revision ended its process again and again.
    Previous,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The files are refused, and there is no last good revision to start from, or it was not wanted.
    #[error("{0}")]
    Refused(Arc<Report>),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {0}: {1}")]
    DataDir(PathBuf, std::io::Error),
    /// Another process uses it.
    #[error("the data directory {0} is in use by another process")]
    Locked(PathBuf),
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// A defect of the target ended the thread.
    #[error("the thread that starts ended before it was done")]
    Ended,
}

impl Options {
    /// Files in that order; no history on disk.
    #[must_use]
    pub fn new(loader: Loader, roots: Vec<PathBuf>) -> Options {
        Options {
            roots,
            built_in: None,
            folder: PathBuf::from("."),
            data_dir: None,
            strict: false,
            begin: Begin::Files,
            loader,
            redactor: hide_literals(),
        }
    }
}
