//! Text to tree and back: YAML, TOML and JSON give the same tree.
//!
//! All three hold the same things: keys are texts, whole numbers fit 64 bits, other numbers are finite,
//! a key is written once.

pub mod json;
mod text;
pub mod toml;
pub mod yaml;

use std::{path::Path as FsPath, sync::Arc};

use crate::node::{Entry, FileId, Map, Node, Place, Value};

pub use json::{from_json_value, to_json, to_json_value};
pub use yaml::to_yaml;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// YAML 1.2, core schema.
    Yaml,
    /// TOML 1.0 or later.
    Toml,
    /// JSON (RFC 8259).
    Json,
}

/// What a hostile or broken text may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maps and lists inside each other. YAML and TOML readers have a limit of their own near 255 and 80.
    pub depth: usize,
    /// Length of the text.
    pub bytes: usize,
    /// Values, those repeated by aliases included.
    pub nodes: usize,
    /// Values that come from aliases.
    pub alias_nodes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { depth: 64, bytes: 64 << 20, nodes: 5_000_000, alias_nodes: 100_000 }
    }
}

/// The first thing in a text that is not as the format wants it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Stable word for programs: `syntax`, `duplicate_key`, `key`, `number`, `limit`, `empty`.
    pub code: &'static str,
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// How to mend it, if it is a usual mistake.
    pub help: Option<String>,
}

impl SyntaxError {
    pub(crate) fn new(code: &'static str, place: Place, message: impl Into<String>) -> SyntaxError {
        SyntaxError { code, place, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, text: impl Into<String>) -> SyntaxError {
        self.help = Some(text.into());
        self
    }
}

impl Format {
    /// By the end of the name: `yaml`, `yml`, `toml`, `json`.
    #[must_use]
    pub fn of_name(path: &FsPath) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Format::Yaml),
            "toml" => Some(Format::Toml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }

    /// By the first line that says something: `{` is JSON, `key = …` or `[table]` is TOML, the rest YAML.
    #[must_use]
    pub fn of_text(text: &str) -> Format {
        let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let line = lines.next().unwrap_or_default();
        let key_end = line.find(|c: char| !(c.is_alphanumeric() || "_-.\"' ".contains(c)));
        if line.starts_with('{') {
            Format::Json
        } else if line.starts_with('[') || key_end.is_some_and(|i| line[i..].starts_with('=')) {
            Format::Toml
        } else {
            Format::Yaml
        }
    }
}

/// Reads a text. One that says nothing, such as an empty file or one with comments only, is refused:
/// it is more likely half written than meant.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str, format: Format, file: FileId, limits: &Limits) -> Result<Node, SyntaxError> {
    parse_again(text, format, file, limits, None)
}

/// As [`parse`], out of what the same file was before: a reader may take from there what is the same and stands in the same
/// place.
pub(crate) fn parse_again(
    text: &str,
    format: Format,
    file: FileId,
    limits: &Limits,
    before: Option<&Node>,
) -> Result<Node, SyntaxError> {
    let start = Place { file, line: 1, column: 1 };
    if text.len() > limits.bytes {
        let message = format!("{} bytes, more than the {} that are read", text.len(), limits.bytes);
        return Err(SyntaxError::new("limit", Place { file, ..Place::default() }, message));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if says_nothing(text, format) {
        return Err(SyntaxError::new("empty", start, "empty; half-written?")
            .help("write `{}` for a document that sets nothing (in TOML, leave the file out)"));
    }
    match format {
        Format::Yaml => yaml::parse(text, file, limits, before),
        Format::Toml => toml::parse(text, file, limits),
        Format::Json => json::parse(text, file, limits),
    }
}

fn says_nothing(text: &str, format: Format) -> bool {
    let comment = if format == Format::Json { None } else { Some('#') };
    let marker = |l: &str| format == Format::Yaml && (l == "---" || l == "...");
    text.lines()
        .map(str::trim)
        .all(|l| l.is_empty() || comment.is_some_and(|c| l.starts_with(c)) || marker(l))
}

/// How many texts are remembered while a tree is built, and the longest of them in bytes.
const SLOTS: usize = 1021;
const SHORT: usize = 32;

/// What the three readers share while they build a tree: limits, and texts that are kept once.
struct Builder {
    /// The last text of each slot.
    texts: Vec<Arc<str>>,
    nodes: usize,
    limits: Limits,
    file: FileId,
}

impl Builder {
    fn new(file: FileId, limits: &Limits) -> Builder {
        Builder { texts: vec![Arc::from(""); SLOTS], nodes: 0, limits: *limits, file }
    }

    /// One allocation for short texts that come again and again: a route's keys are the same in each of
    /// 100,000. A cheap guess rather than a set: most texts that differ come once.
    fn text(&mut self, text: &str) -> Arc<str> {
        if text.len() > SHORT {
            return text.into();
        }
        let byte = |at: usize| usize::from(text.as_bytes().get(at).copied().unwrap_or_default());
        let slot =
            text.len() + 31 * byte(0) + 17 * byte(text.len() / 2) + 7 * byte(text.len().wrapping_sub(1));
        match self.texts.get_mut(slot % SLOTS) {
            Some(known) if known.as_ref() == text => Arc::clone(known),
            Some(known) => {
                *known = text.into();
                Arc::clone(known)
            }
            None => text.into(),
        }
    }

    /// Counts values before they are made.
    fn count(&mut self, nodes: usize, place: Place) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            let message = format!("more than {} values", self.limits.nodes);
            return Err(SyntaxError::new("limit", place, message));
        }
        Ok(())
    }

    /// Refuses what is nested too deep.
    fn depth(&self, depth: usize, place: Place) -> Result<(), SyntaxError> {
        if depth > self.limits.depth {
            let message = format!("nested deeper than {} levels", self.limits.depth);
            return Err(SyntaxError::new("limit", place, message));
        }
        Ok(())
    }

    /// A map of entries in any order; a key that is written twice is an error at the second.
    fn map(&self, entries: Vec<Entry>, place: Place) -> Result<Node, SyntaxError> {
        Ok(map_of(sorted(entries)?, place))
    }
}

/// Entries in the order of their keys; a key that is written twice is an error at the second.
fn sorted(mut entries: Vec<Entry>) -> Result<Vec<Entry>, SyntaxError> {
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let twice = entries.windows(2).filter_map(|pair| match pair {
        [a, b] if a.key == b.key => Some((a, b)),
        _ => None,
    });
    if let Some((first, second)) = twice.min_by_key(|(_, b)| (b.place.line, b.place.column)) {
        let message = format!("key `{}` is written twice", second.key);
        return Err(SyntaxError::new("duplicate_key", second.place, message)
            .help(format!("it is first written in line {}", first.place.line)));
    }
    Ok(entries)
}

/// A map of entries that are sorted.
fn map_of(mut entries: Vec<Entry>, place: Place) -> Node {
    entries.shrink_to_fit();
    Node { value: Value::Map(Arc::new(Map::from_sorted(entries))), place }
}

/// A number that is not whole, if every format can hold it.
fn finite(number: f64, place: Place) -> Result<Value, SyntaxError> {
    if number.is_finite() {
        Ok(Value::Float(number))
    } else {
        Err(SyntaxError::new("number", place, "not a finite number"))
    }
}

/// Does not quote the number: nothing here knows whether it is a secret.
fn too_large(place: Place) -> SyntaxError {
    SyntaxError::new("number", place, "the number does not fit 64 bits with a sign")
}

#[cfg(test)]
pub(crate) mod tests;
