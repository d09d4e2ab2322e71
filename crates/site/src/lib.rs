//! Static files: a folder answers GET and HEAD.
//!
//! A request's way: `path` makes a safe relative path of the target, `root` opens it without leaving the folder,
//! `coding` picks a precompressed sibling, `condition` and `range` decide what of it is sent, `stream` sends
//! it. What the kernel has in memory is taken at once; only where a disk would have to be waited for, it is done on
//! tokio's blocking pool. Everything is opened anew for each request, so that a folder that is swapped is seen at once. Must not know: routes, connections, how errors look to clients.

mod coding;
mod condition;
mod media;
mod path;
mod range;
mod root;
mod serve;
mod stream;

use std::{path::PathBuf, sync::Arc};

use evergate_contract::config::Files;

/// The methods that files answer, for the `Allow` of [`FaultKind::MethodNotAllowed`] (RFC 9110 §15.5.6).
///
/// [`FaultKind::MethodNotAllowed`]: evergate_contract::FaultKind::MethodNotAllowed
pub const ALLOW: &str = "GET, HEAD";

/// A folder that is served. Cheap to make and to clone; holds nothing open.
#[derive(Clone, Debug)]
pub struct Site {
    settings: Arc<Settings>,
}

#[derive(Debug)]
struct Settings {
    root: PathBuf,
    index: Vec<String>,
    precompressed: bool,
}

impl Site {
    /// The folder as the document describes it. It need not exist yet.
    #[must_use]
    pub fn new(files: &Files) -> Site {
        let root = files.root.as_path().to_owned();
        let settings = Settings { root, index: files.index.clone(), precompressed: files.precompressed };
        Site { settings: Arc::new(settings) }
    }
}
