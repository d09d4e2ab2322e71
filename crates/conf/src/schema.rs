//! JSON Schema of the types: for editors, for finding every problem, for finding paths in a tree.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value as Json;

use crate::{node::Node, path::Path, report::Report};

/// One kind of place in the document where a path is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// The way there.
    pub segments: Vec<Step>,
    /// True if the content of the file is part of the revision.
    pub pinned: bool,
}

/// One step of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// That key.
    Key(String),
    /// Every key, every item of a list.
    Any,
}

/// The schema of a type, draft 2020-12, complete in itself.
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Json {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// Adds everything to the report in which the value is not as the schema says.
pub fn validate(node: &Node, schema: &Json, at: &Path, report: &mut Report) {}

/// Where the schema says that a path is written.
#[must_use]
pub fn paths(schema: &Json) -> Vec<PathPattern> {
    Vec::new()
}

/// The candidate that was probably meant.
#[must_use]
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::osa_distance(&lower, &c.to_lowercase()), c))
        .filter(|(distance, c)| *distance <= limit && *c != word)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c.to_owned())
}
