//! Where a value is in the tree: the keys that lead to it.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Keys from the root; items of a list by their index. Written `routes.api.timeout`; a key that is not
/// made of letters, digits, `_`, `-` and `*` is quoted: `routes."a.b".timeout`. The root is the empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    segments: Vec<Arc<str>>,
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a path: {why}")]
pub struct PathError {
    text: String,
    why: &'static str,
}

impl Path {
    /// The whole document.
    #[must_use]
    pub const fn root() -> Path {
        Path { segments: Vec::new() }
    }

    /// The keys, from the root.
    #[must_use]
    pub fn segments(&self) -> &[Arc<str>] {
        &self.segments
    }

    /// The keys as [`crate::Node::at`] takes them.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map(AsRef::as_ref)
    }

    /// One step further.
    #[must_use]
    pub fn join(&self, key: impl Into<Arc<str>>) -> Path {
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend_from_slice(&self.segments);
        segments.push(key.into());
        Path { segments }
    }

    /// Adds a step in place.
    pub fn push(&mut self, key: impl Into<Arc<str>>) {
        self.segments.push(key.into());
    }

    /// Takes the last step back.
    pub fn pop(&mut self) -> Option<Arc<str>> {
        self.segments.pop()
    }

    /// True if this is `other` or leads to it.
    #[must_use]
    pub fn is_prefix_of(&self, other: &Path) -> bool {
        other.segments.starts_with(&self.segments)
    }
}

impl<S: Into<Arc<str>>> FromIterator<S> for Path {
    fn from_iter<I: IntoIterator<Item = S>>(keys: I) -> Path {
        Path { segments: keys.into_iter().map(Into::into).collect() }
    }
}

impl<S: Into<Arc<str>>, const N: usize> From<[S; N]> for Path {
    fn from(keys: [S; N]) -> Path {
        keys.into_iter().collect()
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-*".contains(c))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, key) in self.segments.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            if is_plain(key) {
                f.write_str(key)?;
            } else {
                f.write_str("\"")?;
                for c in key.chars() {
                    match c {
                        '"' | '\\' => write!(f, "\\{c}")?,
                        '\n' => f.write_str("\\n")?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Path, PathError> {
        let bad = |why| PathError { text: text.to_owned(), why };
        let mut path = Path::root();
        if text.is_empty() {
            return Ok(path);
        }
        let mut rest = text;
        loop {
            let (key, after) = match rest.strip_prefix('"') {
                Some(quoted) => read_quoted(quoted).ok_or_else(|| bad("a quote is not closed"))?,
                None => {
                    let end = rest.find('.').unwrap_or(rest.len());
                    let (key, after) = rest.split_at(end);
                    (key.to_owned(), after)
                }
            };
            if key.is_empty() && !rest.starts_with('"') {
                return Err(bad("a key is empty"));
            }
            path.push(key);
            if after.is_empty() {
                return Ok(path);
            }
            rest = after.strip_prefix('.').ok_or_else(|| bad("after a quoted key comes a dot"))?;
        }
    }
}

/// The key up to the closing quote, and what follows it.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((key, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => key.push('\n'),
                c => key.push(c),
            },
            c => key.push(c),
        }
    }
    None
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Path, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_and_reads() {
        for (keys, text) in [
            (vec![], ""),
            (vec!["routes", "api", "timeout"], "routes.api.timeout"),
            (vec!["routes", "a.b", "x"], "routes.\"a.b\".x"),
            (vec!["hosts", "*", "0"], "hosts.*.0"),
            (vec!["", "a\"b\\"], "\"\".\"a\\\"b\\\\\""),
        ] {
            let path: Path = keys.into_iter().collect();
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse::<Path>().unwrap(), path);
        }
    }

    #[test]
    fn refuses_what_is_no_path() {
        for text in [".", "a.", ".a", "a..b", "\"a", "\"a\"b"] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(keys in proptest::collection::vec(".*", 0..5)) {
            let path: Path = keys.into_iter().collect();
            prop_assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }
    }
}
