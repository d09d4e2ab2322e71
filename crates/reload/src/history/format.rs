//! One revision as a file: a line with a checksum of all that follows, a line about it, a line with what it holds.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::FileExt,
    path::Path as FsPath,
    sync::Arc,
    time::{Duration, SystemTime},
};

use evergate_conf::{
    Change, Digest, Entry, FileId, Format, Limits, Map, Node, Path, Value, diff, format::parse, node::Place,
    sorted::Edit,
};
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    plan::Redactor,
    revision::{self, Layers, Pin, Record, Revision, RevisionId},
};

const MAGIC: &str = "evergate-revision 2 ";

/// What is written at once.
const PIECE: usize = 64 << 10;

/// In a file, what stands for a value that is kept in `pinned/`.
const SEALED: &str = "$sealed";

/// The line about a revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(flatten)]
    pub(super) record: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    files: String,
    /// The body is what differs from that of this revision; absent: it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<RevisionId>,
    /// Digest of the whole body, secrets included.
    body: String,
    /// Files in `pinned/` that this one, or no earlier one of its row, needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pinned: Vec<String>,
}

/// The line with what a revision holds, as it is to be written.
pub(super) enum Body {
    Whole(Node),
    Since(Vec<Step>),
}

/// Puts a secret elsewhere and returns its name there.
pub(super) type Seal<'a> = &'a mut dyn FnMut(&Node) -> String;

/// Finds a secret by the name.
pub(super) type Unseal<'a> = &'a dyn Fn(&str) -> Option<Node>;

/// Why a file is no revision.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    #[error("it is not a revision of this version")]
    Magic,
    #[error("its checksum is wrong: it was cut off or changed")]
    Checksum,
    #[error("it cannot be read: {0}")]
    Syntax(String),
    #[error("a secret or file that it refers to is missing or changed")]
    Missing,
    #[error("it does not lead to what it says")]
    Mismatch,
}

/// Everything in a revision whose changes should cost what they change.
pub(super) fn body_of(revision: &Revision) -> Node {
    let pin = |pin: &Pin| {
        let digest = pin.digest.map_or(Value::Null, |d| Value::Str(d.hex().into()));
        (pin.path.to_string_lossy().into(), Node::made(digest))
    };
    map([
        ("base".into(), revision.layers.base.clone()),
        ("overlay".into(), revision.layers.overlay.clone()),
        ("pins".into(), map(revision.pins.iter().map(pin))),
    ])
}

fn map(entries: impl IntoIterator<Item = (Arc<str>, Node)>) -> Node {
    let entry = |(key, node)| Entry { key, place: Place::default(), node };
    Node::made(Value::Map(Arc::new(Map::new(entries.into_iter().map(entry).collect()))))
}

impl Header {
    pub(super) fn new(
        revision: &Revision,
        summary: String,
        body: &Node,
        pinned: Vec<String>,
        since: Option<RevisionId>,
    ) -> Header {
        Header {
            record: Record::of(revision, summary),
            held: revision.held.map(|d| d.hex()),
            files: revision.files.hex(),
            since,
            body: body.digest().hex(),
            pinned,
        }
    }

    /// The revision with that body.
    pub(super) fn revision(&self, body: &Node) -> Result<Revision, FormatError> {
        if body.digest().hex() != self.body {
            return Err(FormatError::Mismatch);
        }
        let part = |name| body.get(name).cloned().ok_or(FormatError::Mismatch);
        let layers = Layers { base: part("base")?, overlay: part("overlay")? };
        let pins = part("pins")?;
        let pin = |e: &Entry| Ok(Pin::new(e.key.as_ref().into(), e.node.as_str().map(from_hex).transpose()?));
        let pins: Vec<Pin> = match pins.as_map() {
            Some(map) => map.entries().map(pin).collect::<Result<_, FormatError>>()?,
            None => return Err(FormatError::Mismatch),
        };
        let document = layers.document();
        let digest = revision::digest(&document, &pins);
        if digest.hex() != self.record.digest || RevisionId::new(self.record.id.seq, digest) != self.record.id
        {
            return Err(FormatError::Mismatch);
        }
        Ok(Revision {
            id: self.record.id,
            digest,
            parent: self.record.parent,
            origin: self.record.origin,
            author: self.record.author.clone(),
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(self.record.time_ms),
            restores: self.record.restores,
            held: self.held.as_deref().map(from_hex).transpose()?,
            files: from_hex(&self.files)?,
            layers,
            document,
            pins: pins.into(),
        })
    }
}

fn from_hex(text: &str) -> Result<Digest, FormatError> {
    let hash = blake3::Hash::from_hex(text).map_err(|e| FormatError::Syntax(e.to_string()))?;
    Ok(Digest(*hash.as_bytes()))
}

