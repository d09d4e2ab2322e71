//! `anyOf` and `oneOf`: finds the branch that was meant, and says what is wrong there.

use std::{cmp::Reverse, sync::Arc};

use serde_json::Value as Json;

use super::{Check, has_kind, known_keys, list};
use crate::{
    node::{Map, Node, Value},
    schema::{
        resolve,
        say::{self, one_of, ticked, wants},
    },
};

impl<'a> Check<'a, '_> {
    pub(super) fn alternatives(&mut self, node: &Node, branches: &'a [Json]) {
        if branches.iter().any(|branch| self.fits(node, branch)) {
            return;
        }
        let near: Vec<&Json> = branches.iter().filter(|b| self.takes_kind(node, b)).collect();
        match (&node.value, near.as_slice()) {
            (_, []) => self.no_branch(node, branches),
            (_, [only]) if self.choices(only).is_empty() => self.value(node, only),
            (Value::Map(map), _) => self.map_branches(node, map, &near),
            (Value::Str(_), _) if near.iter().all(|b| !self.choices(b).is_empty()) => {
                let words: Vec<String> = near.iter().flat_map(|b| self.choices(b)).collect();
                let others: Vec<&Json> = branches.iter().filter(|b| self.choices(b).is_empty()).collect();
                let others: Vec<String> = others.into_iter().filter_map(|b| self.other(b)).collect();
                self.unknown_value(node, &words, &others);
            }
            _ => {
                if let Some(best) = near.iter().min_by_key(|b| self.trial(node, b)) {
                    self.value(node, best);
                }
            }
        }
    }

    /// What else could stand there, in words.
    fn other(&self, branch: &Json) -> Option<String> {
        (say::types(branch) != ["null"]).then(|| wants(self.root, branch))
    }

    fn no_branch(&mut self, node: &Node, branches: &'a [Json]) {
        let mut words: Vec<String> = branches.iter().filter_map(|b| self.other(b)).collect();
        words.dedup();
        // The branch for a single type knows its usual slips.
        if let [only] = words.as_slice() {
            let only = only.clone();
            if let Some(branch) = branches.iter().find(|b| self.other(b).as_ref() == Some(&only)) {
                return self.value(node, branch);
            }
        }
        let wanted = say::wants_any(self.root, branches);
        let message = format!("expected {wanted}, found {}", self.found(node));
        self.problem("type", node.place, message);
    }

    /// True if the branch takes values of that kind, whatever they hold.
    fn takes_kind(&self, node: &Node, schema: &Json) -> bool {
        if let Some(target) = resolve(self.root, schema) {
            return self.takes_kind(node, target);
        }
        // A secret says itself why it is not written as a text.
        if schema.get("format").and_then(Json::as_str) == Some("secret") {
            return matches!(node.value, Value::Map(_) | Value::Str(_));
        }
        let several = |keyword| list(schema, keyword);
        let (any, one, all) = (several("anyOf"), several("oneOf"), several("allOf"));
        has_kind(node, schema)
            && (any.is_empty() || any.iter().any(|b| self.takes_kind(node, b)))
            && (one.is_empty() || one.iter().any(|b| self.takes_kind(node, b)))
            && all.iter().all(|b| self.takes_kind(node, b))
    }

    /// The texts of a branch that takes nothing else.
    fn choices(&self, schema: &Json) -> Vec<String> {
        if let Some(target) = resolve(self.root, schema) {
            return self.choices(target);
        }
        let own: Vec<String> = say::choices(schema).into_iter().map(say::plain).collect();
        let parts = list(schema, "oneOf").iter().chain(list(schema, "anyOf"));
        let strings = parts.filter(|p| say::types(p) == ["string"] || !say::choices(p).is_empty());
        own.into_iter().chain(strings.flat_map(|p| self.choices(p))).collect()
    }

    fn map_branches(&mut self, node: &Node, map: &Map, near: &[&'a Json]) {
        let near: Vec<&'a Json> = near.iter().flat_map(|b| self.flatten(b)).collect();
        if let Some(tag) = self.tag(&near) {
            return self.tagged(node, map, tag, &near);
        }
        let all: Vec<&str> = near.iter().flat_map(|b| known_keys(self.root, b)).collect();
        let known = |b: &&'a Json| {
            let keys = known_keys(self.root, b);
            map.entries().filter(|e| keys.contains(&e.key.as_ref())).count()
        };
        // Of equals, the branch that was begun first.
        let begun = |b: &&'a Json| {
            let keys = known_keys(self.root, b);
            let own = map.entries().filter(|e| keys.contains(&e.key.as_ref()));
            own.map(|e| (e.place.line, e.place.column)).min()
        };
        let best = near.iter().copied().max_by_key(|b| (known(b), Reverse((self.trial(node, b), begun(b)))));
        let Some(best) = best else { return };
        if map.is_empty() {
            let message = format!("expected one of the keys {}", one_of(&ticked(all.iter().copied())));
            self.problem("missing_key", node.place, message);
        } else if known(&best) == 0 && !all.is_empty() {
            for entry in map.entries() {
                self.unknown_key(&entry.key, entry.place, &all, map);
            }
        } else {
            let rest = self.exclusive(node, map, best, &all);
            self.value(&rest, best);
        }
    }

    /// Branches of branches, so that an optional choice is a choice.
    fn flatten(&self, schema: &'a Json) -> Vec<&'a Json> {
        if let Some(target) = resolve(self.root, schema) {
            return self.flatten(target);
        }
        let parts: Vec<&Json> = list(schema, "oneOf").iter().chain(list(schema, "anyOf")).collect();
        if parts.is_empty() || schema.get("properties").is_some() {
            return vec![schema];
        }
        let maps = parts.into_iter().filter(|p| self.takes_kind(&Node::empty_map(), p));
        maps.flat_map(|p| self.flatten(p)).collect()
    }

    /// Reports keys that belong to other branches; the value without them.
    fn exclusive(&mut self, node: &Node, map: &Map, best: &'a Json, all: &[&str]) -> Node {
        let own = known_keys(self.root, best);
        let is_foreign = |key: &str| !own.contains(&key) && all.contains(&key);
        let (foreign, rest): (Vec<_>, Vec<_>) = map.entries().cloned().partition(|e| is_foreign(&e.key));
        let with: Vec<&str> = rest.iter().map(|e| e.key.as_ref()).filter(|k| own.contains(k)).collect();
        for entry in foreign {
            let message =
                format!("`{}` cannot stand beside {}", entry.key, one_of(&ticked(with.iter().copied())));
            self.problem("exclusive_keys", entry.place, message).help("keep one of them");
        }
        Node { value: Value::Map(Arc::new(Map::new(rest))), place: node.place }
    }

    /// The key whose text says which branch it is, if all branches have such a key.
    fn tag(&self, near: &[&'a Json]) -> Option<&'a str> {
        let [first, others @ ..] = near else { return None };
        let properties = first.get("properties")?.as_object()?;
        let is_tag = |branch: &Json, key: &str| {
            branch.get("properties").and_then(|p| p.get(key)).is_some_and(|p| !say::choices(p).is_empty())
                && list(branch, "required").iter().any(|r| r.as_str() == Some(key))
        };
        let tag = properties.keys().find(|key| near.iter().all(|b| is_tag(b, key)))?;
        (!others.is_empty()).then_some(tag.as_str())
    }

    fn tagged(&mut self, node: &Node, map: &Map, tag: &'a str, near: &[&'a Json]) {
        let words = |b: &&'a Json| -> Vec<String> {
            let property = b.get("properties").and_then(|p| p.get(tag));
            property.map(say::choices).unwrap_or_default().into_iter().map(say::plain).collect()
        };
        let Some(written) = map.get(tag) else {
            let all: Vec<String> = near.iter().flat_map(words).collect();
            let message = format!("missing key `{tag}`");
            let help = format!("it is one of {}", one_of(&ticked(all.iter().map(String::as_str))));
            self.problem("missing_key", node.place, message).help(help);
            return;
        };
        let text = written.as_str().unwrap_or_default();
        match near.iter().find(|b| words(b).iter().any(|w| w == text)) {
            Some(branch) => self.value(node, branch),
            None => {
                let all: Vec<String> = near.iter().flat_map(words).collect();
                self.path.push(tag);
                self.unknown_value(written, &all, &[]);
                self.path.pop();
            }
        }
    }
}
