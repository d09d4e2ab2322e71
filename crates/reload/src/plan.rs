//! How two documents differ, by object and field, and what applying that will disturb.

use std::{collections::BTreeSet, fmt, sync::Arc};

use evergate_conf::{
    Node, Path,
    diff::{Change, diff},
    node::{Map, Place, Value},
};
use serde::{Serialize, Serializer};

use crate::revision::Pin;

/// The differences. Secrets in it are hidden already.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// What changes, by object, in the order of their paths.
    pub objects: Vec<ObjectChange>,
    /// What applying it will disturb.
    pub touches: Vec<Touch>,
}

/// One object that changes: `routes.api`, `log.level`, `workers`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectChange {
    /// Which.
    pub object: Path,
    /// How.
    pub kind: Kind,
    /// Its fields that differ; of an object that is added or removed, one field: the whole.
    pub fields: Vec<FieldChange>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It stays itself, with other fields.
    Changed,
}

/// One field that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Where in the object; empty: the object itself.
    pub field: Path,
    /// What changes there.
    pub what: What,
}

/// What changes at a field.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The value that is written: before and after, `None` where there is none.
    Value(Option<Node>, Option<Node>),
    /// The content of the file that it names.
    Content,
}

/// Something that goes on while the change is applied and is disturbed by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touch {
    /// Why: the object.
    pub object: Path,
    /// What happens to whom, such as "12 connections are closed when their request is done".
    pub effect: String,
}

/// True if that value of the document must not be shown. Asked for a value and for all that it is in.
pub type Redactor = Arc<dyn Fn(&Path, &Node) -> bool + Send + Sync>;

/// The redactor for documents whose secrets are written as `conf` does: hides the value of every key `literal`.
#[must_use]
pub fn hide_literals() -> Redactor {
    Arc::new(|path, _| path.segments().last().is_some_and(|key| key.as_ref() == "literal"))
}

/// A document and the files that it refers to: one side of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// All layers merged.
    pub document: &'a Node,
    /// Sorted by path.
    pub pins: &'a [Pin],
}

impl Plan {
    /// What leads from `old` to `new`. Its cost follows the difference, unless the content of a file differs.
    #[must_use]
    pub fn between(old: Side<'_>, new: Side<'_>, redactor: &Redactor) -> Plan {
        let mut objects = Vec::new();
        for change in diff(old.document, new.document) {
            for change in by_object(change) {
                let hidden = Hidden { old: old.document, new: new.document, redactor };
                add(&mut objects, &change, &hidden);
            }
        }
        let contents = changed_contents(old.pins, new.pins);
        if !contents.is_empty() {
            mark_contents(&mut Path::root(), new.document, &contents, &mut objects);
        }
        Plan { objects, touches: Vec::new() }
    }

    /// True if nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The names of the objects of a section that change, such as those of `routes`.
    pub fn section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = (&'a str, Kind)> {
        self.objects.iter().filter_map(move |o| match o.object.segments() {
            [first, name] if first.as_ref() == section => Some((name.as_ref(), o.kind)),
            _ => None,
        })
    }

    /// True if something in that section changes; also for a section that is one value, such as `workers`.
    #[must_use]
    pub fn has_section(&self, section: &str) -> bool {
        self.objects.iter().any(|o| o.object.segments().first().is_some_and(|s| s.as_ref() == section))
    }

    /// One line for people, with at most that many changes.
    #[must_use]
    pub fn summary(&self, most: usize) -> String {
        let lines: Vec<String> = self.lines().take(most).collect();
        let all: usize = self.objects.iter().map(|o| o.fields.len()).sum();
        match all.saturating_sub(lines.len()) {
            _ if all == 0 => "nothing".to_owned(),
            0 => lines.join(", "),
            more if lines.is_empty() => format!("{more} changes"),
            more => format!("{} and {more} more", lines.join(", ")),
        }
    }

    /// Each change as `routes.api.timeout 30s → 10s`, `routes.old removed`.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.objects.iter().flat_map(|o| o.fields.iter().map(|f| line(o, f)))
    }
}

fn line(object: &ObjectChange, field: &FieldChange) -> String {
    let path: Path = object.object.segments().iter().chain(field.field.segments()).cloned().collect();
    match (&field.what, object.kind) {
        (What::Content, _) => format!("{path} has another content"),
        (What::Value(_, Some(new)), Kind::Added) => format!("{path} added: {}", short(new)),
        (What::Value(..), Kind::Removed) => format!("{path} removed"),
        (What::Value(old, new), _) => {
            let side = |n: &Option<Node>| n.as_ref().map_or("unset".to_owned(), short);
            format!("{path} {} → {}", side(old), side(new))
        }
    }
}

/// A value in one short line.
fn short(node: &Node) -> String {
    const CHARS_MAX: usize = 120;
    let text = match &node.value {
        Value::Str(s) if !s.is_empty() && !s.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            s.to_string()
        }
        _ => serde_json::to_string(node).unwrap_or_default(),
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// A change of a whole section, as a change of each of its objects.
fn by_object(change: Change) -> Vec<Change> {
    let map = |side: &Option<Node>| side.as_ref().and_then(|n| n.as_map().cloned());
    let absent_or_map = |side: &Option<Node>| side.as_ref().is_none_or(|n| n.as_map().is_some());
    let (old, new) = (map(&change.before), map(&change.after));
    let sections = change.path.segments().len() < 2
        && absent_or_map(&change.before)
        && absent_or_map(&change.after)
        && [&old, &new].iter().any(|m| m.as_ref().is_some_and(|m| !m.is_empty()));
    if !sections {
        return vec![change];
    }
    let mut changes = Vec::new();
    let nothing = Arc::new(Map::default());
    for entry in old.as_ref().unwrap_or(&nothing).entries() {
        let path = change.path.join(Arc::clone(&entry.key));
        changes.push(Change { path, before: Some(entry.node.clone()), after: None });
    }
    for entry in new.as_ref().unwrap_or(&nothing).entries() {
        let path = change.path.join(Arc::clone(&entry.key));
        changes.push(Change { path, before: None, after: Some(entry.node.clone()) });
    }
    if change.path.segments().is_empty() {
        changes.into_iter().flat_map(by_object).collect()
    } else {
        changes
    }
}

struct Hidden<'a> {
    old: &'a Node,
    new: &'a Node,
    redactor: &'a Redactor,
}

