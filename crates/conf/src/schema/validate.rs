//! Holds a tree against a schema and finds everything that does not fit.
//!
//! Reads the part of JSON Schema that our types make ([`unknown_keywords`] names what it would not
//! look at), and says what is wrong in the document's words rather than the schema's.

mod alternatives;
mod scalars;

use serde_json::Value as Json;

use super::{
    resolve,
    say::{self, ticked},
    suggest,
};
use crate::{
    node::{Map, Node, Place, Value},
    path::Path,
    report::{Diagnostic, Report},
    secret,
};

/// Adds everything to the report in which the value is not as the schema says. Secrets are tried: one
/// that cannot be read is a problem.
pub fn validate(node: &Node, schema: &Json, at: &Path, report: &mut Report) {
    Check { root: schema, path: at.clone(), report, sensitive: false }.value(node, schema);
}

/// Keywords that are looked at, or that say nothing about validity.
const KEYWORDS: &[&str] = &[
    "$defs",
    "$id",
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "default",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "title",
    "type",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Keywords in a schema that [`validate`] would pass over: a type that uses one needs more here.
#[must_use]
pub fn unknown_keywords(schema: &Json) -> Vec<String> {
    let mut unknown = Vec::new();
    find_unknown(schema, &mut unknown);
    unknown.sort();
    unknown.dedup();
    unknown
}

fn find_unknown(schema: &Json, unknown: &mut Vec<String>) {
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        match keyword.as_str() {
            "properties" | "patternProperties" | "$defs" => {
                value.as_object().into_iter().flatten().for_each(|(_, child)| find_unknown(child, unknown));
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                value.as_array().into_iter().flatten().for_each(|child| find_unknown(child, unknown));
            }
            "items" | "additionalProperties" => find_unknown(value, unknown),
            known if KEYWORDS.contains(&known) => {}
            other => unknown.push(other.to_owned()),
        }
    }
}

struct Check<'a, 'r> {
    root: &'a Json,
    path: Path,
    report: &'r mut Report,
    /// Inside a secret: values are not shown.
    sensitive: bool,
}

impl<'a> Check<'a, '_> {
    fn problem(&mut self, code: &'static str, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        let found = self.report.problem(code, &self.path, place, message);
        found.sensitive = self.sensitive;
        found
    }

    fn value(&mut self, node: &Node, schema: &'a Json) {
        if schema == &Json::Bool(false) {
            self.problem("value", node.place, "nothing can be written here");
            return;
        }
        if let Some(target) = resolve(self.root, schema) {
            self.value(node, target);
        }
        for part in list(schema, "allOf") {
            self.value(node, part);
        }
        for keyword in ["anyOf", "oneOf"] {
            let branches = list(schema, keyword);
            if !branches.is_empty() {
                self.alternatives(node, branches);
            }
        }
        if schema.get("format").and_then(Json::as_str) == Some("secret") {
            return self.secret(node, schema);
        }
        if !has_kind(node, schema) {
            return self.wrong_kind(node, schema);
        }
        self.choice(node, schema);
        match &node.value {
            Value::Str(text) => self.text(text, node.place, schema),
            Value::Int(_) | Value::Float(_) => self.number(node, schema),
            Value::List(items) => self.items(items, node.place, schema),
            Value::Map(map) => self.map(map, node.place, schema),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// True if the value has no problem with that schema.
    fn fits(&self, node: &Node, schema: &'a Json) -> bool {
        self.trial(node, schema) == 0
    }

    /// How many problems the value would have with that schema.
    fn trial(&self, node: &Node, schema: &'a Json) -> usize {
        let mut report = Report::new();
        let path = Path::root();
        Check { root: self.root, path, report: &mut report, sensitive: self.sensitive }.value(node, schema);
        report.len()
    }

    fn found(&self, node: &Node) -> String {
        if self.sensitive { say::found_kind(node).to_owned() } else { say::found(node) }
    }

    fn secret(&mut self, node: &Node, schema: &'a Json) {
        let outer = std::mem::replace(&mut self.sensitive, true);
        let before = self.report.len();
        match &node.value {
            Value::Map(map) => {
                self.map(map, node.place, schema);
                if self.report.len() == before
                    && let Err(fault) = crate::read::read::<crate::Secret>(node)
                {
                    self.problem("secret", node.place, fault.message);
                }
            }
            _ => {
                self.problem("secret", node.place, secret::BARE);
            }
        }
        self.sensitive = outer;
    }

    fn step(&mut self, key: impl Into<std::sync::Arc<str>>, node: &Node, schema: &'a Json) {
        self.path.push(key);
        self.value(node, schema);
        self.path.pop();
    }

    fn items(&mut self, items: &[Node], place: Place, schema: &'a Json) {
        self.count("items", items.len(), place, schema, ["minItems", "maxItems"]);
        let first = list(schema, "prefixItems");
        for (i, item) in items.iter().enumerate() {
            let Some(child) = first.get(i).or_else(|| schema.get("items")) else { continue };
            self.step(i.to_string(), item, child);
        }
        if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
            let mut seen = std::collections::HashSet::new();
            for item in items.iter().filter(|item| !seen.insert(item.digest())) {
                let message = format!("{} is written twice", self.found(item));
                self.problem("value", item.place, message);
            }
        }
    }

    fn count(&mut self, what: &str, count: usize, place: Place, schema: &Json, limits: [&str; 2]) {
        let limit = |keyword| schema.get(keyword).and_then(Json::as_u64);
        let [least, most] = limits.map(limit);
        let count = count as u64;
        if let Some(least) = least.filter(|least| count < *least) {
            self.problem("value", place, format!("expected at least {least} {what}, found {count}"));
        }
        if let Some(most) = most.filter(|most| count > *most) {
            self.problem("value", place, format!("expected at most {most} {what}, found {count}"));
        }
    }

    fn map(&mut self, map: &Map, place: Place, schema: &'a Json) {
        let known = known_keys(self.root, schema);
        let mut meant = Vec::new();
        for entry in map.entries() {
            match child_schema(schema, &entry.key) {
                Child::Schema(child) => self.step(entry.key.clone(), &entry.node, child),
                Child::Refused if !known.contains(&entry.key.as_ref()) => {
                    meant.extend(self.unknown_key(&entry.key, entry.place, &known, map));
                }
                Child::Refused | Child::Free => {}
            }
        }
        for key in list(schema, "required").iter().filter_map(Json::as_str) {
            if map.get(key).is_none() && !meant.iter().any(|m| m == key) {
                self.problem("missing_key", place, format!("missing key `{key}`"));
            }
        }
        self.count("keys", map.len(), place, schema, ["minProperties", "maxProperties"]);
    }

    /// Reports it; the key that was probably meant.
    fn unknown_key(&mut self, key: &str, place: Place, known: &[&str], map: &Map) -> Option<String> {
        let free = known.iter().copied().filter(|k| map.get(k).is_none());
        let meant = suggest(key, free);
        let message = format!("unknown key `{}`", say::shorten(key));
        self.path.push(key);
        let found = self.problem("unknown_key", place, message);
        if let Some(meant) = &meant {
            found.help(format!("did you mean `{meant}`?"));
        } else if known.is_empty() {
            found.help("there are no keys here");
        } else {
            found.help(format!("known here: {}", ticked(known.iter().copied()).join(", ")));
        }
        self.path.pop();
        meant
    }
}

