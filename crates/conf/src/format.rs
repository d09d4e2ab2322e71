//! Text to tree and back: YAML, TOML and JSON give the same tree.

pub mod json;
pub mod toml;
pub mod yaml;

use std::{path::Path as FsPath, sync::Arc};

use crate::node::{FileId, Node, Place};

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
    /// Maps and lists inside each other.
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
    /// Stable word for programs: `syntax`, `duplicate_key`, `limit`, `empty`.
    pub code: &'static str,
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// How to mend it, if it is a usual mistake.
    pub help: Option<String>,
}

/// Reads a text.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str, format: Format, file: FileId, limits: &Limits) -> Result<Node, SyntaxError> {
    match format {
        Format::Yaml => yaml::parse(text, file, limits),
        Format::Toml => toml::parse(text, file, limits),
        Format::Json => json::parse(text, file, limits),
    }
}
