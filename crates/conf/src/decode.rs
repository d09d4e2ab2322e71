//! Tree to types, with every problem found.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{node::Node, path::Path, report::Report};

/// The value as a `T`. If it is none, everything that is wrong is added to the report, each problem with its
/// path below `at` and its place. A `T` that decodes costs no look at its schema.
pub fn decode<T: DeserializeOwned + JsonSchema>(node: &Node, at: &Path, report: &mut Report) -> Option<T> {
    None
}
