//! The configuration as a tree with places: what a value is and where it was written.
//!
//! Knows nothing of gateways. Trees are immutable and share structure: an edit copies the path to it
//! and nothing else, so that equal parts of two revisions are the very same allocation.

use std::{
    cmp::Ordering,
    fmt,
    sync::{Arc, OnceLock},
};

use serde::{Serialize, Serializer};

use crate::sorted::{self, Chunk, Edit, Keyed, Memo, Sorted};

/// Which file a value came from: an index into [`crate::files::Files`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u16);

impl FileId {
    /// Written by no file: a default, or made by the program.
    pub const NONE: FileId = FileId(0);
}

/// Where a value was written. Lines and columns count from 1; 0 is "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u16,
    /// The file.
    pub file: FileId,
}

/// A value and its place. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where it was written.
    pub place: Place,
}

/// What can be written in every format.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing; in a merge patch it removes the key.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(Arc<str>),
    /// Values in order.
    List(Arc<[Node]>),
    /// Values by key.
    Map(Arc<Map>),
}

/// Entries sorted by key, each key once.
pub struct Map(Entries);

/// A map of more entries shares them with the maps it was made from, and remembers its digest. Fewer in tests, so that
/// what they say of small maps is said of large ones too.
const FEW: usize = if cfg!(test) { 2 } else { 64 };

enum Entries {
    Few { entries: Box<[Entry]>, has_nulls: bool },
    Many(Box<Many>),
}

struct Many {
    entries: Sorted<Entry, Noted>,
    digest: OnceLock<Digest>,
}

/// What is remembered of a chunk of a large map.
pub struct Noted {
    digest: OnceLock<Digest>,
    has_nulls: bool,
}

/// What of two maps may differ: see [`Map::pairs`].
pub type Pair<'a> = sorted::Pair<'a, Entry>;

/// The entries of a map in the order of their keys.
pub type Iter<'a> = sorted::Iter<'a, Entry, Noted>;

/// A key, where it was written, and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key was written.
    pub place: Place,
    /// The value.
    pub node: Node,
}

/// Content hash of a tree; places do not count, only values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hash of bytes, for files that a revision pins.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// Lower-case hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hex().get(..12).unwrap_or_default())
    }
}

impl Keyed for Entry {
    type Key = str;

    fn key(&self) -> &str {
        &self.key
    }

    fn hash(&self) -> u64 {
        sorted::hash(self.key.as_bytes())
    }
}

impl Memo<Entry> for Noted {
    fn of(entries: &[Entry]) -> Noted {
        Noted { digest: OnceLock::new(), has_nulls: have_nulls(entries) }
    }
}

fn have_nulls(entries: &[Entry]) -> bool {
    entries.iter().any(|e| match &e.node.value {
        Value::Null => true,
        Value::Map(map) => map.has_nulls(),
        _ => false,
    })
}

