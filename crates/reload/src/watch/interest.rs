//! Which names in which folders decide what a path leads to: the file, every link on the way, what is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use evergate_conf::{Input, InputKind};
use rustix::time::{ClockId, clock_gettime};

use crate::inputs::Content;

/// Links that are followed on the way to one file, as Linux has it.
const LINKS_MAX: usize = 40;

/// Real paths, without links in them.
#[derive(Clone, Default)]
pub(super) struct Interest {
    /// A change of one of these counts.
    names: BTreeSet<PathBuf>,
    /// A change of anything in one of these counts.
    whole: BTreeSet<PathBuf>,
    /// Folders in which all that happens.
    folders: BTreeSet<PathBuf>,
    /// Where folders lead that were looked at already; `None` if nowhere.
    real: BTreeMap<PathBuf, Option<PathBuf>>,
}

/// What tells one state of a file from another.
pub(super) type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

/// A time as file systems write it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    seconds: i64,
    nanos: i64,
}

impl Moment {
    /// Now, by the clock that times of files are taken from.
    pub(crate) fn now() -> Moment {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        Moment { seconds: now.tv_sec, nanos: now.tv_nsec }
    }
}

impl Interest {
    pub(super) fn of(inputs: &[Input]) -> Interest {
        let mut interest = Interest::default();
        for input in inputs {
            interest.file(&input.path, LINKS_MAX);
            if input.kind == InputKind::Folder
                && let Some(real) = interest.folder(&input.path, LINKS_MAX)
            {
                interest.folders.insert(real.clone());
                interest.whole.insert(real);
            }
        }
        interest.real.clear();
        interest
    }

    pub(super) fn folders(&self) -> &BTreeSet<PathBuf> {
        &self.folders
    }

    pub(super) fn concerns(&self, path: &Path) -> bool {
        let inside = |folder: &Path| self.whole.contains(folder) && !super::is_hidden(path);
        self.names.contains(path) || path.parent().is_some_and(inside)
    }

    /// True if something counts here that did not there.
    pub(super) fn goes_beyond(&self, other: &Interest) -> bool {
        !self.names.is_subset(&other.names) || !self.whole.is_subset(&other.whole)
    }

    /// Notes a file and all that leads to it.
    fn file(&mut self, path: &Path, links: usize) {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Some(folder) = self.folder(above, links) else { return };
        // The folder itself may be moved away and another put in its place.
        if let Some(above) = folder.parent() {
            self.folders.insert(above.to_owned());
            self.names.insert(folder.clone());
        }
        let full = folder.join(name);
        if let Ok(to) = fs::read_link(&full)
            && links > 0
        {
            self.file(&folder.join(to), links - 1);
        }
        self.folders.insert(folder);
        self.names.insert(full);
    }

    /// The real path of a folder; every link on the way is noted, and what is missing.
    fn folder(&mut self, path: &Path, links: usize) -> Option<PathBuf> {
        if let Some(known) = self.real.get(path) {
            return known.clone();
        }
        let real = match path.components().next_back() {
            None | Some(Component::CurDir | Component::Prefix(_)) => self.folder(path.parent()?, links),
            Some(Component::RootDir) => Some(PathBuf::from("/")),
            Some(Component::ParentDir) => {
                let below = self.folder(path.parent()?, links)?;
                Some(below.parent().map(Path::to_owned).unwrap_or(below))
            }
            Some(Component::Normal(name)) => {
                let above = self.folder(path.parent()?, links)?;
                self.step(&above, &above.join(name), links)
            }
        };
        self.real.insert(path.to_owned(), real.clone());
        real
    }

    fn step(&mut self, above: &Path, full: &Path, links: usize) -> Option<PathBuf> {
        let found = fs::symlink_metadata(full);
        if found.as_ref().is_ok_and(fs::Metadata::is_dir) {
            return Some(full.to_owned());
        }
        self.folders.insert(above.to_owned());
        self.names.insert(full.to_owned());
        let to = fs::read_link(full).ok()?;
        self.folder(&above.join(to), links.checked_sub(1)?)
    }

    /// How everything that counts looks now.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        let names = self.names.iter().map(|path| stamp(path, self.whole.contains(path)));
        names.chain(self.whole.iter().map(|path| stamp(path, true))).collect()
    }

    /// True if something changed since it was read.
    pub(super) fn changed_since(&self, inputs: &[Input], read_at: Moment) -> bool {
        let touched = |path: &Path| {
            fs::symlink_metadata(path)
                .is_ok_and(|m| Moment { seconds: m.ctime(), nanos: m.ctime_nsec() } >= read_at)
        };
        // What happens beside a file in its folder is no change of it.
        let mut files = self.names.iter().filter(|path| !self.folders.contains(*path));
        let gone = |input: &Input| input.digest.is_some() && !input.path.exists();
        if !files.any(|path| touched(path)) && !self.whole.iter().any(|path| touched(path)) {
            return inputs.iter().any(gone);
        }
        // Times are coarse, so what was touched in the same moment may have been read as it is.
        inputs.iter().any(|input| match input.kind {
            InputKind::Folder => gone(input) || touched(&input.path),
            InputKind::Document | InputKind::Reference => {
                Content::of_file(&input.path, None).digest() != input.digest
            }
        })
    }
}

/// Of a folder that does not count as a whole only which one it is: others may write in it.
fn stamp(path: &Path, whole: bool) -> Stamp {
    let m = fs::symlink_metadata(path).ok()?;
    if m.is_dir() && !whole {
        return Some((m.dev(), m.ino(), 0, 0, 0, 0, 0));
    }
    Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
}
