//! Files to one document: includes, merge, variables, paths.
//!
//! A file may say `include: other.yaml` or `include: [conf.d/*.yaml, …]` at its top. What it includes is
//! merged before it, so that it has the last word. A file counts once, where it is first named.

mod again;
mod run;
mod stamp;
mod variables;

use std::{
    collections::HashMap,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::SystemTime,
};

pub use self::stamp::is_local;
use self::{
    run::{Cached, Document, Run},
    variables::Expand,
};
use crate::{
    files::Files,
    format::{self, Format, Limits},
    merge::{merge_again, merge_all},
    node::{Digest, FileId, Node, Place},
    path::Path,
    report::Report,
    schema::{PathPattern, Patterns},
};

/// Reads documents. Keeps what it read, so that of a hundred files only those that changed are read and parsed.
pub struct Loader {
    files: Files,
    patterns: Patterns,
    /// Those of `patterns` whose content counts.
    pinned: Patterns,
    limits: Limits,
    env: Env,
    cache: HashMap<PathBuf, Cached>,
    now: fn() -> SystemTime,
    inputs: Vec<Input>,
    /// The files of the last good load, and what they made.
    last: Option<(Vec<Arc<Document>>, Node)>,
}

/// Looks a variable up.
type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A document and everything that it was made from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The files merged in their order; no nulls in maps. The place of a value says which file set it.
    pub document: Node,
    /// What to watch, and what the revision pins; sorted by path.
    pub inputs: Vec<Input>,
}

/// Something on disk that a document depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// Absolute path; symbolic links are not followed.
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
    pub fn new(patterns: &[PathPattern]) -> Loader {
        Loader {
            files: Files::new(),
            patterns: Patterns::new(patterns),
            pinned: Patterns::new(patterns.iter().filter(|pattern| pattern.pinned)),
            limits: Limits::default(),
            env: Arc::new(|name| std::env::var(name).ok()),
            cache: HashMap::new(),
            now: || SystemTime::UNIX_EPOCH,
            inputs: Vec::new(),
            last: None,
        }
    }

    /// Sets what a text may cost.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Loader {
        self.limits = limits;
        self
    }

    /// Sets where variables are looked up, instead of the process's environment. What was read before is
    /// kept as it is.
    #[must_use]
    pub fn with_env(mut self, env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Loader {
        self.env = Arc::new(env);
        self
    }

    /// Sets how to ask what time it is, by the clock of the file systems: a file that was left alone for a while when it was
    /// read need not be read again while it looks the same. Without this every load reads everything.
    #[must_use]
    pub fn with_clock(mut self, now: fn() -> SystemTime) -> Loader {
        self.now = now;
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

    /// What the last load looked at, whether or not it went well: what to watch for the mended file.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Has the next load read every file, also one that shows no sign of a change: somebody asks, who may know better.
    pub fn distrust(&mut self) {
        self.cache.values_mut().for_each(Cached::distrust);
    }

    /// Reads files and folders and merges them in the order given. Of a folder: all `*.yaml`, `*.yml`, `*.toml` and
    /// `*.json` by name, without those that begin with a dot.
    ///
    /// # Errors
    /// Everything that is wrong in any file, located.
    pub fn load(&mut self, roots: &[PathBuf]) -> Result<Loaded, Report> {
        self.files.begin();
        let mut run = Run::new(self);
        roots.iter().for_each(|root| run.root(root));
        let (documents, mut inputs, mut report) = run.done();
        let nodes: Vec<&Node> = documents.iter().map(|d| &d.node).collect();
        if report.has_errors() {
            inputs.extend(nodes.iter().flat_map(|node| self.references(node)));
        }
        let document = match &self.last {
            Some((before, result)) => {
                merge_again(&before.iter().map(|d| &d.node).collect::<Vec<_>>(), result, &nodes)
            }
            None => merge_all(&nodes),
        };
        inputs.extend(self.references(&document));
        inputs.sort();
        inputs.dedup();
        self.inputs.clone_from(&inputs);
        if report.has_errors() {
            report.locate(&self.files);
            return Err(report);
        }
        self.last = Some((documents, document.clone()));
        Ok(Loaded { document, inputs })
    }

    /// Reads what may have changed, so that the next load finds it read. Nothing is made of it, whatever it says.
    pub fn read_ahead(&mut self, roots: &[PathBuf]) {
        let mut run = Run::new(self);
        roots.iter().for_each(|root| run.root(root));
        // What is gone for a moment is not forgotten: that is for a load to say.
        drop(run);
        self.files.forget_texts();
    }

    /// Reads a text that is no file, such as a body sent to the API: variables and paths as in a file, but
    /// no includes, and nulls are kept, so that it can be a patch. Relative paths start from `folder`.
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
        let file = self.files.named(name, folder, Some(text.into()));
        let mut report = Report::new();
        match self.parse((text, format, file), folder, None, &mut report) {
            Some(node) if !report.has_errors() => Ok(node),
            _ => {
                report.locate(&self.files);
                Err(report)
            }
        }
    }

    /// The files that a document refers to where the schema says that their content counts, with their
    /// hashes; sorted by path.
    #[must_use]
    pub fn references(&self, document: &Node) -> Vec<Input> {
        let mut paths = Vec::new();
        self.pinned.pinned(document, &mut |path| paths.push(path));
        paths.sort_unstable();
        paths.dedup();
        let input = |path: &str| {
            let path = PathBuf::from(path);
            // Only of files: reading a pipe would wait for ever.
            let content = path.is_file().then(|| std::fs::read(&path).ok()).flatten();
            Input { kind: InputKind::Reference, digest: content.map(|c| Digest::of(&c)), path }
        };
        paths.into_iter().map(input).collect()
    }

    /// One text with variables and paths done, out of what it was before; `None` if it is not even a map.
    fn parse(
        &self,
        (text, format, file): (&str, Format, FileId),
        folder: &FsPath,
        before: Option<&Node>,
        report: &mut Report,
    ) -> Option<Node> {
        let root = Path::root();
        let node = match format::parse_again(text, format, file, &self.limits, before) {
            Ok(node) => node,
            Err(error) => {
                report.problem(error.code, &root, error.place, error.message).help = error.help;
                return None;
            }
        };
        if node.as_map().is_none() {
            report.problem("type", &root, node.place, "expected keys and values at the top of the document");
            return None;
        }
        // A dollar is written as itself, or behind a backslash.
        let may_expand = memchr::memchr2(b'$', b'\\', text.as_bytes()).is_some();
        let expanded = if may_expand { Expand::new(&*self.env, report).node(&node) } else { None };
        let expanded = expanded.unwrap_or(node);
        Some(self.patterns.absolute(&expanded, folder))
    }
}

/// The start of a file.
fn top_of(file: FileId) -> Place {
    Place { line: 1, column: 1, file }
}

#[cfg(test)]
mod tests;
