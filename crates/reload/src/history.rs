//! Revisions on disk: one file each, whole or as a difference from the one before, written before they run.
//!
//! `kill -9` at any moment leaves complete revisions only: every file is written under another name, synced, and
//! renamed. What is broken is skipped and said, never guessed. Secrets are not in revision files but, with the
//! contents of pinned files, in `pinned/`, which only the owner can read.

mod archive;
mod format;
mod memory;
mod pinned;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use evergate_conf::Node;

use crate::{
    inputs::{Content, Inputs},
    plan::Redactor,
    revision::{Record, Revision, RevisionId},
};
pub(crate) use archive::Archive;
pub use archive::ReadError;
pub(crate) use memory::Memory;

use archive::Disk;
use format::{Body, Header};
use pinned::Pinned;

/// A whole document is written anew after this many differences: all of them are read to start from the last.
const STEPS_MAX: u32 = 500;

/// It is also written when the differences take more room on disk than it does, but not for less than this: writing it
/// costs what is configured, and is paid by the changes since.
const ROOM_MIN: u64 = 50 * BLOCK;

/// What a file takes at least.
const BLOCK: u64 = 4096;

/// Where revisions are kept. One writer.
pub(crate) enum History {
    Disk(Box<Writer>),
    Memory(Memory),
}

/// What was found in a data directory.
#[derive(Default)]
pub(crate) struct Found {
    /// The newest revision that is complete.
    pub(crate) newest: Option<Arc<Revision>>,
    /// The highest number ever given.
    pub(crate) last_seq: u64,
    /// Files that were skipped, and why.
    pub(crate) skipped: Vec<(PathBuf, String)>,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("in use by another process")]
    Locked,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The history of one data directory.
pub(crate) struct Writer {
    disk: Disk,
    files: BTreeMap<u64, Known>,
    /// What the next difference starts from.
    tip: Option<Tip>,
    /// `None`: another process may write.
    lock: Option<Lock>,
}

/// What is remembered of a file.
struct Known {
    path: PathBuf,
    whole: bool,
    /// Files in `pinned/` that it is the first of its row to need.
    pinned: Vec<String>,
}

struct Tip {
    id: RevisionId,
    body: Node,
    steps: u32,
    whole_bytes: u64,
    step_bytes: u64,
}

impl History {
    pub(crate) fn archive(&self) -> Archive {
        match self {
            History::Disk(writer) => Archive::Disk(writer.disk.clone()),
            History::Memory(memory) => Archive::Memory(memory.clone()),
        }
    }

    /// Writes a revision down; when this returns, it survives a loss of power. Only the last `keep` stay.
    pub(crate) fn record(
        &mut self,
        revision: &Arc<Revision>,
        inputs: &Inputs,
        summary: String,
        keep: usize,
    ) -> io::Result<()> {
        match self {
            History::Disk(writer) => {
                writer.record(revision, inputs, summary)?;
                writer.prune(keep.max(1));
                Ok(())
            }
            History::Memory(memory) => {
                memory.record(revision, inputs, summary, keep.max(1));
                Ok(())
            }
        }
    }

    /// Leaves the data directory to other processes. Nothing is recorded after it.
    pub(crate) fn release(&mut self) {
        if let History::Disk(writer) = self {
            writer.lock = None;
        }
    }

    /// Opens or makes a data directory, for this process alone.
    pub(crate) fn open(data_dir: &Path, redactor: &Redactor) -> Result<(History, Found), OpenError> {
        let (writer, found) = Writer::open(data_dir, redactor)?;
        Ok((History::Disk(Box::new(writer)), found))
    }
}

