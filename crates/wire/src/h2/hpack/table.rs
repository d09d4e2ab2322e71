//! The dynamic table of HPACK (RFC 7541 §2.3.2 and §4).

use std::collections::VecDeque;

use super::ENTRY_OVERHEAD;

/// Fields that were indexed, newest first.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
}

/// One field.
#[derive(Debug)]
pub(super) struct Entry {
    text: Box<[u8]>,
    name: usize,
    /// Both parts are what a header may have.
    pub(super) clean: bool,
}

impl Entry {
    pub(super) fn new(name: &[u8], value: &[u8], clean: bool) -> Entry {
        Entry { text: [name, value].concat().into(), name: name.len(), clean }
    }

    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        self.text.split_at_checked(self.name).unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.text.len() + ENTRY_OVERHEAD
    }
}

impl Table {
    pub(super) fn new(max: usize) -> Table {
        Table { entries: VecDeque::new(), size: 0, max }
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// By its place, the newest being 0.
    pub(super) fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
        self.shrink(max);
    }

    /// Adds a field; what no longer fits goes, and a field that is larger than the table empties it (§4.4).
    /// True if it is in the table now.
    pub(super) fn insert(&mut self, entry: Entry) -> bool {
        let size = entry.size();
        self.shrink(self.max.saturating_sub(size));
        if size > self.max {
            return false;
        }
        self.size += size;
        self.entries.push_front(entry);
        true
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
        }
    }
}
