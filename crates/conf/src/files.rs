//! The files and other texts that values come from, by number.

use std::{
    collections::HashMap,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Limits, node::FileId};

/// Names, folders and (while a load is under way) the text of everything that was read. Numbers stay the
/// same for the same path from load to load.
#[derive(Debug, Default)]
pub struct Files {
    sources: Vec<Source>,
    by_name: HashMap<PathBuf, FileId>,
    epoch: u64,
}

#[derive(Debug)]
struct Source {
    name: PathBuf,
    folder: PathBuf,
    text: Text,
    epoch: u64,
}

#[derive(Debug)]
enum Text {
    Held(Arc<str>),
    /// It was not read, since it is what it was.
    OnDisk,
    Forgotten,
}

impl Files {
    /// No files yet.
    #[must_use]
    pub fn new() -> Files {
        Files::default()
    }

    /// A new load begins: texts are dropped, and numbers that this load does not ask for may be given to
    /// others if they run out.
    pub fn begin(&mut self) {
        self.epoch += 1;
        self.forget_texts();
    }

    /// Frees the texts; snippets are not found any more.
    pub fn forget_texts(&mut self) {
        for source in &mut self.sources {
            source.text = Text::Forgotten;
        }
    }

    /// The number of a file, which lies in that absolute folder. [`FileId::NONE`] if this load has used all
    /// 65,535 numbers.
    pub fn file(&mut self, path: &Path, folder: &Path, text: Option<Arc<str>>) -> FileId {
        self.intern(path, folder, text.map_or(Text::Forgotten, Text::Held))
    }

    /// The same of a file whose text need not be read, unless it is asked for.
    pub fn on_disk(&mut self, path: &Path, folder: &Path) -> FileId {
        self.intern(path, folder, Text::OnDisk)
    }

    /// The number of a text that is no file, such as `overlay` or `built-in`. Relative paths in it start
    /// from the folder.
    pub fn named(&mut self, name: &str, folder: &Path, text: Option<Arc<str>>) -> FileId {
        self.intern(Path::new(name), folder, text.map_or(Text::Forgotten, Text::Held))
    }

    fn intern(&mut self, name: &Path, folder: &Path, text: Text) -> FileId {
        let source = Source { name: name.to_owned(), folder: folder.to_owned(), text, epoch: self.epoch };
        let known = self.by_name.get(name).copied();
        let Some(id) = known.or_else(|| self.free_id()) else { return FileId::NONE };
        let index = usize::from(id.0) - 1;
        match self.sources.get_mut(index) {
            Some(old) => {
                if old.name != source.name {
                    self.by_name.remove(&old.name);
                }
                *old = source;
            }
            None => self.sources.push(source),
        }
        self.by_name.insert(name.to_owned(), id);
        id
    }

    /// The next number, or when there is none, one that was not asked for in this load.
    fn free_id(&self) -> Option<FileId> {
        let unused = || self.sources.iter().position(|s| s.epoch < self.epoch).map(|i| i + 1);
        let next = Some(self.sources.len() + 1).filter(|n| *n <= usize::from(u16::MAX));
        next.or_else(unused).and_then(|n| u16::try_from(n).ok()).map(FileId)
    }

    fn source(&self, id: FileId) -> Option<&Source> {
        self.sources.get(usize::from(id.0).checked_sub(1)?)
    }

    /// The path or name.
    #[must_use]
    pub fn name(&self, id: FileId) -> Option<&Path> {
        self.source(id).map(|s| s.name.as_path())
    }

    /// Where relative paths in it start.
    #[must_use]
    pub fn folder(&self, id: FileId) -> Option<&Path> {
        self.source(id).map(|s| s.folder.as_path())
    }

    /// Its text, if it is not forgotten; read now if it was not read.
    #[must_use]
    pub fn text(&self, id: FileId) -> Option<Arc<str>> {
        let source = self.source(id)?;
        match &source.text {
            Text::Held(text) => Some(Arc::clone(text)),
            Text::OnDisk => read(&source.folder.join(source.name.file_name()?)),
            Text::Forgotten => None,
        }
    }

    /// True if its text was read in this load.
    #[cfg(test)]
    pub(crate) fn is_held(&self, id: FileId) -> bool {
        self.source(id).is_some_and(|source| matches!(source.text, Text::Held(_)))
    }
}

/// A file that was of a good length when it was last read.
fn read(path: &Path) -> Option<Arc<str>> {
    // Opening a pipe would wait for ever.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let most = u64::try_from(Limits::default().bytes).unwrap_or(u64::MAX);
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(most).read_to_string(&mut text).ok()?;
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_path_keeps_its_number() {
        let mut files = Files::new();
        let a = files.file(Path::new("a.yaml"), Path::new("/etc"), Some("x: 1".into()));
        let b = files.named("overlay", Path::new("/data"), None);
        assert_ne!(a, b);
        assert_eq!(files.text(a).unwrap().as_ref(), "x: 1");
        files.begin();
        assert_eq!(files.file(Path::new("a.yaml"), Path::new("/etc"), None), a);
        assert!(files.text(a).is_none());
        assert_eq!(files.folder(a).unwrap(), Path::new("/etc"));
        assert_eq!(files.folder(b).unwrap(), Path::new("/data"));
        assert_eq!(files.name(FileId::NONE), None);
    }

    #[test]
    fn numbers_are_given_again_when_they_run_out() {
        let mut files = Files::new();
        let kept = files.named("kept", Path::new("/"), None);
        for i in 1..usize::from(u16::MAX) {
            assert_ne!(files.named(&i.to_string(), Path::new("/"), None), FileId::NONE);
        }
        assert_eq!(files.named("one too many", Path::new("/"), None), FileId::NONE);
        files.begin();
        assert_eq!(files.named("kept", Path::new("/"), None), kept);
        let reused = files.named("new", Path::new("/"), None);
        assert_eq!(files.name(reused), Some(Path::new("new")));
        assert_eq!(files.name(kept), Some(Path::new("kept")));
    }
}
