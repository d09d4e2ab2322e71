//! Tree to types, with every problem found.
//!
//! The good case reads the tree by serde and costs no look at the schema; only when that fails is the
//! whole value held against the schema, because serde stops at the first problem.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{node::Node, path::Path, read::read, report::Report, schema};

/// The value as a `T`. If it is none, everything that is wrong is added to the report, each problem with its
/// path below `at` and its place. A `T` that decodes costs no look at its schema.
pub fn decode<T: DeserializeOwned + JsonSchema>(node: &Node, at: &Path, report: &mut Report) -> Option<T> {
    let fault = match read(node) {
        Ok(value) => return Some(value),
        Err(fault) => fault,
    };
    let before = report.len();
    schema::validate(node, &schema::schema_of::<T>(), at, report);
    if report.len() == before {
        report.problem("value", at, fault.place.unwrap_or(node.place), fault.message);
    }
    None
}

#[cfg(test)]
mod tests;
