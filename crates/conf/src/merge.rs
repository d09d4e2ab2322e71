//! Merge patches (RFC 7396): layers onto each other, edits onto a document.
//!
//! Results share all that did not change with what they were made from.

use std::sync::Arc;

use crate::{
    diff::sides,
    node::{Entry, Map, Node, Value},
    sorted::Edit,
};

/// Entries of a map that is one object, and no list of objects.
const SMALL: usize = 16;

/// What a null in a patch does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    /// It removes the key.
    Remove,
    /// It stays: the result is a patch itself.
    Keep,
}

/// `base` changed by `patch`: maps are merged, a null removes its key, anything else replaces (RFC 7396
/// section 2). Values that stay equal are the very same allocations as in `base`, unless the patch names all that is in a small map.
#[must_use]
pub fn merge(base: &Node, patch: &Node) -> Node {
    join(base, patch, Nulls::Remove)
}

/// Layers merged in their order, without nulls: as [`merge`] of each into those before, but the cost does
/// not grow with the number of layers.
#[must_use]
pub fn merge_all(layers: &[&Node]) -> Node {
    stack(layers).unwrap_or_else(Node::empty_map)
}

/// One patch that does what `first` and then `second` do: `merge(x, compose(a, b))` equals
/// `merge(merge(x, a), b)`, with one exception that a merge patch cannot say: where `first` removes or
/// replaces a map and `second` makes a map again, keys of `x` come back. With `x` at hand use [`amend`].
#[must_use]
pub fn compose(first: &Node, second: &Node) -> Node {
    join(first, second, Nulls::Keep)
}

/// The overlay for which `merge(base, amend(base, overlay, patch))` equals
/// `merge(merge(base, overlay), patch)`, always: an edit of an overlay that lies on `base`.
#[must_use]
pub fn amend(base: &Node, overlay: &Node, patch: &Node) -> Node {
    let (Value::Map(written), Value::Map(changes)) = (&overlay.value, &patch.value) else {
        let target = merge(overlay, patch);
        return if target.as_map().is_some() { make_patch(base, &target) } else { target };
    };
    let empty = Node::empty_map();
    let base = base.as_map().map_or(&empty, |_| base);
    let edit = |change: &Entry| {
        let node = match (written.get(&change.key), base.get(&change.key)) {
            (Some(old), Some(below)) => amend(below, old, &change.node),
            (Some(old), None) => amend(&empty, old, &change.node),
            (None, _) => change.node.clone(),
        };
        Edit::Put(Entry { node, ..change.clone() })
    };
    let map = written.with(changes.entries().map(edit).collect());
    Node { value: Value::Map(Arc::new(map)), place: overlay.place }
}

/// The document without keys whose value is null; items of lists are left alone.
#[must_use]
pub fn strip_nulls(node: &Node) -> Node {
    match &node.value {
        Value::Map(map) if map.has_nulls() => {
            let entries = map.entries().filter(|e| !e.node.is_null());
            let entries = entries.map(|e| Entry { node: strip_nulls(&e.node), ..e.clone() }).collect();
            Node { value: Value::Map(Arc::new(Map::new(entries))), place: node.place }
        }
        _ => node.clone(),
    }
}

/// The smallest patch for which `merge(a, make_patch(a, b)) == b`, if `b` has no nulls in maps.
#[must_use]
pub fn make_patch(a: &Node, b: &Node) -> Node {
    let (Value::Map(x), Value::Map(y)) = (&a.value, &b.value) else { return b.clone() };
    let entry = |key: &Arc<str>, node: Node| Entry { key: Arc::clone(key), place: node.place, node };
    let mut entries = Vec::new();
    for (key, before, after) in x.pairs(y).filter_map(sides) {
        match (before, after) {
            (Some(before), Some(after)) if before.same(after) || before == after => {}
            (Some(before), Some(after)) => entries.push(entry(key, make_patch(before, after))),
            (None, Some(after)) => entries.push(entry(key, after.clone())),
            (_, None) => entries.push(entry(key, Node::made(Value::Null))),
        }
    }
    Node { value: Value::Map(Arc::new(Map::new(entries))), place: b.place }
}

