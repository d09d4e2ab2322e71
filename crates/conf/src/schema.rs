//! JSON Schema of the types: for editors, for finding every problem, for finding paths in a tree.

mod paths;
mod say;
mod validate;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value as Json;

pub use paths::{PathPattern, Patterns, Step, paths};
pub use validate::{unknown_keywords, validate};

/// The schema of a type, draft 2020-12, complete in itself.
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Json {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

/// The candidate that was probably meant: the nearest by typing mistakes, at most one for three letters.
#[must_use]
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let fold = |s: &str| s.to_lowercase().replace('-', "_");
    let wanted = fold(word);
    let length = wanted.chars().count();
    let limit = if length < 3 { length.min(1) } else { length.div_ceil(3) };
    candidates
        .into_iter()
        .filter(|c| *c != word)
        .map(|c| (strsim::osa_distance(&wanted, &fold(c)), c))
        .filter(|(distance, c)| *distance <= limit && *distance < c.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c.to_owned())
}

/// Maps with named keys that would take others too, as JSON pointers into the schema: a type whose unknown
/// keys are accepted and ignored. Empty for a good document type.
#[must_use]
pub fn open_maps(schema: &Json) -> Vec<String> {
    let mut found = Vec::new();
    find_open(schema, false, &mut String::new(), &mut found);
    found
}

/// `names` is true for a map from names to schemas, which is none itself.
fn find_open(schema: &Json, names: bool, at: &mut String, found: &mut Vec<String>) {
    let closed = ["additionalProperties", "unevaluatedProperties"].iter().any(|k| schema.get(k).is_some());
    if !names && schema.get("properties").is_some() && !closed {
        found.push(at.clone());
    }
    let children: Vec<(String, &Json)> = match schema {
        Json::Object(map) => map.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Json::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        if !names && matches!(key.as_str(), "default" | "examples" | "const" | "enum") {
            continue;
        }
        let below = !names && matches!(key.as_str(), "properties" | "patternProperties" | "$defs");
        let length = at.len();
        *at += "/";
        *at += &key;
        find_open(child, below, at, found);
        at.truncate(length);
    }
}

/// The schema that a `$ref` within the same document names.
fn resolve<'a>(root: &'a Json, schema: &'a Json) -> Option<&'a Json> {
    let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
    root.pointer(pointer)
}

#[cfg(test)]
mod tests;