impl Map {
    /// Sorts the entries; of equal keys the last one wins (formats that forbid them say so earlier).
    #[must_use]
    pub fn new(mut entries: Vec<Entry>) -> Map {
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            entries.reverse();
            entries.dedup_by(|a, b| a.key == b.key);
            entries.reverse();
        }
        Map::from_sorted(entries)
    }

    /// Entries that are in order already, each key once.
    #[must_use]
    pub(crate) fn from_sorted(entries: Vec<Entry>) -> Map {
        if entries.len() > FEW {
            return Map::many(Sorted::from_sorted(entries));
        }
        debug_assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        let has_nulls = have_nulls(&entries);
        Map(Entries::Few { entries: entries.into(), has_nulls })
    }

    fn many(entries: Sorted<Entry, Noted>) -> Map {
        Map(Entries::Many(Box::new(Many { entries, digest: OnceLock::new() })))
    }

    /// The map after some edits, which are in the order of their keys, one for each. What is not touched is shared.
    #[must_use]
    pub fn with(&self, edits: Vec<Edit<'_, Entry>>) -> Map {
        let new = match &self.0 {
            Entries::Many(many) => many.entries.with(edits),
            Entries::Few { entries, .. } => Sorted::from_sorted(entries.to_vec()).with(edits),
        };
        if new.len() > FEW { Map::many(new) } else { Map::from_sorted(new.iter().cloned().collect()) }
    }

    /// True if a key here or in a map below has the value null: then it is a patch. Costs next to nothing to ask.
    #[must_use]
    pub fn has_nulls(&self) -> bool {
        match &self.0 {
            Entries::Few { has_nulls, .. } => *has_nulls,
            Entries::Many(many) => many.entries.chunks().iter().any(|chunk| chunk.memo.has_nulls),
        }
    }

    /// The value at a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.node)
    }

    /// The entry at a key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.0 {
            Entries::Many(many) => many.entries.get(key),
            Entries::Few { entries, .. } => {
                entries.binary_search_by(|e| e.key.as_ref().cmp(key)).ok().and_then(|i| entries.get(i))
            }
        }
    }

    /// Entries in the order of their keys.
    #[must_use]
    pub fn entries(&self) -> Iter<'_> {
        match &self.0 {
            Entries::Few { entries, .. } => Iter::of(entries),
            Entries::Many(many) => many.entries.iter(),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What of two maps may differ, side by side in the order of the keys. Where large maps share structure, or were
    /// hashed and are equal, nothing is looked at.
    pub fn pairs<'a>(&'a self, other: &'a Map) -> impl Iterator<Item = Pair<'a>> {
        let (mut many, mut few) = (None, None);
        match (&self.0, &other.0) {
            (Entries::Many(a), Entries::Many(b)) => {
                many = Some(a.entries.pairs_but(&b.entries, |x, y| chunk_digest(x) == chunk_digest(y)));
            }
            _ => few = Some(both(self.entries(), other.entries())),
        }
        many.into_iter().flatten().chain(few.into_iter().flatten())
    }
}

impl Map {
    /// What of two maps may be another allocation, side by side in the order of the keys; of what they share, nothing is
    /// looked at.
    pub(crate) fn unshared<'a>(&'a self, other: &'a Map) -> impl Iterator<Item = Pair<'a>> {
        let (mut many, mut few) = (None, None);
        match (&self.0, &other.0) {
            (Entries::Many(a), Entries::Many(b)) => many = Some(a.entries.pairs(&b.entries)),
            _ => few = Some(both(self.entries(), other.entries())),
        }
        many.into_iter().flatten().chain(few.into_iter().flatten())
    }
}

/// Two sorted rows side by side.
fn both<'a>(a: Iter<'a>, b: Iter<'a>) -> impl Iterator<Item = Pair<'a>> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || {
        let order = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) => x.key.cmp(&y.key),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let x = if order.is_le() { a.next() } else { None };
        let y = if order.is_ge() { b.next() } else { None };
        Some((x, y))
    })
}

impl Default for Map {
    fn default() -> Map {
        Map::from_sorted(Vec::new())
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries().map(|e| (&e.key, &e.node))).finish()
    }
}

impl Node {
    /// A value that no file wrote.
    #[must_use]
    pub fn made(value: Value) -> Node {
        Node { value, place: Place::default() }
    }

    /// An empty map that no file wrote.
    #[must_use]
    pub fn empty_map() -> Node {
        Node::made(Value::Map(Arc::new(Map::default())))
    }