enum Child<'a> {
    Schema(&'a Json),
    /// The schema has nothing to say of that key.
    Free,
    Refused,
}

fn child_schema<'a>(schema: &'a Json, key: &str) -> Child<'a> {
    if let Some(child) = schema.get("properties").and_then(|p| p.get(key)) {
        return Child::Schema(child);
    }
    for (pattern, child) in schema.get("patternProperties").and_then(Json::as_object).into_iter().flatten() {
        if scalars::matches(pattern, key) {
            return Child::Schema(child);
        }
    }
    match (schema.get("additionalProperties"), schema.get("unevaluatedProperties")) {
        (Some(Json::Bool(false)), _) | (None, Some(Json::Bool(false))) => Child::Refused,
        (Some(child @ Json::Object(_)), _) => Child::Schema(child),
        _ => Child::Free,
    }
}

/// The keys that a schema and its parts name.
fn known_keys<'a>(root: &'a Json, schema: &'a Json) -> Vec<&'a str> {
    let mut keys: Vec<&str> = Vec::new();
    let own = schema.get("properties").and_then(Json::as_object);
    keys.extend(own.into_iter().flatten().map(|(key, _)| key.as_str()));
    if let Some(target) = resolve(root, schema) {
        keys.extend(known_keys(root, target));
    }
    if schema.get("unevaluatedProperties").is_some() || own.is_none() {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            keys.extend(list(schema, keyword).iter().flat_map(|part| known_keys(root, part)));
        }
    }
    keys.dedup();
    keys
}

fn list<'a>(schema: &'a Json, keyword: &str) -> &'a [Json] {
    schema.get(keyword).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// True if the value is of a kind that `type` names.
fn has_kind(node: &Node, schema: &Json) -> bool {
    let types = say::types(schema);
    types.is_empty()
        || types.iter().any(|kind| match &node.value {
            Value::Null => *kind == "null",
            Value::Bool(_) => *kind == "boolean",
            Value::Int(_) => matches!(*kind, "integer" | "number"),
            Value::Float(_) => *kind == "number",
            Value::Str(_) => *kind == "string",
            Value::List(_) => *kind == "array",
            Value::Map(_) => *kind == "object",
        })
}
