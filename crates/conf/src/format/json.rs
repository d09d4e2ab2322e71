//! JSON (RFC 8259) with places: strict, no key twice.

mod reader;

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Limits, SyntaxError, too_large};
use crate::node::{Entry, FileId, Map, Node, Place, Value};

/// Reads a text.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, file: FileId, limits: &Limits) -> Result<Node, SyntaxError> {
    reader::read(text, file, limits)
}

/// The tree as JSON on one line, keys sorted: equal trees give equal texts.
#[must_use]
pub fn to_json(node: &Node) -> String {
    // Fails only for keys that are no texts, which a tree has not.
    serde_json::to_string(node).unwrap_or_default()
}

/// The tree as a JSON value.
#[must_use]
pub fn to_json_value(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(i) => Json::from(*i),
        Value::Float(x) => Json::from(*x),
        Value::Str(s) => Json::String(s.as_ref().to_owned()),
        Value::List(list) => Json::Array(list.iter().map(to_json_value).collect()),
        Value::Map(map) => {
            let entries = map.entries();
            Json::Object(entries.map(|e| (e.key.as_ref().to_owned(), to_json_value(&e.node))).collect())
        }
    }
}

/// A JSON value as a tree without places.
///
/// # Errors
/// If a whole number does not fit 64 bits with a sign.
pub fn from_json_value(json: &Json) -> Result<Node, SyntaxError> {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.is_u64(), n.as_f64()) {
            (Some(i), ..) => Value::Int(i),
            (None, false, Some(x)) => Value::Float(x),
            _ => return Err(too_large(Place::default())),
        },
        Json::String(s) => Value::Str(s.as_str().into()),
        Json::Array(items) => Value::List(items.iter().map(from_json_value).collect::<Result<_, _>>()?),
        Json::Object(map) => {
            let entry = |(key, json): (&String, &Json)| {
                let node = from_json_value(json)?;
                Ok(Entry { key: key.as_str().into(), place: Place::default(), node })
            };
            Value::Map(Arc::new(Map::new(map.iter().map(entry).collect::<Result<_, SyntaxError>>()?)))
        }
    };
    Ok(Node::made(value))
}
