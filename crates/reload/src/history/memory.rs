//! Revisions of a program that has no data directory: gone when it ends.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evergate_conf::Digest;

use super::ReadError;
use crate::{
    inputs::{Content, Inputs},
    revision::{Record, Revision},
};

/// The last revisions, newest last. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    kept: Arc<Mutex<VecDeque<Kept>>>,
}

struct Kept {
    revision: Arc<Revision>,
    record: Record,
    inputs: Inputs,
}

impl Memory {
    pub(super) fn record(&self, revision: &Arc<Revision>, inputs: &Inputs, summary: String, keep: usize) {
        let record = Record::of(revision, summary);
        let mut kept = self.kept();
        kept.push_back(Kept { revision: Arc::clone(revision), record, inputs: inputs.clone() });
        while kept.len() > keep {
            kept.pop_front();
        }
    }

    pub(super) fn list(&self, most: usize) -> Vec<Record> {
        self.kept().iter().rev().take(most).map(|k| k.record.clone()).collect()
    }

    pub(super) fn seqs(&self) -> Vec<u64> {
        self.kept().iter().rev().map(|k| k.revision.id.seq).collect()
    }

    pub(super) fn read(&self, seq: u64) -> Result<Arc<Revision>, ReadError> {
        let kept = self.kept();
        let found = kept.iter().find(|k| k.revision.id.seq == seq).map(|k| Arc::clone(&k.revision));
        found.ok_or_else(|| ReadError::NotKept(format!("number {seq}")))
    }

    pub(super) fn content(&self, digest: Digest) -> Option<Arc<[u8]>> {
        let kept = self.kept();
        kept.iter().flat_map(|k| k.inputs.iter()).find_map(|(_, content)| match content {
            Content::Bytes(bytes, same) if *same == digest => Some(Arc::clone(bytes)),
            _ => None,
        })
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
