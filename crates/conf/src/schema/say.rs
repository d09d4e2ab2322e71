//! What a schema wants and what a value is, in words.

use serde_json::Value as Json;

use super::resolve;
use crate::node::{Node, Value};

/// Longest text that is quoted in a message, in characters.
const QUOTED: usize = 40;

/// What was found, as in "found …".
pub(super) fn found(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Int(i) => format!("the number {i}"),
        Value::Float(x) => format!("the number {x:?}"),
        Value::Str(s) if s.is_empty() => "an empty text".to_owned(),
        Value::Str(s) => format!("the text `{}`", shorten(s)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

/// The same without the value: it may be a secret.
pub(super) fn found_kind(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Str(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

pub(super) fn shorten(text: &str) -> String {
    let line: String = text.chars().take(QUOTED).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED).is_some() { format!("{line}…") } else { line }
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

pub(super) fn ticked<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    words.into_iter().map(|w| format!("`{w}`")).collect()
}

/// Everything that a schema takes, as in "expected …". Nothing for null: it is not written.
pub(super) fn wants(root: &Json, schema: &Json) -> String {
    wants_any(root, std::slice::from_ref(schema))
}

/// The same of several schemas, each of which would do.
pub(super) fn wants_any(root: &Json, schemas: &[Json]) -> String {
    let mut words = Vec::new();
    schemas.iter().for_each(|schema| collect(root, schema, 0, &mut words));
    if words.is_empty() { "another value".to_owned() } else { one_of(&words) }
}

fn collect(root: &Json, schema: &Json, depth: usize, words: &mut Vec<String>) {
    if depth > 8 {
        return;
    }
    if let Some(target) = resolve(root, schema) {
        return collect(root, target, depth + 1, words);
    }
    let mut say = |word: String| {
        if !words.contains(&word) {
            words.push(word);
        }
    };
    match schema.get("format").and_then(Json::as_str) {
        Some("span") => return say("a duration such as 250ms, 5s or 1h30m".to_owned()),
        Some("size") => return say("a size such as 64KiB, 10MB or 512".to_owned()),
        Some("file" | "location") => return say("a path".to_owned()),
        Some("secret") => return say("a secret, `{ env: NAME }` or `{ file: path }`".to_owned()),
        _ => {}
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        return choices.iter().for_each(|c| say(format!("`{}`", plain(c))));
    }
    if let Some(key) = only_required(schema) {
        return say(format!("`{{ {key}: … }}`"));
    }
    for kind in types(schema) {
        match kind {
            "string" => say("a text".to_owned()),
            "integer" => say("a whole number".to_owned()),
            "number" => say("a number".to_owned()),
            "boolean" => say("`true` or `false`".to_owned()),
            "array" => say("a list".to_owned()),
            "object" => say("a map".to_owned()),
            _ => {}
        }
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        for branch in schema.get(keyword).and_then(Json::as_array).into_iter().flatten() {
            collect(root, branch, depth + 1, words);
        }
    }
}

/// The values of `const` or `enum`.
pub(super) fn choices(schema: &Json) -> Vec<&Json> {
    match (schema.get("const"), schema.get("enum").and_then(Json::as_array)) {
        (Some(only), _) => vec![only],
        (None, Some(several)) => several.iter().collect(),
        (None, None) => Vec::new(),
    }
}

pub(super) fn plain(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

/// The names in `type`.
pub(super) fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The key of a variant that is written as a map with one key.
pub(super) fn only_required(schema: &Json) -> Option<&str> {
    let closed = schema.get("additionalProperties") == Some(&Json::Bool(false));
    let single = schema.get("properties").and_then(Json::as_object).is_some_and(|p| p.len() == 1);
    match schema.get("required").and_then(Json::as_array).map(Vec::as_slice) {
        Some([only]) if closed && single => only.as_str(),
        _ => None,
    }
}
