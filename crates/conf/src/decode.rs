//! Tree to types, with every problem found.
//!
//! The good case reads the tree by serde and costs no look at the schema; only when that fails is the
//! whole value held against the schema, because serde stops at the first problem.

mod serde;

use ::serde::de::{Deserialize, DeserializeOwned};
use schemars::JsonSchema;

use crate::{
    node::{Node, Place},
    path::Path,
    report::Report,
    schema,
};

/// Why serde refused, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// The innermost value or key that was read; `None` before any was.
    pub place: Option<Place>,
}

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

/// The value as a `T` by serde alone: one problem at most.
///
/// # Errors
/// The first thing that does not fit.
pub fn read<'a, T: Deserialize<'a>>(node: &'a Node) -> Result<T, Fault> {
    T::deserialize(node).map_err(|fault: Fault| fault.at(node.place))
}

#[cfg(test)]
mod tests;