impl Body {
    pub(super) fn whole(body: &Node, redactor: &Redactor, seal: Seal<'_>) -> Body {
        let part = |e: &Entry| {
            let (mut at, redactor) = in_document(std::slice::from_ref(&e.key), redactor);
            (Arc::clone(&e.key), seal_below(&mut at, &e.node, redactor, seal))
        };
        let parts: Vec<_> = body.as_map().into_iter().flat_map(|map| map.entries()).map(part).collect();
        Body::Whole(map(parts))
    }

    /// What differs, as a list of `{ at: [keys], to: value }`; without `to` the key goes.
    pub(super) fn since(old: &Node, new: &Node, redactor: &Redactor, seal: Seal<'_>) -> Body {
        let changes = diff(old, new);
        let to = |change: &Change, after: &Node, seal: Seal<'_>| {
            if inside_secret(new, &change.path, redactor) {
                return stand_in(&seal(after));
            }
            let (mut at, redactor) = in_document(change.path.segments(), redactor);
            seal_below(&mut at, after, redactor, seal)
        };
        let step = |change: &'_ Change, seal: Seal<'_>| Step {
            at: change.path.clone(),
            to: change.after.as_ref().map(|after| to(change, after, seal)),
        };
        Body::Since(changes.iter().map(|change| step(change, seal)).collect())
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Body::Whole(tree) => tree.serialize(serializer),
            Body::Since(steps) => steps.serialize(serializer),
        }
    }
}

/// One difference, as it is written.
#[derive(Serialize)]
pub(super) struct Step {
    #[serde(serialize_with = "keys")]
    at: Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Node>,
}

fn keys<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(path.segments())
}

/// The path in the document of a path in a body, and who tells secrets there; nothing else holds any.
fn in_document<'a>(path: &[Arc<str>], redactor: &'a Redactor) -> (Path, Option<&'a Redactor>) {
    match path {
        [layer, rest @ ..] if matches!(layer.as_ref(), "base" | "overlay") => {
            (rest.iter().cloned().collect(), Some(redactor))
        }
        path => (path.iter().cloned().collect(), None),
    }
}

fn inside_secret(body: &Node, path: &Path, redactor: &Redactor) -> bool {
    let (keys, Some(redactor)) = in_document(path.segments(), redactor) else { return false };
    let Some(mut node) = path.segments().first().and_then(|layer| body.get(layer)) else { return false };
    let mut at = Path::root();
    for key in keys.segments() {
        if redactor(&at, node) {
            return true;
        }
        at.push(Arc::clone(key));
        match node.get(key) {
            Some(below) => node = below,
            None => return false,
        }
    }
    false
}

fn stand_in(name: &str) -> Node {
    map([(SEALED.into(), Node::made(Value::Str(name.into())))])
}

/// The name, if this stands for a secret, or only looks so.
fn sealed_name(node: &Node) -> Option<&Node> {
    let map = node.as_map().filter(|map| map.len() == 1)?;
    map.get(SEALED)
}

/// The tree with secrets replaced; without any, it is the very same.
fn seal_below(at: &mut Path, node: &Node, redactor: Option<&Redactor>, seal: Seal<'_>) -> Node {
    let secret = redactor.is_some_and(|redactor| redactor(at, node));
    if secret || sealed_name(node).is_some() {
        return stand_in(&seal(node));
    }
    let mut below = |key: Arc<str>, node: &Node| {
        at.push(key);
        let sealed = seal_below(at, node, redactor, seal);
        at.pop();
        (!sealed.same(node)).then_some(sealed)
    };
    let value = match &node.value {
        Value::Map(map) => {
            let edit = |e: &Entry| {
                below(Arc::clone(&e.key), &e.node).map(|node| Edit::Put(Entry { node, ..e.clone() }))
            };
            let edits: Vec<_> = map.entries().filter_map(edit).collect();
            if edits.is_empty() {
                return node.clone();
            }
            Value::Map(Arc::new(map.with(edits)))
        }
        Value::List(list) => {
            let sealed: Vec<_> =
                list.iter().enumerate().map(|(i, item)| below(i.to_string().into(), item)).collect();
            if sealed.iter().all(Option::is_none) {
                return node.clone();
            }
            Value::List(
                sealed.into_iter().zip(list.iter()).map(|(s, n)| s.unwrap_or_else(|| n.clone())).collect(),
            )
        }
        _ => return node.clone(),
    };
    Node::made(value)
}

fn unseal_below(node: &Node, unseal: Unseal<'_>) -> Result<Node, FormatError> {
    if let Some(name) = sealed_name(node) {
        return name.as_str().and_then(unseal).ok_or(FormatError::Missing);
    }
    Ok(match &node.value {
        Value::Map(map) => {
            let entry = |e: &Entry| Ok(Entry { node: unseal_below(&e.node, unseal)?, ..e.clone() });
            let entries = map.entries().map(entry).collect::<Result<_, FormatError>>()?;
            Node::made(Value::Map(Arc::new(Map::new(entries))))
        }
        Value::List(list) => {
            let items = list.iter().map(|n| unseal_below(n, unseal)).collect::<Result<Arc<[_]>, _>>()?;
            Node::made(Value::List(items))
        }
        _ => node.clone(),
    })
}

