//! Sorted collections of which two that differ little share nearly all.
//!
//! Entries lie in chunks. Where a chunk begins is said by the keys alone, so that equal contents are cut equally however
//! they came about: a change copies the chunks that it touches, and two collections are compared by looking only at chunks
//! that are not the very same. Knows nothing of what it holds but its keys.

use std::{cmp::Ordering, sync::Arc};

/// One key in so many begins a chunk; a power of two. A change copies about this many entries, and the list of chunks.
const CHUNK: u64 = 128;

/// Something with a key that it is sorted by.
pub trait Keyed {
    /// The key.
    type Key: Ord + ?Sized;

    /// Must not change.
    fn key(&self) -> &Self::Key;

    /// [`hash`] of the key.
    fn hash(&self) -> u64;
}

/// What is remembered of a chunk.
pub trait Memo<E> {
    /// Of a new chunk.
    fn of(entries: &[E]) -> Self;
}

impl<E> Memo<E> for () {
    fn of(_: &[E]) {}
}

/// Entries sorted by key, each key once. A copy costs nothing.
pub struct Sorted<E, M = ()> {
    chunks: Arc<[Arc<Chunk<E, M>>]>,
    len: usize,
}

/// Entries that lie together.
pub(crate) struct Chunk<E, M> {
    pub(crate) entries: Box<[E]>,
    pub(crate) memo: M,
}

/// What becomes of one key.
#[derive(Debug)]
pub enum Edit<'a, E: Keyed> {
    /// It has this entry, whether or not it had one.
    Put(E),
    /// It is gone.
    Take(&'a E::Key),
}

impl<E: Keyed> Edit<'_, E> {
    fn key(&self) -> &E::Key {
        match self {
            Edit::Put(entry) => entry.key(),
            Edit::Take(key) => key,
        }
    }
}

impl<E: Keyed, M: Memo<E>> Sorted<E, M> {
    /// Entries that are in order already, each key once.
    #[must_use]
    pub fn from_sorted(entries: Vec<E>) -> Sorted<E, M> {
        debug_assert!(entries.is_sorted_by(|a, b| a.key() < b.key()));
        let mut builder = Builder::new();
        entries.into_iter().for_each(|entry| builder.push(entry));
        builder.done()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry with that key.
    #[must_use]
    pub fn get(&self, key: &E::Key) -> Option<&E> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.entries.binary_search_by(|e| e.key().cmp(key)).ok()?;
        chunk.entries.get(at)
    }

    /// All, in the order of their keys.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, E, M> {
        Iter { now: [].iter(), rest: self.chunks.iter(), left: self.len }
    }

    /// Those whose key is not below this one.
    pub fn from(&self, key: &E::Key) -> impl Iterator<Item = &E> {
        let first = self.chunk_of(key);
        let chunks = self.chunks.get(first..).unwrap_or_default();
        let skip = chunks.first().map_or(0, |c| c.entries.partition_point(|e| e.key() < key));
        chunks.iter().flat_map(|c| c.entries.iter()).skip(skip)
    }

    pub(crate) fn chunks(&self) -> &[Arc<Chunk<E, M>>] {
        &self.chunks
    }

    /// Number of the chunk in which a key is, or would be.
    fn chunk_of(&self, key: &E::Key) -> usize {
        let begins_by = |c: &Arc<Chunk<E, M>>| c.entries.first().is_some_and(|e| e.key() <= key);
        self.chunks.partition_point(begins_by).saturating_sub(1)
    }

    /// What of two collections may differ, side by side in the order of the keys. What lies in chunks that both share is
    /// left out; of what does not, equal entries are among the pairs.
    pub fn pairs<'a>(&'a self, other: &'a Sorted<E, M>) -> impl Iterator<Item = Pair<'a, E>> {
        self.pairs_but(other, |_, _| false)
    }

    /// As [`Sorted::pairs`], also without chunks that `same` knows to be equal.
    pub(crate) fn pairs_but<'a>(
        &'a self,
        other: &'a Sorted<E, M>,
        same: impl Fn(&Chunk<E, M>, &Chunk<E, M>) -> bool + 'a,
    ) -> impl Iterator<Item = Pair<'a, E>> {
        let (mut a, mut b) = (Cursor::new(&self.chunks), Cursor::new(&other.chunks));
        std::iter::from_fn(move || {
            while let (Some(x), Some(y)) = (a.at_start(), b.at_start())
                && (Arc::ptr_eq(x, y) || same(x, y))
            {
                a.skip();
                b.skip();
            }
            let order = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) => x.key().cmp(y.key()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let x = if order.is_le() { a.next() } else { None };
            let y = if order.is_ge() { b.next() } else { None };
            Some((x, y))
        })
    }
}

