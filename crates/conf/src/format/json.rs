//! JSON to tree.

use crate::{
    format::{Limits, SyntaxError},
    node::{FileId, Node, Place},
};

/// Reads a text.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, file: FileId, limits: &Limits) -> Result<Node, SyntaxError> {
    let _ = (text, limits);
    Err(SyntaxError {
        code: "syntax",
        place: Place { file, ..Place::default() },
        message: "not read".into(),
        help: None,
    })
}