/// Writes a whole file and says how long it is. Piece by piece: a large document is never there as a text.
pub(super) fn write(file: &mut File, header: &Header, body: &Body) -> io::Result<u64> {
    // The sum is of what follows it.
    let first = format!("{MAGIC}{:064}\n", 0);
    file.write_all(first.as_bytes())?;
    let mut out = BufWriter::with_capacity(PIECE, Summed { file, sum: blake3::Hasher::new(), length: 0 });
    serde_json::to_writer(&mut out, header)?;
    out.write_all(b"\n")?;
    serde_json::to_writer(&mut out, body)?;
    out.write_all(b"\n")?;
    let Summed { file, sum, length } = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.write_all_at(sum.finalize().to_hex().as_bytes(), MAGIC.len() as u64)?;
    Ok(first.len() as u64 + length)
}

/// A file that sums up what is written to it.
struct Summed<'a> {
    file: &'a mut File,
    sum: blake3::Hasher,
    length: u64,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.sum.update(bytes.get(..n).unwrap_or_default());
        self.length += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The parts of a file: its header, and its body as it is written.
pub(super) fn decode(bytes: &[u8]) -> Result<(Header, Node), FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::Checksum)?;
    let (sum, rest) = text.strip_prefix(MAGIC).and_then(|t| t.split_once('\n')).ok_or(FormatError::Magic)?;
    if blake3::hash(rest.as_bytes()).to_hex().as_str() != sum {
        return Err(FormatError::Checksum);
    }
    let (header, body) = rest.split_once('\n').ok_or(FormatError::Checksum)?;
    let header = serde_json::from_str(header).map_err(|e| FormatError::Syntax(e.to_string()))?;
    Ok((header, tree(body)?))
}

/// A JSON text that this program wrote itself.
pub(super) fn tree(text: &str) -> Result<Node, FormatError> {
    const LIMITS: Limits = Limits { depth: 512, bytes: usize::MAX, nodes: usize::MAX, alias_nodes: 0 };
    parse(text, Format::Json, FileId::NONE, &LIMITS).map_err(|e| FormatError::Syntax(e.to_string()))
}

/// The line about a revision, without a look at the rest; its checksum is not compared.
pub(super) fn read_header(path: &FsPath) -> io::Result<Header> {
    let mut lines = BufReader::new(File::open(path)?).lines();
    let (_magic, header) = (lines.next().transpose()?, lines.next().transpose()?);
    Ok(serde_json::from_str(&header.unwrap_or_default())?)
}

/// Reads lines as the content of a file whose checksum is right. True if they are a revision, or differ from another.
pub(super) fn is_readable(lines: &str) -> bool {
    let text = format!("{MAGIC}{}\n{lines}", blake3::hash(lines.as_bytes()).to_hex());
    let Ok((header, written)) = decode(text.as_bytes()) else { return false };
    let empty = || map(["base", "overlay", "pins"].map(|key| (key.into(), Node::empty_map())));
    let body = restore(&written, header.since.is_some().then(empty), &|_| None);
    body.is_ok_and(|body| header.since.is_some() || header.revision(&body).is_ok())
}

/// The body that a written one stands for; `old` is what it differs from.
pub(super) fn restore(written: &Node, old: Option<Node>, unseal: Unseal<'_>) -> Result<Node, FormatError> {
    let Some(mut body) = old else { return unseal_below(written, unseal) };
    let Value::List(steps) = &written.value else { return Err(FormatError::Mismatch) };
    for step in steps.iter() {
        let Some(Value::List(keys)) = step.get("at").map(|n| &n.value) else {
            return Err(FormatError::Mismatch);
        };
        let keys: Option<Vec<&str>> = keys.iter().map(Node::as_str).collect();
        let to = step.get("to").map(|n| unseal_below(n, unseal)).transpose()?;
        body = with(&body, &keys.ok_or(FormatError::Mismatch)?, to)?;
    }
    Ok(body)
}

/// The tree with another value at a path, or without it.
fn with(node: &Node, keys: &[&str], to: Option<Node>) -> Result<Node, FormatError> {
    let Some((first, rest)) = keys.split_first() else { return to.ok_or(FormatError::Mismatch) };
    let map = node.as_map().ok_or(FormatError::Mismatch)?;
    let old = map.get(first);
    let new = match (rest.is_empty(), old) {
        (true, _) => to,
        (false, Some(old)) => Some(with(old, rest, to)?),
        (false, None) => return Err(FormatError::Mismatch),
    };
    let edit = match new {
        Some(node) => Edit::Put(Entry { key: (*first).into(), place: Place::default(), node }),
        None => Edit::Take(*first),
    };
    Ok(Node::made(Value::Map(Arc::new(map.with(vec![edit])))))
}
