//! Secrets: the document says where one is kept, never what it is.
//!
//! The value is read while the document is decoded and can only be had by [`Secret::expose`]; every way
//! of printing shows the reference.

use std::{
    borrow::Cow,
    cell::RefCell,
    fmt, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

use crate::{
    node::{Digest, Node, Value},
    node::{rewrite_entries, rewrite_items},
};

/// A secret, written `{ env: NAME }`, `{ file: path }` or `{ literal: "…" }`. Equal if the reference and the
/// value are. A file's last line break is not part of the value.
#[derive(Clone)]
pub struct Secret {
    reference: Reference,
    value: Arc<str>,
    digest: Digest,
}

/// Where a secret is kept.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// An environment variable.
    Env(Arc<str>),
    /// A file; watched, its content is part of the revision.
    File(PathBuf),
    /// In the document itself.
    Literal,
}

/// Why a secret could not be read. Never says what was read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    /// The value is not UTF-8.
    #[error("the secret in {0} is not UTF-8 text")]
    NotText(String),
    /// The value has no characters.
    #[error("the secret in {0} is empty")]
    Empty(String),
    /// The file cannot be read.
    #[error("cannot read the secret in {0}: {1}")]
    Unreadable(String, std::io::Error),
}

/// Stands where a secret is.
pub(crate) const HIDDEN: &str = "***";

/// Said to who writes a secret as a plain text.
pub(crate) const BARE: &str = "a secret is not written in the document: say where it is kept, \
     `{ env: NAME }` or `{ file: path }`, or mark it with `{ literal: … }`";

/// The tree as it may be shown: the value of every key `literal` is `***`. The rest is shared with `node`.
#[must_use]
pub fn redact(node: &Node) -> Node {
    hide(node).unwrap_or_else(|| node.clone())
}

/// The new node; `None` if there is nothing to hide.
fn hide(node: &Node) -> Option<Node> {
    let value = match &node.value {
        Value::List(items) => Value::List(rewrite_items(items, hide)?),
        Value::Map(map) => Value::Map(rewrite_entries(map, |e| match e.key.as_ref() {
            "literal" => Some(Node { value: Value::Str(HIDDEN.into()), place: e.node.place }),
            _ => hide(&e.node),
        })?),
        _ => return None,
    };
    Some(Node { value, place: node.place })
}

/// Where files of secrets are read instead of from disk; `None`: from disk all the same.
pub type ReadFile = Rc<dyn Fn(&Path) -> Option<io::Result<Arc<[u8]>>>>;

thread_local! {
    /// Serde hands no context down to a value, so it stands beside the call for as long as that lasts.
    static READ_FILE: RefCell<Option<ReadFile>> = const { RefCell::new(None) };
}

/// Does some work, in which files of secrets are read by that function: a revision is decoded with the contents
/// that it pins, whatever the files hold by now.
pub fn with_files<R>(read: ReadFile, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<ReadFile>);
    impl Drop for Restore {
        fn drop(&mut self) {
            READ_FILE.with(|f| *f.borrow_mut() = self.0.take());
        }
    }
    let _restore = Restore(READ_FILE.with(|f| f.borrow_mut().replace(read)));
    work()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let given = READ_FILE.with(|f| f.borrow().clone()).and_then(|read| read(path));
    given.map_or_else(|| std::fs::read(path), |content| content.map(|bytes| bytes.to_vec()))
}

impl Secret {
    /// Reads the value of an environment variable.
    ///
    /// # Errors
    /// If it is not set, empty or not UTF-8.
    pub fn env(name: &str) -> Result<Secret, SecretError> {
        match std::env::var(name) {
            Ok(value) => Secret::made(Reference::Env(name.into()), value.into()),
            Err(std::env::VarError::NotPresent) => Err(SecretError::Unset(name.to_owned())),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(SecretError::NotText(format!("environment variable `{name}`")))
            }
        }
    }

    /// Reads a file; its last line break is dropped.
    ///
    /// # Errors
    /// If it cannot be read, is empty or not UTF-8.
    pub fn file(path: impl Into<PathBuf>) -> Result<Secret, SecretError> {
        let path = path.into();
        let name = format!("file `{}`", path.display());
        match read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                let value = line.strip_suffix('\r').unwrap_or(line).into();
                Secret::made(Reference::File(path), value)
            }
            Ok(Err(_)) => Err(SecretError::NotText(name)),
            Err(error) => Err(SecretError::Unreadable(name, error)),
        }
    }

    /// A secret that the document itself holds.
    ///
    /// # Errors
    /// If it is empty.
    pub fn literal(value: &str) -> Result<Secret, SecretError> {
        Secret::made(Reference::Literal, value.into())
    }

    fn made(reference: Reference, value: Arc<str>) -> Result<Secret, SecretError> {
        if value.is_empty() {
            return Err(SecretError::Empty(reference.to_string()));
        }
        let digest = Digest::of(value.as_bytes());
        Ok(Secret { reference, value, digest })
    }

    /// The value. What is done with it must not be logged, printed or stored.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it is kept.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.reference == other.reference && self.digest == other.digest
    }
}

