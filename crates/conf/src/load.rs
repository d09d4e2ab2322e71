//! Files to one document: includes, merge, variables, paths.

use std::path::{Path as FsPath, PathBuf};

use crate::{
    files::Files,
    format::{Format, Limits},
    node::{Digest, Node},
    report::Report,
    schema::PathPattern,
};

/// Reads documents. Keeps what it read, so that of a hundred files only those that changed are parsed.
pub struct Loader {
    files: Files,
    patterns: Vec<PathPattern>,
    limits: Limits,
}

/// A document and everything that it was made from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The files merged in their order; no nulls in maps.
    pub document: Node,
    /// What to watch, and what the revision pins; sorted by path.
    pub inputs: Vec<Input>,
}

/// Something on disk that a document depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// Absolute path.
    pub path: PathBuf,
    /// Why it counts.
    pub kind: InputKind,
    /// Hash of its content, of a folder its names; `None` if it cannot be read.
    pub digest: Option<Digest>,
}

/// Why something on disk counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputKind {
    /// A file of the document.
    Document,
    /// A folder whose files are the document or are included by a pattern.
    Folder,
    /// A file that the document refers to: a certificate, a secret.
    Reference,
}

impl Loader {
    /// A loader that knows where paths are written: [`crate::schema::paths`] of the document's schema.
    #[must_use]
    pub fn new(patterns: Vec<PathPattern>) -> Loader {
        Loader { files: Files::new(), patterns, limits: Limits::default() }
    }

    /// Sets what a text may cost.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Loader {
        self.limits = limits;
        self
    }

    /// Sets where variables are looked up, instead of the process's environment.
    #[must_use]
    pub fn with_env(mut self, env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Loader {
        let _ = env;
        self
    }

    /// The files and texts known by number; texts are those of the last load.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The same, to forget the texts when a transaction ends.
    pub fn files_mut(&mut self) -> &mut Files {
        &mut self.files
    }

    /// Reads files and folders and merges them in the order given. Of a folder: all `*.yaml`, `*.yml`, `*.toml` and
    /// `*.json` by name, without those that begin with a dot.
    ///
    /// # Errors
    /// Everything that is wrong in any file, located.
    pub fn load(&mut self, roots: &[PathBuf]) -> Result<Loaded, Report> {
        let _ = roots;
        Err(Report::new())
    }

    /// Reads a text that is no file, such as a body sent to the API: variables and paths as in a file, but
    /// no includes and nulls kept, so that it can be a patch. Relative paths start from `folder`.
    ///
    /// # Errors
    /// What is wrong in it, located.
    pub fn parse_str(
        &mut self,
        name: &str,
        folder: &FsPath,
        text: &str,
        format: Format,
    ) -> Result<Node, Report> {
        let _ = (name, folder, text, format);
        Err(Report::new())
    }

    /// The files that a document refers to where the schema says that their content counts, with their
    /// hashes; sorted by path.
    #[must_use]
    pub fn references(&self, document: &Node) -> Vec<Input> {
        let _ = document;
        Vec::new()
    }
}