/// Several values for one key, each merged into those before; `None` if the last word is to remove it.
fn stack(layers: &[&Node]) -> Option<Node> {
    let replaced = layers.iter().rposition(|n| n.as_map().is_none());
    let maps = layers.get(replaced.map_or(0, |at| at + 1)..).unwrap_or_default();
    match (maps, replaced.and_then(|at| layers.get(at))) {
        ([], Some(node)) => (!node.is_null()).then(|| Node::clone(node)),
        ([], None) => None,
        ([only], _) => Some(strip_nulls(only)),
        ([first, ..], _) => {
            let mut written: Vec<&Entry> =
                maps.iter().filter_map(|n| n.as_map()).flat_map(|m| m.entries()).collect();
            // Stable: of one key, the later layers stay behind the earlier.
            written.sort_by(|a, b| a.key.cmp(&b.key));
            let groups = written.chunk_by(|a, b| a.key == b.key);
            let entries = groups.filter_map(|group| {
                let nodes: Vec<&Node> = group.iter().map(|e| &e.node).collect();
                let last = group.last()?;
                Some(Entry { key: Arc::clone(&last.key), place: last.place, node: stack(&nodes)? })
            });
            let map = Map::from_sorted(entries.collect());
            Some(Node { value: Value::Map(Arc::new(map)), place: first.place })
        }
    }
}

/// [`merge_all`] of `new`, out of what it was for `old`: the same layers, of which some say something else. The cost follows
/// the layers that are not the very same, and the result shares the rest.
#[must_use]
pub fn merge_again(old: &[&Node], result: &Node, new: &[&Node]) -> Node {
    if old.len() != new.len() {
        return merge_all(new);
    }
    let row = |nodes: &[&Node]| nodes.iter().map(|node| entry_of(node)).collect::<Vec<_>>();
    let (old, new) = (row(old), row(new));
    let old: Vec<_> = old.iter().map(Some).collect();
    let new: Vec<_> = new.iter().map(Some).collect();
    stack_again(&old, Some(&entry_of(result)), &new).map_or_else(Node::empty_map, |entry| entry.node)
}

/// A whole layer, as if it stood at a key.
fn entry_of(node: &Node) -> Entry {
    Entry { key: "".into(), place: node.place, node: node.clone() }
}

/// What stands at one key: of each layer, if it has it, before and now, and what came of it before.
fn stack_again(old: &[Option<&Entry>], result: Option<&Entry>, new: &[Option<&Entry>]) -> Option<Entry> {
    let changed: Vec<usize> = (0..new.len()).filter(|at| !is_very_same(old, new, *at)).collect();
    if changed.is_empty() {
        return result.cloned();
    }
    let written: Vec<&Entry> = new.iter().copied().flatten().collect();
    let (first, last) = (written.first()?, written.last()?);
    let all_maps = |row: &[Option<&Entry>]| row.iter().flatten().all(|e| e.node.as_map().is_some());
    let before = result.and_then(|e| e.node.as_map()).filter(|_| all_maps(old) && all_maps(new));
    let node = match before {
        Some(before) => {
            let map = before.with(edits_again(old, before, new, &changed));
            Node { value: Value::Map(Arc::new(map)), place: first.node.place }
        }
        None => stack(&written.iter().map(|e| &e.node).collect::<Vec<_>>())?,
    };
    Some(Entry { key: Arc::clone(&last.key), place: last.place, node })
}

/// The layer says the same at the same place, and nobody need look.
fn is_very_same<'a>(old: &[Option<&'a Entry>], new: &[Option<&'a Entry>], at: usize) -> bool {
    let side = |row: &[Option<&'a Entry>]| row.get(at).copied().flatten();
    very_same(side(old), side(new))
}

fn very_same(a: Option<&Entry>, b: Option<&Entry>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.place == b.place && a.node.place == b.node.place && a.node.same(&b.node),
        _ => false,
    }
}

