//! The document's schema: what editors, `evergate schema` and the decoder's own search for problems share.

use evergate_conf::schema_of;
use serde_json::{Value, json};

use crate::config::Config;

/// JSON Schema (draft 2020-12) of a whole document as people write it, `include` among it.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schema_of::<Config>();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("Evergate document"));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("include".to_owned(), include());
    }
    schema
}

/// The loader takes it out: types do not know it.
fn include() -> Value {
    let path = json!({ "type": "string", "minLength": 1 });
    json!({
        "description": "Files and folders whose content belongs to this document, relative to it; `*` stands for any \
                        part of a name. What this file says itself comes last and wins.",
        "anyOf": [path, { "type": "array", "items": path }],
    })
}
