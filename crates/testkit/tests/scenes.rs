//! The scenes are readable, and the judge sees what is wrong.

use std::{collections::BTreeMap, path::Path};

use evergate_testkit::{
    Answer,
    patch::merge_patch,
    scene::{self, Exchange, judge::judge},
};
use serde_json::json;

#[test]
fn every_scene_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenes");
    let words = ["v1", "v2", "dead", "dir"].map(|w| (w, "http://127.0.0.1:1".to_owned()));
    let scenes = scene::read(&folder, &BTreeMap::from(words));
    for (name, scene) in scenes {
        assert!(!scene.exchanges.is_empty(), "{name}");
        assert_eq!(scene.change.is_some(), !scene.then.is_empty(), "{name}: a change and what it changes");
        for exchange in scene.exchanges.iter().chain(&scene.then) {
            let _ = exchange.request();
        }
    }
}

#[test]
fn the_judge_sees_what_is_wrong() {
    let answer = Answer {
        status: 200,
        fields: evergate_testkit::h1::Fields(vec![
            ("X-A".into(), "one".into()),
            ("x-a".into(), "two".into()),
        ]),
        body: r#"{"a":{"b":["c"]}}"#.into(),
        ..Answer::default()
    };
    let check = |expected: serde_json::Value, right: bool| {
        let mut exchange = json!({ "ask": "GET /", "status": 200 });
        merge_patch(&mut exchange, &expected);
        let exchange: Exchange = serde_json::from_value(exchange.clone()).unwrap();
        let wrong = judge(&exchange, &answer);
        assert_eq!(wrong.is_empty(), right, "{expected}: {wrong:?}");
    };
    check(json!({}), true);
    check(json!({ "status": 201 }), false);
    check(json!({ "has": { "x-a": ["one", "two"] } }), true);
    check(json!({ "has": { "x-a": "one" } }), false);
    check(json!({ "has": { "x-a": "*" } }), true);
    check(json!({ "has": { "x-b": "*" } }), false);
    check(json!({ "json": { "a.b.0": "c", "a.c": {} } }), false);
    check(json!({ "json": { "a.b": ["c"] } }), true);
    check(json!({ "contains": "\"b\"" }), true);
    check(json!({ "contains": "nothing of it" }), false);
    check(json!({ "says": "" }), false);
    check(json!({ "says": "{\"a\":{\"b\":[\"c\"]}}" }), true);
}
