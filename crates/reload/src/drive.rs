//! The engine at work: starts the thread that carries out its effects, and is the door to it.

use std::{path::PathBuf, sync::Arc};

use evergate_conf::{Loader, Node, Path, Report};
use tokio::sync::broadcast;

use crate::{
    counters::Counters,
    plan::{Plan, Redactor, hide_literals},
    revision::{Record, Revision, RevisionId},
    source::{Draft, Notice},
    status::Status,
    target::Target,
    verdict::Verdict,
};

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
    /// Reads the files.
    pub loader: Loader,
    /// Says which values are secrets.
    pub redactor: Redactor,
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
}

/// The door to a running engine. Cloning gives another handle to the same; the engine runs until [`Handle::stop`],
/// or until the last handle is gone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    notices: broadcast::Sender<Arc<Notice>>,
    counters: Counters,
}

/// Where a value of the running document comes from.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Explained {
    /// Which value.
    pub path: Path,
    /// What it is; secrets are hidden.
    pub value: Node,
    /// The layer that set it: a file and line, `overlay`, `built-in`.
    pub from: String,
}

impl Options {
    /// Watched files, in order, without a history on disk.
    #[must_use]
    pub fn new(loader: Loader, roots: Vec<PathBuf>) -> Options {
        Options {
            roots,
            built_in: None,
            folder: PathBuf::from("."),
            data_dir: None,
            strict: false,
            loader,
            redactor: hide_literals(),
        }
    }
}

/// Loads, checks, builds and publishes the first revision; returns when it runs. Needs a tokio runtime.
///
/// # Errors
/// If nothing could be published.
pub async fn start<T: Target>(target: T, options: Options) -> Result<Handle, StartError> {
    let _ = (target, options);
    Err(StartError::Refused(Arc::default()))
}

impl Handle {
    /// Asks for a change and waits for its verdict.
    pub async fn submit(&self, draft: Draft) -> Verdict {
        let _ = draft;
        Verdict::Conflict { running: None }
    }

    /// What runs, what is pending, what was refused.
    #[must_use]
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// What runs, whole; secrets are not hidden.
    #[must_use]
    pub fn running(&self) -> Arc<Revision> {
        unimplemented!()
    }

    /// A document with its secrets hidden.
    #[must_use]
    pub fn redacted(&self, document: &Node) -> Node {
        document.clone()
    }

    /// Everything that happens from now on. Who is more than 1024 notices late misses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.shared.notices.subscribe()
    }

    /// The counts for a metrics page.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Revisions that are kept, newest first.
    pub async fn history(&self) -> Vec<Record> {
        Vec::new()
    }

    /// A revision that is kept; `None` if it is not, or its file is damaged.
    pub async fn revision(&self, id: RevisionId) -> Option<Arc<Revision>> {
        let _ = id;
        None
    }

    /// What leads from one revision to another; `None` if one of them is not kept.
    pub async fn diff(&self, from: RevisionId, to: RevisionId) -> Option<Plan> {
        let _ = (from, to);
        None
    }

    /// Which layer set what runs, for each value at or below a path.
    #[must_use]
    pub fn explain(&self, path: &Path) -> Vec<Explained> {
        let _ = path;
        Vec::new()
    }

    /// Ends the engine when the transaction under way is done. What was published stays with whoever holds it; the
    /// target is dropped.
    pub async fn stop(&self) {}
}
