//! Where in a document paths are written.

use std::{
    collections::BTreeMap,
    path::{Component, Path as FsPath, PathBuf},
};

use serde_json::Value as Json;

use super::resolve;
use crate::node::{Node, Value, rewrite_entries, rewrite_items};

/// One kind of place in the document where a path is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPattern {
    /// The way there.
    pub segments: Vec<Step>,
    /// True if the content of the file is part of the revision.
    pub pinned: bool,
}

/// One step of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// That key.
    Key(String),
    /// Every key, every item of a list.
    Any,
}

/// Where the schema says that a path is written, sorted. A type that holds itself is followed once.
#[must_use]
pub fn paths(schema: &Json) -> Vec<PathPattern> {
    let mut search = Search { root: schema, at: Vec::new(), inside: Vec::new(), found: Vec::new() };
    search.visit(schema);
    search.found.sort();
    search.found.dedup();
    search.found
}

struct Search<'a> {
    root: &'a Json,
    at: Vec<Step>,
    /// References that are being followed, against rings.
    inside: Vec<&'a str>,
    found: Vec<PathPattern>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, schema: &'a Json) {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str)
            && !self.inside.contains(&name)
            && let Some(target) = resolve(self.root, schema)
        {
            self.inside.push(name);
            self.visit(target);
            self.inside.pop();
        }
        match schema.get("format").and_then(Json::as_str) {
            Some("file") => self.found.push(PathPattern { segments: self.at.clone(), pinned: true }),
            Some("location") => self.found.push(PathPattern { segments: self.at.clone(), pinned: false }),
            _ => {}
        }
        for (key, child) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            self.step(Step::Key(key.clone()), child);
        }
        for keyword in ["additionalProperties", "items"] {
            if let Some(child) = schema.get(keyword) {
                self.step(Step::Any, child);
            }
        }
        for child in schema.get("patternProperties").and_then(Json::as_object).into_iter().flatten() {
            self.step(Step::Any, child.1);
        }
        for child in schema.get("prefixItems").and_then(Json::as_array).into_iter().flatten() {
            self.step(Step::Any, child);
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for child in schema.get(keyword).and_then(Json::as_array).into_iter().flatten() {
                self.visit(child);
            }
        }
    }

    fn step(&mut self, step: Step, schema: &'a Json) {
        self.at.push(step);
        self.visit(schema);
        self.at.pop();
    }
}

/// Patterns side by side, so that a tree is walked once for all of them.
#[derive(Debug, Default)]
pub struct Patterns {
    keys: BTreeMap<String, Patterns>,
    any: Option<Box<Patterns>>,
    /// Here is a path; true if its content counts.
    pinned: Option<bool>,
}

impl Patterns {
    /// Joins them.
    #[must_use]
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a PathPattern>) -> Patterns {
        let mut root = Patterns::default();
        for pattern in patterns {
            let mut at = &mut root;
            for step in &pattern.segments {
                at = match step {
                    Step::Key(key) => at.keys.entry(key.clone()).or_default(),
                    Step::Any => at.any.get_or_insert_default(),
                };
            }
            at.pinned = Some(pattern.pinned || at.pinned == Some(true));
        }
        root
    }

    /// The tree with its relative paths made absolute by the folder; what has none is shared with `node`.
    #[must_use]
    pub fn absolute(&self, node: &Node, folder: &FsPath) -> Node {
        rewrite(&[self], node, folder).unwrap_or_else(|| node.clone())
    }

    /// Calls `found` with each path whose content counts.
    pub fn pinned<'n>(&self, node: &'n Node, found: &mut impl FnMut(&'n str)) {
        collect(&[self], node, found);
    }

    fn below<'p>(here: &[&'p Patterns], key: Option<&str>) -> Vec<&'p Patterns> {
        let keyed = here.iter().filter_map(|p| p.keys.get(key?));
        keyed.chain(here.iter().filter_map(|p| p.any.as_deref())).collect()
    }
}

/// The new node, or `None` if nothing changes.
fn rewrite(here: &[&Patterns], node: &Node, folder: &FsPath) -> Option<Node> {
    if here.is_empty() {
        return None;
    }
    let value = match &node.value {
        Value::Str(text) => {
            let is_path = here.iter().any(|p| p.pinned.is_some());
            let path = join(folder, text).filter(|path| is_path && path.as_str() != text.as_ref())?;
            Value::Str(path.into())
        }
        Value::List(items) => {
            let below = Patterns::below(here, None);
            Value::List(rewrite_items(items, |item| rewrite(&below, item, folder))?)
        }
        Value::Map(map) => Value::Map(rewrite_entries(map, |e| {
            rewrite(&Patterns::below(here, Some(&e.key)), &e.node, folder)
        })?),
        _ => return None,
    };
    Some(Node { value, place: node.place })
}

fn collect<'n>(here: &[&Patterns], node: &'n Node, found: &mut impl FnMut(&'n str)) {
    if here.is_empty() {
        return;
    }
    match &node.value {
        Value::Str(text) if here.iter().any(|p| p.pinned == Some(true)) => found(text),
        Value::List(items) => {
            let below = Patterns::below(here, None);
            items.iter().for_each(|item| collect(&below, item, found));
        }
        Value::Map(map) => {
            for entry in map.entries() {
                collect(&Patterns::below(here, Some(&entry.key)), &entry.node, found);
            }
        }
        _ => {}
    }
}

/// An absolute path without `.` steps. `..` stays: behind a symbolic link it is not what it seems.
pub(crate) fn join(folder: &FsPath, text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let path: PathBuf = folder.join(text).components().filter(|c| *c != Component::CurDir).collect();
    path.into_os_string().into_string().ok()
}
