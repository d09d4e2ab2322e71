//! A file that was read again, out of what it was: what stands where it stood and says what it said is the very same.
//!
//! So a whole file that is written anew for one value costs its reading, and no second copy of the rest: all that follows
//! looks only at what is not the same.

use crate::{
    node::{Entry, Map, Node, Pair, Value},
    sorted::Edit,
};

/// How deep maps are put together anew: the sections of a document and the objects in them. What is in an object is small.
const DEPTH: usize = 2;

/// `new`, sharing with `old` what is equal, places included.
pub(super) fn again(old: &Node, new: Node) -> Node {
    shared(old, new, DEPTH)
}

fn shared(old: &Node, new: Node, depth: usize) -> Node {
    if equal(old, &new) {
        return old.clone();
    }
    let (Value::Map(before), Value::Map(now)) = (&old.value, &new.value) else { return new };
    if depth == 0 {
        return new;
    }
    let edits: Vec<_> = before.unshared(now).filter_map(|pair| edit(pair, depth - 1)).collect();
    if depth < DEPTH && edits.len() > now.len() / 2 {
        return new;
    }
    Node { value: Value::Map(before.with(edits).into()), place: new.place }
}

fn edit<'a>((old, new): Pair<'a>, depth: usize) -> Option<Edit<'a, Entry>> {
    match (old, new) {
        (Some(a), Some(b)) if a.place != b.place => Some(Edit::Put(b.clone())),
        (Some(a), Some(b)) if equal(&a.node, &b.node) => None,
        (Some(a), Some(b)) => {
            Some(Edit::Put(Entry { node: shared(&a.node, b.node.clone(), depth), ..b.clone() }))
        }
        (None, Some(b)) => Some(Edit::Put(b.clone())),
        (Some(a), None) => Some(Edit::Take(&*a.key)),
        (None, None) => None,
    }
}

fn equal(a: &Node, b: &Node) -> bool {
    a.place == b.place
        && match (&a.value, &b.value) {
            (Value::Map(x), Value::Map(y)) => a.same(b) || equal_maps(x, y),
            (Value::List(x), Value::List(y)) => {
                a.same(b) || x.len() == y.len() && x.iter().zip(y.iter()).all(|(a, b)| equal(a, b))
            }
            _ => a.same(b),
        }
}

fn equal_maps(a: &Map, b: &Map) -> bool {
    let entries = |(a, b): (&Entry, &Entry)| a.place == b.place && a.key == b.key && equal(&a.node, &b.node);
    a.len() == b.len() && a.entries().zip(b.entries()).all(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileId, Format, Limits, format};

    fn read(text: &str) -> Node {
        format::parse(text, Format::Yaml, FileId(1), &Limits::default()).unwrap()
    }

    /// Each row: before, now, and what is the same allocation afterwards.
    #[test]
    fn what_did_not_change_is_the_very_same() {
        for (old, new, shared) in [
            ("a: { x: 1 }\nb: { y: 2 }", "a: { x: 1 }\nb: { y: 2 }", vec!["", "a", "b"]),
            ("a: { x: 1 }\nb: { y: 2 }\nc: [3]", "a: { x: 1 }\nb: { y: 3 }\nc: [3]", vec!["a", "c"]),
            ("a: { x: 1 }\nb: { y: 2 }", "a: { x: 1 }", vec!["a"]),
            ("a: { x: 1 }", "a: { x: 1 }\nb: { y: 2 }", vec!["a"]),
            ("a: { x: 1 }\nb: { y: 2 }", "\na: { x: 1 }\nb: { y: 2 }", vec![]),
            ("a: { x: 1 }\nb: [1, 2]", "a: { x: 1 }\nb: [1,  2]", vec!["a"]),
            ("a: { x: { z: [] }, y: 1 }", "a: { x: { z: [] }, y: 2 }", vec!["a.x", "a.x.z"]),
            ("a: { x: 1 }", "a:  { x: 1 }", vec![]),
            ("a: { x: 1.0 }", "a: { x: 1.5 }", vec![]),
            ("a: { x: 1 }", "a: x", vec![]),
        ] {
            let (old, new) = (read(old), read(new));
            let result = again(&old, new.clone());
            assert_eq!(format!("{result:#?}"), format!("{new:#?}"), "values and places");
            for path in ["", "a", "b", "c", "a.x", "a.x.z"] {
                let keys = || path.split('.').filter(|key| !key.is_empty());
                let node =
                    |root: &Node| root.at(keys()).filter(|n| n.as_map().is_some() || is_list(n)).cloned();
                let Some((was, is)) = node(&old).zip(node(&result)) else { continue };
                let inside = path.split_once('.').is_some_and(|(above, _)| shared.contains(&above));
                assert_eq!(was.same(&is), shared.contains(&path) || shared.contains(&"") || inside, "{path}");
            }
        }
    }

    fn is_list(node: &Node) -> bool {
        matches!(node.value, Value::List(_))
    }

    #[test]
    fn one_value_of_many_copies_one_chunk() {
        let text =
            |turn: usize| -> String { (0..5000).map(|i| format!("k{i}: {{ x: {} }}\n", i / turn)).collect() };
        let old = read(&text(1));
        let new = read(&text(1).replace("k77: { x: 77 }", "k77: { x: 78 }"));
        let result = again(&old, new.clone());
        assert_eq!(format!("{result:?}"), format!("{new:?}"));
        let (before, now) = (old.as_map().unwrap(), result.as_map().unwrap());
        let looked_at = before.unshared(now).count();
        assert!((1..1500).contains(&looked_at), "{looked_at}");
    }
}
