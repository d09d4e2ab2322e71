use proptest::prelude::*;

use super::*;
use crate::node::Map;
use crate::{
    FileId, Limits,
    format::{Format, parse, tests::any_node},
    node::{Entry, Place},
};

fn yaml(text: &str) -> Node {
    parse(text, Format::Yaml, FileId(1), &Limits::default()).unwrap()
}

fn lines(a: &str, b: &str) -> Vec<String> {
    let changes = diff(&yaml(a), &yaml(b));
    changes.iter().map(|c| serde_json::to_string(c).unwrap()).collect()
}

#[test]
fn changes_are_leaves_or_whole_objects() {
    let a = "routes: { api: { timeout: 5s, to: x }, old: { to: y } }\nn: [1, 2]\nsame: { a: 1 }";
    let b = "routes: { api: { timeout: 6s, to: x }, new.v2: { to: z } }\nn: [1, 3]\nsame: { a: 1 }";
    assert_eq!(
        lines(a, b),
        [
            r#"{"path":"n","before":[1,2],"after":[1,3]}"#,
            r#"{"path":"routes.api.timeout","before":"5s","after":"6s"}"#,
            r#"{"path":"routes.\"new.v2\"","after":{"to":"z"}}"#,
            r#"{"path":"routes.old","before":{"to":"y"}}"#,
        ]
    );
    assert_eq!(lines(a, a), Vec::<String>::new());
    assert_eq!(lines("a: 1", "a: { b: 1 }"), [r#"{"path":"a","before":1,"after":{"b":1}}"#]);
}

#[test]
fn no_change_shows_a_secret() {
    let rows = lines(
        "a: { literal: hunter2 }\nb: { env: X }",
        "a: { literal: hunter3 }\nb: { literal: hunter2 }\nc: { d: { literal: hunter2 } }",
    );
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| !row.contains("hunter")), "{rows:?}");
    assert_eq!(rows[0], r#"{"path":"a.literal","before":"***","after":"***"}"#);
}

/// Puts a change into a tree.
fn apply(node: &Node, path: &[Arc<str>], after: Option<&Node>) -> Option<Node> {
    let Some((key, rest)) = path.split_first() else { return after.cloned() };
    let map = node.as_map().unwrap();
    let below = map.get(key).cloned().unwrap_or_else(Node::empty_map);
    let mut entries: Vec<Entry> = map.entries().filter(|e| e.key != *key).cloned().collect();
    if let Some(node) = apply(&below, rest, after) {
        entries.push(Entry { key: Arc::clone(key), place: Place::default(), node });
    }
    Some(Node::made(Value::Map(Arc::new(Map::new(entries)))))
}

proptest! {
    #[test]
    fn the_changes_lead_from_one_to_the_other(a in any_node(false), b in any_node(false)) {
        let changes = diff(&a, &b);
        prop_assert_eq!(changes.is_empty(), a == b);
        let mut result = a.clone();
        for change in &changes {
            prop_assert_eq!(change.before.as_ref(), a.at(change.path.keys()));
            prop_assert_eq!(change.after.as_ref(), b.at(change.path.keys()));
            result = apply(&result, change.path.segments(), change.after.as_ref()).unwrap();
        }
        prop_assert_eq!(result, b);
        prop_assert!(changes.is_sorted_by(|x, y| x.path < y.path));
    }
}
