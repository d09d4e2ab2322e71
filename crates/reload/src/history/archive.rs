//! The reading side of a history: files that never change are read by anyone, at any time.

use std::{fs, io, path::PathBuf, sync::Arc};

use evergate_conf::{Digest, Node};

use super::{
    BLOCK,
    format::{self, FormatError},
    memory::Memory,
    pinned::Pinned,
};
use crate::{
    plan::Redactor,
    revision::{Record, Revision, RevisionId},
};

/// Reads revisions that are kept. Reading blocks on the disk.
#[derive(Clone)]
pub(crate) enum Archive {
    Disk(Disk),
    Memory(Memory),
}

/// Why a revision cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It never was, or is too old.
    #[error("revision {0} is not kept")]
    NotKept(String),
    /// Its file, or one that it builds on, is broken.
    #[error("revision {seq} is damaged: {why}")]
    Damaged {
        /// Its number.
        seq: u64,
        /// What is wrong with its file.
        why: String,
    },
    /// The disk does not give it.
    #[error("cannot read revision {seq}: {error}")]
    Io {
        /// Its number.
        seq: u64,
        /// Why.
        error: io::Error,
    },
}

/// The files of a data directory.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(super) revisions: PathBuf,
    pub(super) pinned: Pinned,
    pub(super) redactor: Redactor,
}

/// A revision, and how it is written.
pub(super) struct Read {
    pub(super) revision: Arc<Revision>,
    pub(super) body: Node,
    /// Differences since the last whole one.
    pub(super) steps: u32,
    pub(super) whole_bytes: u64,
    pub(super) step_bytes: u64,
}

impl Archive {
    /// The last `most` revisions, newest first. Damaged ones are left out.
    pub(crate) fn list(&self, most: usize) -> Vec<Record> {
        match self {
            Archive::Disk(disk) => disk.list(most),
            Archive::Memory(memory) => memory.list(most),
        }
    }

    /// A revision by its name.
    ///
    /// # Errors
    /// If it is not kept or damaged.
    pub(crate) fn read(&self, id: RevisionId) -> Result<Arc<Revision>, ReadError> {
        let found = match self {
            Archive::Disk(disk) => disk.read(id.seq)?.revision,
            Archive::Memory(memory) => memory.read(id.seq)?,
        };
        if found.id == id { Ok(found) } else { Err(ReadError::NotKept(id.to_string())) }
    }

    /// What ran before that revision. Before one that was a way back is what ran before the one it went back to, so that
    /// going back twice goes back two steps.
    ///
    /// # Errors
    /// If there is none, or it is not kept, or damaged.
    pub(crate) fn before(&self, id: RevisionId) -> Result<Arc<Revision>, ReadError> {
        let mut revision = self.read(id)?;
        while let Some(restored) = revision.restores {
            revision = self.read(restored)?;
        }
        match revision.parent {
            Some(parent) => self.read(parent),
            None => Err(ReadError::NotKept(format!("before {}", revision.id))),
        }
    }

    /// The newest complete revision with a smaller number.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn older(&self, seq: u64) -> Result<Arc<Revision>, ReadError> {
        let seqs = match self {
            Archive::Disk(disk) => disk.seqs().map_err(|error| ReadError::Io { seq, error })?,
            Archive::Memory(memory) => memory.seqs(),
        };
        let found = seqs.into_iter().filter(|s| *s < seq).find_map(|s| match self {
            Archive::Disk(disk) => disk.read(s).ok().map(|r| r.revision),
            Archive::Memory(memory) => memory.read(s).ok(),
        });
        found.ok_or_else(|| ReadError::NotKept(format!("older than number {seq}")))
    }

    /// The content of a file that a kept revision pins.
    pub(crate) fn content(&self, digest: Digest) -> Option<Arc<[u8]>> {
        match self {
            Archive::Disk(disk) => disk.pinned.content(digest),
            Archive::Memory(memory) => memory.content(digest),
        }
    }
}

impl Disk {
    /// All numbers, highest first.
    fn seqs(&self) -> io::Result<Vec<u64>> {
        let mut seqs = Vec::new();
        for entry in fs::read_dir(&self.revisions)? {
            let name = entry?.file_name();
            let seq = name.to_str().and_then(|n| n.strip_suffix(".rev")).and_then(|n| n.split_once('-'));
            seqs.extend(seq.and_then(|(seq, _)| seq.parse::<u64>().ok()));
        }
        seqs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(seqs)
    }

    fn list(&self, most: usize) -> Vec<Record> {
        let seqs = self.seqs().unwrap_or_default();
        let header = |seq| format::read_header(&self.path(seq).ok()?).ok().map(|h| h.record);
        seqs.into_iter().filter_map(header).take(most).collect()
    }

    fn path(&self, seq: u64) -> Result<PathBuf, ReadError> {
        let prefix = format!("{seq:08}-");
        let entries = fs::read_dir(&self.revisions).map_err(|error| ReadError::Io { seq, error })?;
        let named = |name: &str| name.starts_with(&prefix) && name.ends_with(".rev");
        let found = entries.flatten().find(|e| e.file_name().to_str().is_some_and(named));
        found.map(|e| e.path()).ok_or_else(|| ReadError::NotKept(format!("number {seq}")))
    }

    /// Reads a revision and all that it builds on, and compares every checksum.
    pub(super) fn read(&self, seq: u64) -> Result<Read, ReadError> {
        let damaged =
            |at: u64| move |error: FormatError| ReadError::Damaged { seq: at, why: error.to_string() };
        let mut row = Vec::new();
        let mut next = Some(seq);
        let mut expected: Option<RevisionId> = None;
        while let Some(at) = next {
            let bytes = fs::read(self.path(at)?).map_err(|error| ReadError::Io { seq: at, error })?;
            let (header, body) = format::decode(&bytes).map_err(damaged(at))?;
            let numbers_fall = header.since.is_none_or(|since| since.seq < at);
            if header.record.id.seq != at
                || expected.is_some_and(|id| id != header.record.id)
                || !numbers_fall
            {
                return Err(damaged(at)(FormatError::Mismatch));
            }
            expected = header.since;
            next = header.since.map(|id| id.seq);
            row.push((header, body, bytes.len() as u64));
        }
        let steps = row.len().saturating_sub(1);
        let (mut body, mut whole_bytes, mut step_bytes) = (None, 0, 0);
        for (i, (_, written, bytes)) in row.iter().rev().enumerate() {
            let unseal = |name: &str| self.pinned.unseal(name);
            body = Some(format::restore(written, body, &unseal).map_err(damaged(seq))?);
            if i == 0 { whole_bytes = *bytes } else { step_bytes += (*bytes).max(BLOCK) }
        }
        let (Some(body), Some((header, ..))) = (body, row.first()) else {
            return Err(ReadError::NotKept(format!("number {seq}")));
        };
        let revision = Arc::new(header.revision(&body).map_err(damaged(seq))?);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        Ok(Read { revision, body, steps, whole_bytes, step_bytes })
    }
}
