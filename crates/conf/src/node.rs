//! The configuration as a tree with places: what a value is and where it was written.
//!
//! Knows nothing of gateways. Trees are immutable and share structure: an edit copies the path to it
//! and nothing else, so that equal parts of two revisions are the very same allocation.

use std::sync::{Arc, OnceLock};

use serde::{Serialize, Serializer};

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
#[derive(Debug, Default)]
pub struct Map {
    entries: Vec<Entry>,
    digest: OnceLock<Digest>,
    has_nulls: bool,
}

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

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.hex().get(..12).unwrap_or_default())
    }
}

impl Map {
    /// Sorts the entries; of equal keys the last one wins (formats that forbid them say so earlier).
    #[must_use]
    pub fn new(mut entries: Vec<Entry>) -> Map {
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.reverse();
        entries.dedup_by(|a, b| a.key == b.key);
        entries.reverse();
        Map::from_sorted(entries)
    }

    /// Entries that are in order already, each key once.
    #[must_use]
    pub(crate) fn from_sorted(entries: Vec<Entry>) -> Map {
        debug_assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        let has_nulls = entries.iter().any(|e| match &e.node.value {
            Value::Null => true,
            Value::Map(map) => map.has_nulls,
            _ => false,
        });
        Map { entries, digest: OnceLock::new(), has_nulls }
    }

    /// True if a key here or in a map below has the value null: then it is a patch. Costs nothing to ask.
    #[must_use]
    pub fn has_nulls(&self) -> bool {
        self.has_nulls
    }

    /// The value at a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.node)
    }

    /// The entry at a key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|e| e.key.as_ref().cmp(key)).ok().and_then(|i| self.entries.get(i))
    }

    /// Entries in the order of their keys.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
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

    /// Content hash. Maps remember theirs, so equal subtrees are hashed once.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match &self.value {
            Value::Map(m) => *m.digest.get_or_init(|| hash_map(m)),
            other => {
                let mut bytes = Vec::new();
                write_value(other, &mut bytes);
                Digest::of(&bytes)
            }
        }
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
                a.entries.len() == b.entries.len()
                    && a.entries.iter().zip(&b.entries).all(|(x, y)| x.key == y.key && x.node == y.node)
            }
            (Value::List(a), Value::List(b)) => a[..] == b[..],
            _ => false,
        }
    }
}

fn hash_map(map: &Map) -> Digest {
    // One buffer and one hash: feeding a hasher piece by piece costs several times as much.
    let mut bytes = Vec::with_capacity(16 + map.entries.len() * 64);
    bytes.push(b'{');
    for e in &map.entries {
        write_text(&e.key, &mut bytes);
        write_value(&e.node.value, &mut bytes);
    }
    Digest::of(&bytes)
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
        Value::Map(m) => {
            out.push(b'{');
            out.extend_from_slice(&m.digest.get_or_init(|| hash_map(m)).0);
        }
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
            Value::Map(m) => serializer.collect_map(m.entries.iter().map(|e| (e.key.as_ref(), &e.node))),
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
    let mut new: Option<Vec<Entry>> = None;
    for (i, entry) in map.entries().iter().enumerate() {
        if let Some(changed) = change(entry)
            && let Some(slot) = new.get_or_insert_with(|| map.entries().to_vec()).get_mut(i)
        {
            slot.node = changed;
        }
    }
    new.map(|entries| Arc::new(Map::from_sorted(entries)))
}