    /// True for [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The map, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Arc<Map>> {
        match &self.value {
            Value::Map(m) => Some(m),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The value at a key of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// The value at a path of keys; list items by their index.
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Node> {
        let mut node = self;
        for key in path {
            node = match &node.value {
                Value::Map(m) => m.get(key)?,
                Value::List(l) => l.get(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// Content hash. Large maps remember theirs, and those of their parts.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        write_value(&self.value, &mut bytes);
        Digest::of(&bytes)
    }

    /// True if both are the same allocation or equal scalars: equality that costs nothing to ask.
    #[must_use]
    pub fn same(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::Map(a), Value::Map(b)) => Arc::ptr_eq(a, b),
            (Value::List(a), Value::List(b)) => Arc::ptr_eq(a, b),
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

/// Equal values; places do not count.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        if self.same(other) {
            return true;
        }
        match (&self.value, &other.value) {
            (Value::Map(a), Value::Map(b)) => {
                let same = |(x, y): (&Entry, &Entry)| x.key == y.key && x.node == y.node;
                match (&a.0, &b.0) {
                    (Entries::Few { entries: a, .. }, Entries::Few { entries: b, .. }) => {
                        a.len() == b.len() && a.iter().zip(b).all(same)
                    }
                    _ => a.len() == b.len() && a.pairs(b).all(|(x, y)| x.zip(y).is_some_and(same)),
                }
            }
            (Value::List(a), Value::List(b)) => a[..] == b[..],
            _ => false,
        }
    }
}

// One buffer and one hash for many entries: feeding a hasher piece by piece costs several times as much.

fn many_digest(many: &Many) -> Digest {
    *many.digest.get_or_init(|| {
        let chunks: Vec<u8> = many.entries.chunks().iter().flat_map(|chunk| chunk_digest(chunk).0).collect();
        Digest::of(&chunks)
    })
}

fn chunk_digest(chunk: &Chunk<Entry, Noted>) -> Digest {
    *chunk.memo.digest.get_or_init(|| {
        let mut bytes = Vec::with_capacity(chunk.entries.len() * 128);
        write_entries(chunk.entries.iter(), &mut bytes);
        Digest::of(&bytes)
    })
}

fn write_entries<'a>(entries: impl Iterator<Item = &'a Entry>, out: &mut Vec<u8>) {
    for e in entries {
        write_text(&e.key, out);
        write_value(&e.node.value, out);
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Each kind has a tag and a length, so that no two trees are the same bytes.
fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(b) => out.push(if *b { b't' } else { b'f' }),
        Value::Int(i) => {
            out.push(b'i');
            out.extend_from_slice(&i.to_le_bytes());
        }
        Value::Float(x) => {
            out.push(b'd');
            out.extend_from_slice(&x.to_bits().to_le_bytes());
        }
        Value::Str(s) => {
            out.push(b's');
            write_text(s, out);
        }
        Value::List(l) => {
            out.push(b'[');
            out.extend_from_slice(&(l.len() as u64).to_le_bytes());
            l.iter().for_each(|n| write_value(&n.value, out));
        }
        Value::Map(m) => match &m.0 {
            Entries::Few { entries, .. } => {
                out.push(b'{');
                out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
                write_entries(entries.iter(), out);
            }
            Entries::Many(many) => {
                out.push(b'#');
                out.extend_from_slice(&many_digest(many).0);
            }
        },
    }
}

/// The value alone, as any serde format writes it.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(i) => serializer.serialize_i64(*i),
            Value::Float(x) => serializer.serialize_f64(*x),
            Value::Str(s) => serializer.serialize_str(s),
            Value::List(l) => serializer.collect_seq(l.iter()),
            Value::Map(m) => serializer.collect_map(m.entries().map(|e| (e.key.as_ref(), &e.node))),
        }
    }
}

/// The list with some items replaced; `None` if none is.
pub(crate) fn rewrite_items(
    items: &[Node],
    mut change: impl FnMut(&Node) -> Option<Node>,
) -> Option<Arc<[Node]>> {
    let mut new: Option<Vec<Node>> = None;
    for (i, item) in items.iter().enumerate() {
        if let Some(changed) = change(item)
            && let Some(slot) = new.get_or_insert_with(|| items.to_vec()).get_mut(i)
        {
            *slot = changed;
        }
    }
    new.map(Into::into)
}

/// The map with some values replaced; `None` if none is.
pub(crate) fn rewrite_entries(map: &Map, mut change: impl FnMut(&Entry) -> Option<Node>) -> Option<Arc<Map>> {
    let edit = |entry: &Entry| Some(Edit::Put(Entry { node: change(entry)?, ..entry.clone() }));
    let edits: Vec<_> = map.entries().filter_map(edit).collect();
    (!edits.is_empty()).then(|| Arc::new(map.with(edits)))
}