impl Eq for Secret {}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Env(name) => write!(f, "{{ env: {name} }}"),
            Reference::File(path) => write!(f, "{{ file: {} }}", path.display()),
            Reference::Literal => f.write_str("{ literal: *** }"),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match &self.reference {
            Reference::Env(name) => map.serialize_entry("env", name)?,
            Reference::File(path) => map.serialize_entry("file", path)?,
            Reference::Literal => map.serialize_entry("literal", HIDDEN)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> de::Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`{ env: NAME }`, `{ file: path }` or `{ literal: … }`")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(BARE))
    }

    // Serde's own error for a wrong type would quote the value.
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(BARE))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(BARE))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(BARE))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let Some(key) = map.next_key::<Cow<'de, str>>()? else {
            return Err(de::Error::invalid_length(0, &self));
        };
        let value: Cow<'de, str> = match key.as_ref() {
            "env" | "file" | "literal" => map
                .next_value()
                .map_err(|_| de::Error::custom(format!("`{key}` of a secret must be a text")))?,
            other => return Err(de::Error::unknown_field(other, &["env", "file", "literal"])),
        };
        if map.next_key::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::custom("a secret has one of `env`, `file` and `literal`, not several"));
        }
        match key.as_ref() {
            "env" => Secret::env(&value),
            "file" => Secret::file(value.as_ref()),
            _ => Secret::literal(&value),
        }
        .map_err(de::Error::custom)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "format": "secret",
            "description": "A secret: { env: NAME }, { file: path } or, in the document itself, { literal: … }.",
            "properties": {
                "env": { "type": "string", "minLength": 1, "description": "An environment variable." },
                "file": {
                    "type": "string", "format": "file", "minLength": 1,
                    "description": "A file; relative to the file that names it.",
                },
                "literal": { "type": "string", "minLength": 1, "description": "The secret itself." },
            },
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_printing_shows_it() {
        let secret: Secret = serde_json::from_str(r#"{"literal":"hunter2"}"#).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#"{"literal":"***"}"#);
        for printed in [format!("{secret}"), format!("{secret:?}"), format!("{:#?}", Some(&secret))] {
            assert!(!printed.contains("hunter2") && printed.contains("***"), "{printed}");
        }
    }

    #[test]
    fn a_file_is_read_without_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (content, value) in [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc", "abc"), ("a\n\n", "a\n")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Secret::file(&path).unwrap().expose(), value);
        }
        let before = Secret::file(&path).unwrap();
        std::fs::write(&path, "rotated").unwrap();
        assert_ne!(before, Secret::file(&path).unwrap());
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::file(&path).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn files_can_be_read_elsewhere_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let (pinned, other) = (dir.path().join("pinned"), dir.path().join("other"));
        std::fs::write(&other, "on disk").unwrap();
        let known = pinned.clone();
        let read: ReadFile = Rc::new(move |path| (path == known).then(|| Ok(b"kept\n".as_slice().into())));
        let value = |path: &PathBuf| Secret::file(path).map(|s| s.expose().to_owned()).ok();
        let inside = with_files(read, || (value(&pinned), value(&other)));
        assert_eq!(inside, (Some("kept".into()), Some("on disk".into())));
        assert_eq!(value(&pinned), None);
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        let rows = [
            (r#""hunter2""#, "not written in the document"),
            (r#"{"env":"EVERGATE_TEST_IS_NOT_SET"}"#, "`EVERGATE_TEST_IS_NOT_SET` is not set"),
            (r#"{"file":"/does/not/exist"}"#, "cannot read"),
            (r#"{"literal":""}"#, "empty"),
            (r#"{"litral":"hunter2"}"#, "unknown field"),
            (r#"{"literal":"hunter2","env":"HOME"}"#, "not several"),
            ("{}", "expected"),
            ("5", "not written in the document"),
            (r#"{"literal":73571}"#, "must be a text"),
        ];
        for (text, expected) in rows {
            let error = serde_json::from_str::<Secret>(text).unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains("hunter2") && !error.contains("73571"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_tree_is_shown_without_literals() {
        let json = serde_json::json!({
            "a": { "literal": "hunter2" }, "b": [{ "literal": ["hunter2"] }], "c": { "env": "X" },
        });
        let node = crate::format::from_json_value(&json).unwrap();
        let shown = redact(&node);
        let expected = r#"{"a":{"literal":"***"},"b":[{"literal":"***"}],"c":{"env":"X"}}"#;
        assert_eq!(crate::format::to_json(&shown), expected);
        assert!(shown.get("c").unwrap().same(node.get("c").unwrap()));
        assert!(redact(node.get("c").unwrap()).same(node.get("c").unwrap()));
    }

    #[test]
    fn equal_by_reference_and_value() {
        assert_eq!(Secret::literal("a").unwrap(), Secret::literal("a").unwrap());
        assert_ne!(Secret::literal("a").unwrap(), Secret::literal("b").unwrap());
    }
}