impl Writer {
    fn open(data_dir: &Path, redactor: &Redactor) -> Result<(Writer, Found), OpenError> {
        let revisions = data_dir.join("history");
        fs::create_dir_all(data_dir)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&revisions)?;
        let lock = lock(data_dir)?;
        let disk = Disk {
            revisions,
            pinned: Pinned::open(data_dir.join("pinned"))?,
            redactor: Arc::clone(redactor),
        };
        let mut found = Found::default();
        let files = scan(&disk, &mut found)?;
        let tip = files.keys().rev().find_map(|seq| match disk.read(*seq) {
            Ok(read) => Some(read),
            Err(error) => {
                found.skipped.extend(files.get(seq).map(|known| (known.path.clone(), error.to_string())));
                None
            }
        });
        found.newest = tip.as_ref().map(|read| Arc::clone(&read.revision));
        let tip = tip.map(|read| Tip {
            id: read.revision.id,
            body: read.body,
            steps: read.steps,
            whole_bytes: read.whole_bytes,
            step_bytes: read.step_bytes,
        });
        Ok((Writer { disk, files, tip, lock: Some(lock) }, found))
    }

    fn record(&mut self, revision: &Arc<Revision>, inputs: &Inputs, summary: String) -> io::Result<()> {
        if self.lock.is_none() {
            return Err(io::Error::other("the data directory is another process's"));
        }
        let body = format::body_of(revision);
        let tip = self.tip.take_if(|t| t.steps < STEPS_MAX && t.step_bytes < t.whole_bytes.max(ROOM_MIN));
        let mut apart = Vec::new();
        let mut seal = |secret: &Node| {
            let (name, text) = self.disk.pinned.seal(secret);
            apart.push((name.clone(), text));
            name
        };
        let content = match &tip {
            Some(tip) => Body::since(&tip.body, &body, &self.disk.redactor, &mut seal),
            None => Body::whole(&body, &self.disk.redactor, &mut seal),
        };
        let mut pinned: Vec<String> = apart.iter().map(|(name, _)| name.clone()).collect();
        self.contents(revision, inputs, tip.as_ref(), &mut apart, &mut pinned)?;
        self.disk.pinned.keep(&apart)?;
        pinned.sort();
        pinned.dedup();
        let header = Header::new(revision, summary, &body, pinned.clone(), tip.as_ref().map(|t| t.id));
        let path = self.disk.revisions.join(format!("{:08}-{}.rev", revision.id.seq, hash_of(revision.id)));
        let bytes = write_whole(&path, 0o600, |file| format::write(file, &header, &content))?;
        let whole = tip.is_none();
        let (steps, whole_bytes, step_bytes) =
            tip.map_or((0, bytes, 0), |t| (t.steps + 1, t.whole_bytes, t.step_bytes + bytes.max(BLOCK)));
        self.files.insert(revision.id.seq, Known { path, whole, pinned });
        self.tip = Some(Tip { id: revision.id, body, steps, whole_bytes, step_bytes });
        Ok(())
    }

    /// The contents that the revision refers to and its row of files did not need before.
    fn contents(
        &self,
        revision: &Revision,
        inputs: &Inputs,
        tip: Option<&Tip>,
        apart: &mut Vec<(String, Arc<[u8]>)>,
        pinned: &mut Vec<String>,
    ) -> io::Result<()> {
        let before = tip.and_then(|t| t.body.get("pins"));
        for pin in revision.pins.iter() {
            let Some(digest) = pin.digest else { continue };
            let known = before.and_then(|b| b.get(&pin.path.to_string_lossy())).and_then(Node::as_str);
            let name = digest.hex();
            if known == Some(name.as_str()) {
                continue;
            }
            match inputs.get(&pin.path) {
                Some(Content::Bytes(bytes, same)) if *same == digest => {
                    apart.push((name.clone(), Arc::clone(bytes)));
                }
                _ if self.disk.pinned.has(&name) => {}
                _ => {
                    return Err(io::Error::other(format!(
                        "the content of {} is not known",
                        pin.path.display()
                    )));
                }
            }
            pinned.push(name);
        }
        Ok(())
    }

    /// Deletes what is older than the last `keep` revisions, but keeps what those start from.
    fn prune(&mut self, keep: usize) {
        let Some(oldest) = self.files.keys().rev().nth(keep - 1).copied() else { return };
        let Some(start) = self.files.range(..=oldest).rev().find(|(_, f)| f.whole).map(|(seq, _)| *seq)
        else {
            return;
        };
        let rest = self.files.split_off(&start);
        let gone = std::mem::replace(&mut self.files, rest);
        if gone.is_empty() {
            return;
        }
        for known in gone.values() {
            let _ = fs::remove_file(&known.path);
        }
        let needed: BTreeSet<&str> =
            self.files.values().flat_map(|f| &f.pinned).map(String::as_str).collect();
        self.disk.pinned.retain(|name| needed.contains(name));
    }
}

/// Whether the lines of a revision file, without the first, can be read. For fuzzing: a file may hold anything.
#[doc(hidden)]
#[must_use]
pub fn is_readable(lines: &str) -> bool {
    format::is_readable(lines)
}

fn hash_of(id: RevisionId) -> String {
    let text = id.to_string();
    text.split_once('-').map_or_else(String::new, |(_, hash)| hash.to_owned())
}

/// The data directory is this process's own for as long as this lives.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough while a child that is just being started has a copy.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

fn lock(data_dir: &Path) -> Result<Lock, OpenError> {
    let path = data_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Err(OpenError::Locked),
        Err(error) => Err(OpenError::Io(error.into())),
    }
}

/// What is in the directory: names, and of each file the first lines. Rests of writes that were cut off are removed.
fn scan(disk: &Disk, found: &mut Found) -> io::Result<BTreeMap<u64, Known>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&disk.revisions)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name.ends_with(".tmp") {
            let _ = fs::remove_file(&path);
            continue;
        }
        let seq =
            name.strip_suffix(".rev").and_then(|n| n.split_once('-')).and_then(|(seq, _)| seq.parse().ok());
        let Some(seq) = seq else { continue };
        found.last_seq = found.last_seq.max(seq);
        // A header that cannot be read is found out, and said, when the file is.
        let header = format::read_header(&path).ok();
        let whole = header.as_ref().is_some_and(|h| h.since.is_none());
        files.insert(seq, Known { path, whole, pinned: header.map(|h| h.pinned).unwrap_or_default() });
    }
    Ok(files)
}

/// Has a file written so that it is there completely or not at all, whatever happens.
fn write_whole<R>(path: &Path, mode: u32, content: impl FnOnce(&mut File) -> io::Result<R>) -> io::Result<R> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    let write = || {
        let mut file = File::options().create(true).truncate(true).write(true).mode(mode).open(&tmp)?;
        let written = content(&mut file)?;
        file.sync_all()?;
        fs::rename(&tmp, path)?;
        path.parent().map_or(Ok(()), sync_dir)?;
        Ok(written)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&tmp);
    })
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

impl Record {
    /// What is said of a revision in a list.
    #[must_use]
    pub fn of(revision: &Revision, summary: String) -> Record {
        let since = revision.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Record {
            id: revision.id,
            digest: revision.digest.hex(),
            parent: revision.parent,
            origin: revision.origin,
            author: revision.author.clone(),
            time_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            restores: revision.restores,
            summary,
        }
    }
}

#[cfg(test)]
mod tests;