/// Changes come in the order of their paths, so that those of one object follow each other.
fn add(objects: &mut Vec<ObjectChange>, change: &Change, hidden: &Hidden<'_>) {
    let keys = change.path.segments();
    let (object, field) = keys.split_at(keys.len().min(2));
    let kind = match (&change.before, &change.after) {
        (None, _) if field.is_empty() => Kind::Added,
        (_, None) if field.is_empty() => Kind::Removed,
        _ => Kind::Changed,
    };
    let show =
        |root, value: &Option<Node>| value.as_ref().map(|v| redact(root, &change.path, v, hidden.redactor));
    let what = What::Value(show(hidden.old, &change.before), show(hidden.new, &change.after));
    let field = FieldChange { field: field.iter().cloned().collect(), what };
    match objects.last_mut() {
        Some(last) if last.object.segments() == object => last.fields.push(field),
        _ => {
            objects.push(ObjectChange {
                object: object.iter().cloned().collect(),
                kind,
                fields: vec![field],
            });
        }
    }
}

/// The value at a path of `root`, with secrets replaced by `***`.
#[must_use]
pub fn redact(root: &Node, path: &Path, value: &Node, redactor: &Redactor) -> Node {
    let (mut at, mut node) = (Path::root(), Some(root));
    for key in path.segments() {
        if node.is_some_and(|n| redactor(&at, n)) {
            return stars_at(value.place);
        }
        at.push(Arc::clone(key));
        node = node.and_then(|n| n.get(key));
    }
    redact_below(&mut at, value, redactor)
}

fn redact_below(at: &mut Path, node: &Node, redactor: &Redactor) -> Node {
    if redactor(at, node) {
        return stars_at(node.place);
    }
    let mut below = |key: Arc<str>, child: &Node| {
        at.push(key);
        let shown = redact_below(at, child, redactor);
        at.pop();
        shown
    };
    match &node.value {
        Value::Map(map) => {
            let mut same = true;
            let shown = |e: &evergate_conf::Entry| {
                let node = below(Arc::clone(&e.key), &e.node);
                same &= node.same(&e.node);
                evergate_conf::Entry { node, ..e.clone() }
            };
            let entries: Vec<_> = map.entries().map(shown).collect();
            if same {
                node.clone()
            } else {
                Node { value: Value::Map(Arc::new(Map::new(entries))), place: node.place }
            }
        }
        Value::List(list) => {
            let items: Vec<_> =
                list.iter().enumerate().map(|(i, n)| below(i.to_string().into(), n)).collect();
            let same = items.iter().zip(list.iter()).all(|(a, b)| a.same(b));
            if same { node.clone() } else { Node { value: Value::List(items.into()), place: node.place } }
        }
        _ => node.clone(),
    }
}

/// Stands where a secret is.
fn stars_at(place: Place) -> Node {
    Node { value: Value::Str("***".into()), place }
}

/// Paths of files that both sides pin, with different contents.
fn changed_contents<'a>(old: &'a [Pin], new: &'a [Pin]) -> BTreeSet<&'a str> {
    let before = |pin: &&Pin| {
        let at = old.binary_search_by(|o| o.path.cmp(&pin.path)).ok();
        at.and_then(|i| old.get(i)).is_some_and(|o| o.digest != pin.digest)
    };
    new.iter().filter(before).filter_map(|pin| pin.path.to_str()).collect()
}

/// Finds where the files are named.
fn mark_contents(at: &mut Path, node: &Node, files: &BTreeSet<&str>, objects: &mut Vec<ObjectChange>) {
    match &node.value {
        Value::Str(text) if files.contains(text.as_ref()) => {
            let (object, field) = at.segments().split_at(at.segments().len().min(2));
            let at = objects.partition_point(|o| o.object.segments() < object);
            if objects.get(at).is_none_or(|o| o.object.segments() != object) {
                let object = object.iter().cloned().collect();
                objects.insert(at, ObjectChange { object, kind: Kind::Changed, fields: Vec::new() });
            }
            let Some(change) = objects.get_mut(at) else { return };
            if change.kind == Kind::Changed && !change.fields.iter().any(|f| f.field.segments() == field) {
                change
                    .fields
                    .push(FieldChange { field: field.iter().cloned().collect(), what: What::Content });
            }
        }
        Value::Map(map) => {
            for entry in map.entries() {
                at.push(Arc::clone(&entry.key));
                mark_contents(at, &entry.node, files, objects);
                at.pop();
            }
        }
        Value::List(list) => {
            for (i, item) in list.iter().enumerate() {
                at.push(i.to_string());
                mark_contents(at, item, files, objects);
                at.pop();
            }
        }
        _ => {}
    }
}

impl Serialize for FieldChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("field", &self.field)?;
        match &self.what {
            What::Content => map.serialize_entry("content", "changed")?,
            What::Value(old, new) => {
                if let Some(old) = old {
                    map.serialize_entry("old", old)?;
                }
                if let Some(new) = new {
                    map.serialize_entry("new", new)?;
                }
            }
        }
        map.end()
    }
}

/// One change a line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        for touch in &self.touches {
            writeln!(f, "! {}: {}", touch.object, touch.effect)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
