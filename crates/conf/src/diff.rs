//! How two trees differ, by path. Equal parts are not looked into.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    node::{Node, Pair, Value},
    path::Path,
    secret,
};

/// One value that differs. A map that is only on one side is one change; where both sides are maps, their
/// values are compared one by one.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which value.
    pub path: Path,
    /// What it was; `None` if it was added.
    pub before: Option<Node>,
    /// What it is; `None` if it was removed.
    pub after: Option<Node>,
}

impl Change {
    /// The change as it may be shown: values of secrets are `***`.
    #[must_use]
    pub fn redacted(&self) -> Change {
        let inside = self.path.segments().iter().any(|key| key.as_ref() == "literal");
        let show = |node: &Node| match inside {
            true => Node { value: Value::Str(secret::HIDDEN.into()), place: node.place },
            false => secret::redact(node),
        };
        Change {
            path: self.path.clone(),
            before: self.before.as_ref().map(show),
            after: self.after.as_ref().map(show),
        }
    }
}

/// The changes that lead from `a` to `b`, in the order of their paths.
#[must_use]
pub fn diff(a: &Node, b: &Node) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(&mut Path::root(), a, b, &mut changes);
    changes
}

fn compare(at: &mut Path, a: &Node, b: &Node, changes: &mut Vec<Change>) {
    if a.same(b) {
        return;
    }
    let (Value::Map(x), Value::Map(y)) = (&a.value, &b.value) else {
        if a != b {
            changes.push(Change { path: at.clone(), before: Some(a.clone()), after: Some(b.clone()) });
        }
        return;
    };
    for (key, before, after) in x.pairs(y).filter_map(sides) {
        at.push(Arc::clone(key));
        match (before, after) {
            (Some(before), Some(after)) => compare(at, before, after, changes),
            (before, after) => {
                changes.push(Change { path: at.clone(), before: before.cloned(), after: after.cloned() });
            }
        }
        at.pop();
    }
}

/// The key of a pair, and its two values.
pub(crate) fn sides(pair: Pair<'_>) -> Option<(&Arc<str>, Option<&Node>, Option<&Node>)> {
    let (before, after) = pair;
    Some((&before.or(after)?.key, before.map(|e| &e.node), after.map(|e| &e.node)))
}

/// As JSON: `{ path, before, after }`, secrets hidden; a side that is missing is left out.
impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = self.redacted();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &shown.path)?;
        if let Some(before) = &shown.before {
            map.serialize_entry("before", before)?;
        }
        if let Some(after) = &shown.after {
            map.serialize_entry("after", after)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
