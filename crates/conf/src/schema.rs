//! JSON Schema of the types: for editors, for finding every problem, for finding paths in a tree.

mod paths;
mod say;
mod validate;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value as Json;

pub use paths::{PathPattern, Patterns, Step, paths};
pub(crate) use paths::{rewrite_entries, rewrite_items};
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

/// The schema that a `$ref` within the same document names.
fn resolve<'a>(root: &'a Json, schema: &'a Json) -> Option<&'a Json> {
    let pointer = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
    root.pointer(pointer)
}

#[cfg(test)]
mod tests;
