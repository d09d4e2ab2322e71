//! What ran: an immutable document with everything that it refers to pinned by digest.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::SystemTime,
};

use evergate_conf::{Digest, Node, merge};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Names a revision: its sequence number and what its hash begins with. Written `42-9f3a1c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId {
    /// Counts from 1 and never goes back.
    pub seq: u64,
    /// The first three bytes of the revision's digest.
    pub hash: [u8; 3],
}

/// Why a text is no revision id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a revision: expected a number and a hash, such as `42-9f3a1c`")]
pub struct RevisionIdError(String);

/// Who or what asked for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The program started.
    Start,
    /// Something on disk changed.
    File,
    /// A signal.
    Signal,
    /// A call of the API, or of a command line that uses it.
    Api,
}

/// The two layers that a document is merged from.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// The files, merged in their order.
    pub base: Node,
    /// A merge patch (RFC 7396) on top: what was changed by API.
    pub overlay: Node,
}

/// The digest of a file whose content belongs to a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Absolute path.
    pub path: Arc<Path>,
    /// Hash of the content; `None` if the file cannot be read.
    pub digest: Option<Digest>,
}

/// One revision, whole.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Its name.
    pub id: RevisionId,
    /// Hash of the document and of the pinned contents.
    pub digest: Digest,
    /// What ran before it.
    pub parent: Option<RevisionId>,
    /// What asked for it.
    pub origin: Origin,
    /// Who asked for it, if that is known.
    pub author: Option<Arc<str>>,
    /// When it was built.
    pub time: SystemTime,
    /// The revision that it brought back.
    pub restores: Option<RevisionId>,
    /// Digest of the files that are not used although they differ from this revision: they are held until
    /// they change again.
    pub held: Option<Digest>,
    /// Digest of the files, with what they refer to, that the base was read from.
    pub files: Digest,
    /// What the document is merged from.
    pub layers: Layers,
    /// What runs: the layers merged, without nulls in maps.
    pub document: Node,
    /// Files whose content counts, sorted by path.
    pub pins: Arc<[Pin]>,
}

/// What is said of a revision in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: RevisionId,
    /// Hash of the document and of the pinned contents, in hexadecimal.
    pub digest: String,
    /// What ran before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RevisionId>,
    /// What asked for it.
    pub origin: Origin,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Arc<str>>,
    /// When it was built, in milliseconds since 1970.
    pub time_ms: u64,
    /// The revision that it brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<RevisionId>,
    /// What it changed, in a line; secrets are hidden.
    pub summary: String,
}

impl Layers {
    /// Nothing written anywhere.
    #[must_use]
    pub fn empty() -> Layers {
        Layers { base: Node::empty_map(), overlay: Node::empty_map() }
    }

    /// The document that they make.
    #[must_use]
    pub fn document(&self) -> Node {
        merge(&self.base, &self.overlay)
    }

    /// True if both make the same revision; where they are written does not count.
    #[must_use]
    pub fn is_same(&self, other: &Layers) -> bool {
        self.base.digest() == other.base.digest() && self.overlay.digest() == other.overlay.digest()
    }

    /// True if something was changed by API.
    #[must_use]
    pub fn has_overlay(&self) -> bool {
        self.overlay.as_map().is_none_or(|m| !m.is_empty())
    }
}

impl RevisionId {
    /// The name of a revision with that number and digest.
    #[must_use]
    pub fn new(seq: u64, digest: Digest) -> RevisionId {
        let [a, b, c, ..] = digest.0;
        RevisionId { seq, hash: [a, b, c] }
    }
}

/// Hash of a document and of the contents it refers to. Equal for what cannot be told apart by running it.
#[must_use]
pub fn digest(document: &Node, pins: &[Pin]) -> Digest {
    let mut hash = blake3::Hasher::new();
    hash.update(&document.digest().0);
    for pin in pins {
        let path = pin.path.as_os_str().as_encoded_bytes();
        hash.update(&(path.len() as u64).to_le_bytes());
        hash.update(path);
        match pin.digest {
            Some(digest) => hash.update(b"+").update(&digest.0),
            None => hash.update(b"-"),
        };
    }
    Digest(*hash.finalize().as_bytes())
}

impl Pin {
    /// A pin of a file that was or was not readable.
    #[must_use]
    pub fn new(path: PathBuf, digest: Option<Digest>) -> Pin {
        Pin { path: path.into(), digest }
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.hash;
        write!(f, "{}-{a:02x}{b:02x}{c:02x}", self.seq)
    }
}

impl FromStr for RevisionId {
    type Err = RevisionIdError;

    fn from_str(text: &str) -> Result<RevisionId, RevisionIdError> {
        let bad = || RevisionIdError(text.to_owned());
        let (seq, hash) = text.split_once('-').ok_or_else(bad)?;
        let plain = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
        if hash.len() != 6 || !plain(hash) || !plain(seq) {
            return Err(bad());
        }
        let hash = u32::from_str_radix(hash, 16).map_err(|_| bad())?;
        let [_, a, b, c] = hash.to_be_bytes();
        Ok(RevisionId { seq: seq.parse().map_err(|_| bad())?, hash: [a, b, c] })
    }
}

impl Serialize for RevisionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RevisionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RevisionId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Start => "start",
            Origin::File => "file",
            Origin::Signal => "signal",
            Origin::Api => "api",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_read() {
        let id = RevisionId::new(42, Digest::of(b"x"));
        assert_eq!(id.to_string().parse::<RevisionId>().unwrap(), id);
        assert_eq!("7-00ff0a".parse::<RevisionId>().unwrap(), RevisionId { seq: 7, hash: [0, 255, 10] });
        for bad in ["", "7", "7-", "-00ff0a", "7-00ff0", "7-00ff0ag", "7-+0ff0a", "+7-00ff0a", "a-00ff0a"] {
            assert!(bad.parse::<RevisionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_digest_covers_contents_and_names() {
        let document = Node::empty_map();
        let pin = |path: &str, content: Option<&[u8]>| Pin::new(path.into(), content.map(Digest::of));
        let all = [
            digest(&document, &[]),
            digest(&document, &[pin("/a", Some(b"1"))]),
            digest(&document, &[pin("/a", Some(b"2"))]),
            digest(&document, &[pin("/b", Some(b"1"))]),
            digest(&document, &[pin("/a", None)]),
            digest(&document, &[pin("/a", Some(b"1")), pin("/b", Some(b"1"))]),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
    }
}