impl<E: Keyed + Clone, M: Memo<E>> Sorted<E, M> {
    /// The collection after some edits, which are in the order of their keys, one for each.
    #[must_use]
    pub fn with(&self, edits: Vec<Edit<'_, E>>) -> Sorted<E, M> {
        if edits.is_empty() {
            return self.clone();
        }
        debug_assert!(edits.is_sorted_by(|a, b| a.key() < b.key()));
        let mut builder = Builder::new();
        let mut edits = edits.into_iter().peekable();
        let mut done = 0;
        while let Some(edit) = edits.peek() {
            let at = self.chunk_of(edit.key());
            self.chunks.get(done..at).unwrap_or_default().iter().for_each(|chunk| builder.share(chunk));
            let end = self.chunks.get(at + 1).and_then(|next| next.entries.first()).map(Keyed::key);
            let here = |edit: &Edit<'_, E>| end.is_none_or(|end| edit.key() < end);
            for entry in self.chunks.get(at).iter().flat_map(|chunk| chunk.entries.iter()) {
                while let Some(edit) = edits.next_if(|e| e.key() < entry.key()) {
                    builder.edit(edit);
                }
                match edits.next_if(|e| e.key() == entry.key()) {
                    Some(edit) => builder.edit(edit),
                    None => builder.append(entry.clone()),
                }
            }
            while let Some(edit) = edits.next_if(here) {
                builder.edit(edit);
            }
            done = at + 1;
        }
        self.chunks.get(done..).unwrap_or_default().iter().for_each(|chunk| builder.share(chunk));
        builder.done()
    }
}

/// An entry of one and of the other collection with the same key; at least one of them is there.
pub type Pair<'a, E> = (Option<&'a E>, Option<&'a E>);

/// Cuts entries into chunks.
struct Builder<E, M> {
    chunks: Vec<Arc<Chunk<E, M>>>,
    open: Vec<E>,
    len: usize,
}

impl<E: Keyed, M: Memo<E>> Builder<E, M> {
    fn new() -> Builder<E, M> {
        Builder { chunks: Vec::new(), open: Vec::new(), len: 0 }
    }

    fn push(&mut self, entry: E) {
        if begins(&entry) {
            self.close();
        }
        self.open.push(entry);
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        self.len += self.open.len();
        let entries: Box<[E]> = self.open.drain(..).collect();
        let memo = M::of(&entries);
        self.chunks.push(Arc::new(Chunk { entries, memo }));
    }

    fn done(mut self) -> Sorted<E, M> {
        self.close();
        Sorted { chunks: self.chunks.into(), len: self.len }
    }
}

impl<E: Keyed + Clone, M: Memo<E>> Builder<E, M> {
    fn edit(&mut self, edit: Edit<'_, E>) {
        if let Edit::Put(entry) = edit {
            self.append(entry);
        }
    }

    /// As [`Builder::push`], also after a shared chunk: that one is opened again if the entry belongs into it, as when the
    /// entry that began the next one is gone.
    fn append(&mut self, entry: E) {
        if self.open.is_empty()
            && !begins(&entry)
            && let Some(last) = self.chunks.pop()
        {
            self.len -= last.entries.len();
            self.open.extend_from_slice(&last.entries);
        }
        self.push(entry);
    }

    /// A chunk of another collection, as it is unless it does not begin here.
    fn share(&mut self, chunk: &Arc<Chunk<E, M>>) {
        let is_first = self.open.is_empty() && self.chunks.is_empty();
        if is_first || chunk.entries.first().is_some_and(begins) {
            self.close();
            self.len += chunk.entries.len();
            self.chunks.push(Arc::clone(chunk));
        } else {
            chunk.entries.iter().for_each(|entry| self.append(entry.clone()));
        }
    }
}

/// True if a chunk begins with that entry, whatever is before it.
fn begins<E: Keyed>(entry: &E) -> bool {
    entry.hash() & (CHUNK - 1) == 0
}

/// FNV-1a with a final mix. The same on every machine and for ever: digests are made of chunks.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

struct Cursor<'a, E, M> {
    chunks: &'a [Arc<Chunk<E, M>>],
    at: usize,
}

impl<'a, E, M> Cursor<'a, E, M> {
    fn new(chunks: &'a [Arc<Chunk<E, M>>]) -> Cursor<'a, E, M> {
        Cursor { chunks, at: 0 }
    }

    /// The chunk that is next, if none of it was taken so far.
    fn at_start(&self) -> Option<&'a Arc<Chunk<E, M>>> {
        self.chunks.first().filter(|_| self.at == 0)
    }

    fn skip(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.at = 0;
    }

    fn peek(&self) -> Option<&'a E> {
        self.chunks.first()?.entries.get(self.at)
    }

    fn next(&mut self) -> Option<&'a E> {
        let chunk = self.chunks.first()?;
        let entry = chunk.entries.get(self.at);
        self.at += 1;
        if self.at >= chunk.entries.len() {
            self.skip();
        }
        entry
    }
}

/// See [`Sorted::iter`].
pub struct Iter<'a, E, M = ()> {
    now: std::slice::Iter<'a, E>,
    rest: std::slice::Iter<'a, Arc<Chunk<E, M>>>,
    left: usize,
}

impl<'a, E, M> Iter<'a, E, M> {
    /// Over entries that lie in one piece.
    pub(crate) fn of(entries: &'a [E]) -> Iter<'a, E, M> {
        Iter { now: entries.iter(), rest: [].iter(), left: entries.len() }
    }
}

impl<'a, E, M> Iterator for Iter<'a, E, M> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some(entry) = self.now.next() {
                self.left -= 1;
                return Some(entry);
            }
            self.now = self.rest.next()?.entries.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<E, M> ExactSizeIterator for Iter<'_, E, M> {}

impl<E, M> Clone for Iter<'_, E, M> {
    fn clone(&self) -> Self {
        Iter { now: self.now.clone(), rest: self.rest.clone(), left: self.left }
    }
}

impl<E, M> Clone for Sorted<E, M> {
    fn clone(&self) -> Self {
        Sorted { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<E, M> Default for Sorted<E, M> {
    fn default() -> Self {
        Sorted { chunks: Arc::default(), len: 0 }
    }
}

#[cfg(test)]
mod tests;
