//! What must hold of a request for a route to take it.

use std::borrow::Cow;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, de::MapAccess};

use super::{short::ShortForm, *};

/// What must hold of a request. All that is written must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `example.com`, or `*.example.com` for one or more labels in front. Without port. Empty: any.
    pub hosts: Vec<String>,
    /// A string is a prefix on segment borders. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// `GET`, `POST` … Empty: any. `GET` does not include `HEAD`.
    pub methods: Vec<String>,
    /// By header name.
    pub headers: BTreeMap<String, TextMatch>,
    /// By query parameter; of repeated ones the first counts.
    pub query: BTreeMap<String, TextMatch>,
}

/// `/v1` (a prefix), `{ exact: /old }`, `{ prefix: /v1 }` or `{ regex: "^/user/[0-9]+$" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The start of the path, on a segment border: `/api` is no prefix of `/apix`.
    Prefix(String),
    /// Anywhere in the path, unless anchored.
    Regex(String),
}

/// A value: a string is exact; or `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`, `{ present: true }`.
/// Of repeated headers any may match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextMatch {
    /// The whole value.
    Exact(String),
    /// The start of the value.
    Prefix(String),
    /// Anywhere in the value, unless anchored.
    Regex(String),
    /// There at all (`true`), or not at all (`false`).
    Present(bool),
}

impl ShortForm for PathMatch {
    const EXPECTING: &'static str =
        "a path such as /v1, or one of `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`";

    fn from_text(text: &str) -> Result<PathMatch, String> {
        Ok(PathMatch::Prefix(text.to_owned()))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<PathMatch, A::Error> {
        short::one_of(map, &["exact", "prefix", "regex"], |key, map| {
            let text = map.next_value()?;
            Ok(match key {
                "exact" => PathMatch::Exact(text),
                "prefix" => PathMatch::Prefix(text),
                _ => PathMatch::Regex(text),
            })
        })
    }
}

impl ShortForm for TextMatch {
    const EXPECTING: &'static str =
        "a text, or one of `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`, `{ present: true }`";

    fn from_text(text: &str) -> Result<TextMatch, String> {
        Ok(TextMatch::Exact(text.to_owned()))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<TextMatch, A::Error> {
        short::one_of(map, &["exact", "prefix", "regex", "present"], |key, map| {
            Ok(match key {
                "exact" => TextMatch::Exact(map.next_value()?),
                "prefix" => TextMatch::Prefix(map.next_value()?),
                "regex" => TextMatch::Regex(map.next_value()?),
                _ => TextMatch::Present(map.next_value()?),
            })
        })
    }
}

impl<'de> Deserialize<'de> for PathMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PathMatch, D::Error> {
        short::deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for TextMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextMatch, D::Error> {
        short::deserialize(deserializer)
    }
}

impl JsonSchema for PathMatch {
    fn schema_name() -> Cow<'static, str> {
        "PathMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`/v1` (a prefix), `{ exact: /old }`, `{ prefix: /v1 }` or `{ regex: \"^/user/[0-9]+$\" }`.",
            "anyOf": [
                { "type": "string", "description": "A prefix on segment borders." },
                {
                    "type": "object",
                    "properties": {
                        "exact": { "type": "string", "description": "The whole path." },
                        "prefix": {
                            "type": "string",
                            "description": "The start of the path, on a segment border: `/api` is no prefix of `/apix`.",
                        },
                        "regex": { "type": "string", "description": "Anywhere in the path, unless anchored." },
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl JsonSchema for TextMatch {
    fn schema_name() -> Cow<'static, str> {
        "TextMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value: a string is exact; or `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`, \
                            `{ present: true }`. Of repeated headers any may match.",
            "anyOf": [
                { "type": "string", "description": "The whole value." },
                {
                    "type": "object",
                    "properties": {
                        "exact": { "type": "string", "description": "The whole value." },
                        "prefix": { "type": "string", "description": "The start of the value." },
                        "regex": { "type": "string", "description": "Anywhere in the value, unless anchored." },
                        "present": {
                            "type": "boolean",
                            "description": "There at all (`true`), or not at all (`false`).",
                        },
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}
