use proptest::prelude::*;

use super::*;
use crate::{
    FileId, Limits,
    format::{Format, parse, tests::any_node, to_json},
    node::Place,
};

fn json(text: &str) -> Node {
    let wrapped = format!("{{\"x\":{text}}}");
    parse(&wrapped, Format::Json, FileId(1), &Limits::default()).unwrap().get("x").unwrap().clone()
}

/// RFC 7396, appendix A.
#[test]
fn the_table_of_the_rfc() {
    for (base, patch, result) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        assert_eq!(to_json(&merge(&json(base), &json(patch))), result, "{base} + {patch}");
    }
}

#[test]
fn what_does_not_change_is_shared() {
    let base = json(r#"{"a":{"x":1,"y":[1,2]},"b":{"z":{"w":2}}}"#);
    let same = merge(&base, &json(r#"{"a":{"y":[1,2]},"b":{"z":{"w":2},"gone":null}}"#));
    assert!(same.same(&base));
    let changed = merge(&base, &json(r#"{"a":{"x":2}}"#));
    assert!(!changed.same(&base));
    assert!(changed.get("b").unwrap().same(base.get("b").unwrap()));
    assert!(changed.at(["a", "y"]).unwrap().same(base.at(["a", "y"]).unwrap()));
    let clean = strip_nulls(&base);
    assert!(clean.same(&base));
    let whole = json(r#"{"a":{"x":2,"y":[1,2]},"b":{"z":{"w":3}}}"#);
    assert!(merge(&base, &whole).same(&whole));
    let many = |seventh: u8| {
        let object = |i: u8| format!(r#""r{i}":{{"to":{}}}"#, if i == 7 { seventh } else { 0 });
        json(&format!("{{{}}}", (0..100).map(object).collect::<Vec<_>>().join(",")))
    };
    let (base, patch) = (many(1), many(2));
    let changed = merge(&base, &patch);
    assert_eq!(changed, patch);
    let shared = |i: u8| changed.get(&format!("r{i}")).unwrap().same(base.get(&format!("r{i}")).unwrap());
    assert_eq!((0..100).filter(|i| !shared(*i)).collect::<Vec<_>>(), [7]);
}

#[test]
fn an_overlay_is_edited_as_if_its_effect_were() {
    let base = json(r#"{"routes":{"api":{"to":"v1","timeout":"5s"},"b":{}}}"#);
    let overlay = json(r#"{"routes":{"api":null}}"#);
    let edit = json(r#"{"routes":{"api":{"to":"v2"}}}"#);
    let amended = amend(&base, &overlay, &edit);
    assert_eq!(to_json(&amended), r#"{"routes":{"api":{"timeout":null,"to":"v2"}}}"#);
    assert_eq!(to_json(&merge(&base, &amended)), r#"{"routes":{"api":{"to":"v2"},"b":{}}}"#);
    // The limit that `compose` names.
    assert_eq!(to_json(&compose(&overlay, &edit)), r#"{"routes":{"api":{"to":"v2"}}}"#);
}

fn map(nulls: bool) -> impl Strategy<Value = Node> {
    any_node(nulls).prop_map(|n| if n.as_map().is_some() { n } else { Node::empty_map() })
}

/// RFC 7396 section 2, word for word, on JSON values.
fn reference(target: Option<&serde_json::Value>, patch: &serde_json::Value) -> serde_json::Value {
    let serde_json::Value::Object(patch) = patch else { return patch.clone() };
    let mut target = target.and_then(|t| t.as_object().cloned()).unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            let merged = reference(target.get(key), value);
            target.insert(key.clone(), merged);
        }
    }
    target.into()
}

fn value(node: &Node) -> serde_json::Value {
    crate::format::to_json_value(node)
}

/// True if `compose` can say it: nowhere does `a` end a map that `b` begins again.
fn can_compose(a: &Node, b: &Node) -> bool {
    match (a.as_map(), b.as_map()) {
        (Some(x), Some(y)) => {
            x.pairs(y).filter_map(sides).all(|(_, a, b)| a.zip(b).is_none_or(|(a, b)| can_compose(a, b)))
        }
        (None, Some(_)) => false,
        _ => true,
    }
}

proptest! {
    #[test]
    fn merge_is_the_rfcs(base in any_node(true), patch in any_node(true)) {
        prop_assert_eq!(value(&merge(&base, &patch)), reference(Some(&value(&base)), &value(&patch)));
    }

    #[test]
    fn a_patch_leads_from_one_to_the_other(a in map(false), b in any_node(false)) {
        prop_assert_eq!(&merge(&a, &make_patch(&a, &b)), &b);
        prop_assert_eq!(to_json(&make_patch(&b, &b.clone())), if b.as_map().is_some() { "{}".to_owned() } else { to_json(&b) });
    }

    #[test]
    fn nothing_new_shares_everything(a in map(false)) {
        prop_assert!(merge(&a, &a.clone()).same(&a));
        prop_assert!(merge(&a, &Node::empty_map()).same(&a));
    }

    #[test]
    fn a_composed_patch_does_what_both_do(x in map(false), a in map(true), b in map(true)) {
        prop_assume!(can_compose(&a, &b));
        prop_assert_eq!(merge(&x, &compose(&a, &b)), merge(&merge(&x, &a), &b));
    }

    #[test]
    fn an_amended_overlay_does_what_both_do(x in map(false), a in map(true), b in map(true)) {
        prop_assert_eq!(merge(&x, &amend(&x, &a, &b)), merge(&merge(&x, &a), &b));
    }

    #[test]
    fn all_at_once_is_one_by_one(layers in proptest::collection::vec(map(true), 0..5)) {
        let nodes: Vec<&Node> = layers.iter().collect();
        let folded = layers.iter().fold(Node::empty_map(), |base, layer| merge(&base, layer));
        prop_assert_eq!(merge_all(&nodes), folded);
    }

    #[test]
    fn without_nulls_is_what_a_patch_makes_of_nothing(a in map(true)) {
        let clean = strip_nulls(&a);
        prop_assert!(!clean.as_map().unwrap().has_nulls());
        prop_assert_eq!(clean, merge(&Node::empty_map(), &a));
    }
}

/// A tree whose places all differ from those of others, so that it shows where a value was taken from.
fn placed(node: &Node, line: &mut u32) -> Node {
    *line += 1;
    let place = Place { line: *line, ..Place::default() };
    let value = match &node.value {
        Value::Map(map) => {
            let entry = |e: &Entry| Entry { key: Arc::clone(&e.key), place, node: placed(&e.node, line) };
            Value::Map(Arc::new(Map::new(map.entries().map(entry).collect())))
        }
        other => other.clone(),
    };
    Node { value, place }
}

fn with_places(node: &Node) -> String {
    match &node.value {
        Value::Map(map) => {
            let entry = |e: &Entry| format!("{}@{}: {}", e.key, e.place.line, with_places(&e.node));
            format!("@{} {{{}}}", node.place.line, map.entries().map(entry).collect::<Vec<_>>().join(", "))
        }
        other => format!("@{} {other:?}", node.place.line),
    }
}

proptest! {
    /// Out of what it was before, a merge is what it is from nothing, places and all.
    #[test]
    fn merging_again_is_merging(
        first in proptest::collection::vec(any_node(true), 1..5),
        second in proptest::collection::vec(any_node(true), 1..5),
        stay in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let mut line = 0;
        let mut maps = |nodes: Vec<Node>| -> Vec<Node> {
            nodes.iter().filter(|n| n.as_map().is_some()).map(|n| placed(n, &mut line)).collect()
        };
        let (old, mut new) = (maps(first), maps(second));
        // Some layers stay, as files that nobody touched; of others, parts do.
        for (i, (a, b)) in old.iter().zip(&mut new).enumerate() {
            *b = if stay[i] { a.clone() } else { merge(a, b) };
        }
        let (old, new): (Vec<&Node>, Vec<&Node>) = (old.iter().collect(), new.iter().collect());
        let again = merge_again(&old, &merge_all(&old), &new);
        prop_assert_eq!(with_places(&again), with_places(&merge_all(&new)));
    }
}