fn edits_again<'a>(
    old: &[Option<&'a Entry>],
    before: &Map,
    new: &[Option<&'a Entry>],
    changed: &[usize],
) -> Vec<Edit<'a, Entry>> {
    let mut touched: Vec<&'a Entry> = Vec::new();
    for at in changed {
        match (layer(old, *at), layer(new, *at)) {
            (Some(old), Some(new)) => {
                let differ = old.unshared(new).filter(|(a, b)| !very_same(*a, *b));
                touched.extend(differ.filter_map(|(a, b)| a.or(b)));
            }
            (one, other) => touched.extend(one.into_iter().chain(other).flat_map(|map| map.entries())),
        }
    }
    touched.sort_by(|a, b| a.key.cmp(&b.key));
    touched.dedup_by(|a, b| a.key == b.key);
    let edit = |entry: &'a Entry| {
        let key = &entry.key;
        let result = before.entry(key);
        // Most keys are in one layer only: what came of them before tells.
        if let [only] = changed
            && let (Some(a), Some(b)) = (entry_in(old, *only, key), entry_in(new, *only, key))
            && a.node.as_map().is_some()
            && b.node.as_map().is_some()
            && result.is_some_and(|result| result.node.same(&a.node))
        {
            return Edit::Put(Entry { node: strip_nulls(&b.node), ..b.clone() });
        }
        let at = |row| -> Vec<_> { (0..new.len()).map(|at| entry_in(row, at, key)).collect() };
        match stack_again(&at(old), result, &at(new)) {
            Some(entry) => Edit::Put(entry),
            None => Edit::Take(&**key),
        }
    };
    touched.into_iter().map(edit).collect()
}

/// A layer, if it is there and a map.
fn layer<'a>(row: &[Option<&'a Entry>], at: usize) -> Option<&'a Arc<Map>> {
    row.get(at).copied().flatten()?.node.as_map()
}

fn entry_in<'a>(row: &[Option<&'a Entry>], at: usize, key: &str) -> Option<&'a Entry> {
    layer(row, at)?.entry(key)
}

fn join(base: &Node, patch: &Node, nulls: Nulls) -> Node {
    let Value::Map(changes) = &patch.value else {
        return if base == patch { base.clone() } else { patch.clone() };
    };
    let empty = Map::default();
    let old = match &base.value {
        Value::Map(map) => map,
        // What is no map is replaced. A patch would have to say so of each key, and cannot.
        _ if nulls == Nulls::Keep => return patch.clone(),
        _ => &empty,
    };
    if nulls == Nulls::Remove && covers(changes, old) {
        return if base == patch { base.clone() } else { patch.clone() };
    }
    let edits: Vec<_> = changes.entries().filter_map(|change| edit(old, change, nulls)).collect();
    if base.as_map().is_some() && edits.is_empty() {
        return base.clone();
    }
    let place = if base.as_map().is_some() { base.place } else { patch.place };
    Node { value: Value::Map(Arc::new(old.with(edits))), place }
}

/// True if nothing is left of a small map where the patch is merged into it: then the patch is the result, and need not be there twice.
/// Of a large one, all that stays equal is worth sharing.
fn covers(patch: &Map, base: &Map) -> bool {
    patch.len() == base.len()
        && patch.len() <= SMALL
        && patch.entries().all(|change| match (base.get(&change.key), &change.node.value) {
            (Some(before), Value::Map(below)) => before.as_map().is_some_and(|before| covers(below, before)),
            (Some(_), value) => !matches!(value, Value::Null),
            (None, _) => false,
        })
}

/// What a change does to one key of a map; `None` if nothing.
fn edit<'a>(old: &Map, change: &'a Entry, nulls: Nulls) -> Option<Edit<'a, Entry>> {
    let put = |node| Some(Edit::Put(Entry { node, ..change.clone() }));
    match (old.entry(&change.key), nulls) {
        (Some(_), Nulls::Remove) if change.node.is_null() => Some(Edit::Take(&*change.key)),
        (None, Nulls::Remove) if change.node.is_null() => None,
        (None, Nulls::Remove) => put(strip_nulls(&change.node)),
        (None, Nulls::Keep) => put(change.node.clone()),
        (Some(before), _) => {
            let node = join(&before.node, &change.node, nulls);
            // The key stays the allocation that it was.
            let put = |node| Edit::Put(Entry { key: Arc::clone(&before.key), place: change.place, node });
            (!node.same(&before.node)).then(|| put(node))
        }
    }
}

#[cfg(test)]
mod tests;
