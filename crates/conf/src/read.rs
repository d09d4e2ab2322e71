//! Tree to types by serde alone: fast, and stops at the first problem.

mod serde;

use ::serde::de::Deserialize;

use crate::node::{Node, Place};

/// Why serde refused, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// The innermost value or key that was read; `None` before any was.
    pub place: Option<Place>,
}

/// The value as a `T` by serde alone: one problem at most.
///
/// # Errors
/// The first thing that does not fit.
pub fn read<'a, T: Deserialize<'a>>(node: &'a Node) -> Result<T, Fault> {
    T::deserialize(node).map_err(|fault: Fault| fault.at(node.place))
}
