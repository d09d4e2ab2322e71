//! The layer that edits write.

use std::sync::Arc;

use evergate_conf::{Entry, Map, Node, Value, amend, node::Place, sorted::Edit};

/// The overlay on `base` after an edit.
pub(super) fn edited(base: &Node, overlay: &Node, patch: &Node) -> Node {
    let amended = amend(base, overlay, patch);
    tidy_along(&amended, Some(base), patch).unwrap_or_else(Node::empty_map)
}

/// The overlay without what does nothing to the base.
pub(super) fn tidy(base: &Node, overlay: &Node) -> Node {
    without_idle_nulls(overlay, Some(base)).unwrap_or_else(Node::empty_map)
}

/// As [`without_idle_nulls`], looking only at what the patch touched: the rest was tidy before.
fn tidy_along(overlay: &Node, base: Option<&Node>, patch: &Node) -> Option<Node> {
    let (Some(map), Some(changes)) = (overlay.as_map(), patch.as_map()) else {
        return without_idle_nulls(overlay, base);
    };
    let mut edits = Vec::new();
    for change in changes.entries() {
        let Some(entry) = map.entry(&change.key) else { continue };
        match tidy_along(&entry.node, base.and_then(|b| b.get(&change.key)), &change.node) {
            Some(node) if node.same(&entry.node) => {}
            Some(node) => edits.push(Edit::Put(Entry { node, ..entry.clone() })),
            None => edits.push(Edit::Take(&*change.key)),
        }
    }
    let map = if edits.is_empty() { Arc::clone(map) } else { Arc::new(map.with(edits)) };
    if map.is_empty() && base.is_some_and(|b| b.as_map().is_some()) {
        return None;
    }
    Some(Node { value: Value::Map(map), place: overlay.place })
}

/// The overlay without what does nothing to the base, so that what is set and unset again by API leaves nothing
/// behind: nulls that remove nothing, and maps that are empty then. `None` if nothing is left of it.
fn without_idle_nulls(overlay: &Node, base: Option<&Node>) -> Option<Node> {
    let Some(map) = overlay.as_map() else {
        return (!overlay.is_null() || base.is_some()).then(|| overlay.clone());
    };
    let mut same = true;
    let keep = |entry: &Entry| {
        let node = without_idle_nulls(&entry.node, base.and_then(|b| b.get(&entry.key)));
        same &= node.as_ref().is_some_and(|n| n.same(&entry.node));
        Some(Entry { node: node?, ..entry.clone() })
    };
    let entries: Vec<Entry> = map.entries().filter_map(keep).collect();
    if entries.is_empty() && base.is_some_and(|b| b.as_map().is_some()) {
        return None;
    }
    Some(if same {
        overlay.clone()
    } else {
        Node { value: Value::Map(Arc::new(Map::new(entries))), place: overlay.place }
    })
}

/// The tree without places: the text that they were in is gone. Keys and texts that `known` has where they stand are its own:
/// an overlay of many edits need not hold them a second time.
pub(super) fn without_places(node: &Node, known: Option<&Node>) -> Node {
    let value = match (&node.value, known.map(|known| &known.value)) {
        (Value::Map(map), known) => {
            let known = if let Some(Value::Map(known)) = known { Some(known) } else { None };
            let entry = |e: &Entry| {
                let known = known.and_then(|known| known.entry(&e.key));
                let key = Arc::clone(known.map_or(&e.key, |known| &known.key));
                let node = without_places(&e.node, known.map(|known| &known.node));
                Entry { key, place: Place::default(), node }
            };
            Value::Map(Arc::new(Map::new(map.entries().map(entry).collect())))
        }
        (Value::List(list), Some(Value::List(known))) => {
            Value::List(list.iter().enumerate().map(|(i, item)| without_places(item, known.get(i))).collect())
        }
        (Value::List(list), _) => Value::List(list.iter().map(|item| without_places(item, None)).collect()),
        (Value::Str(text), Some(Value::Str(known))) if text == known => Value::Str(Arc::clone(known)),
        (other, _) => other.clone(),
    };
    Node::made(value)
}

#[cfg(test)]
mod tests {
    use evergate_conf::{FileId, Format, Limits, format::parse};

    use super::*;

    fn read(text: &str) -> Node {
        parse(text, Format::Yaml, FileId(1), &Limits::default()).unwrap()
    }

    #[test]
    fn what_is_known_is_not_held_twice() {
        let known = read("a: { hosts: [one, two], to: x }");
        let text = read("a: { hosts: [one, three], to: y }\nb: [{ c: d }]");
        let bare = without_places(&text, Some(&known));
        assert_eq!(bare, text);
        assert!(!format!("{bare:?}").contains("line: 1"), "{bare:?}");
        let key = |node: &Node, key: &str| Arc::clone(&node.as_map().unwrap().entry(key).unwrap().key);
        assert!(Arc::ptr_eq(&key(&bare, "a"), &key(&known, "a")));
        let a = |node: &Node| node.get("a").unwrap().clone();
        assert!(Arc::ptr_eq(&key(&a(&bare), "to"), &key(&a(&known), "to")));
        let host = |node: &Node| match &node.at(["a", "hosts", "0"]).unwrap().value {
            Value::Str(text) => Arc::clone(text),
            other => panic!("{other:?}"),
        };
        assert!(Arc::ptr_eq(&host(&bare), &host(&known)));
    }
}
