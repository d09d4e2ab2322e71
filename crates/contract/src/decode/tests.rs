use evergate_conf::{FileId, Format, Limits, format};
use serde_json::Value;

use super::*;

fn parse(yaml: &str) -> Node {
    format::parse(yaml, Format::Yaml, FileId(1), &Limits::default()).unwrap()
}

fn decoded(document: &Node, previous: Option<(&Node, &Config)>) -> Config {
    let mut report = Report::new();
    let decoded = Decoded::of(document, previous, &mut report);
    assert!(!report.has_errors(), "{report}");
    decoded.config
}

#[test]
fn keys_are_those_of_the_type() {
    let schema = evergate_conf::schema_of::<Config>();
    let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS);
}

#[test]
fn an_empty_document_is_the_default() {
    assert_eq!(decoded(&parse("{}"), None), Config::default());
}

#[test]
fn every_bad_object_is_reported() {
    let document = parse(
        "workers: many\nrout: {}\nlisteners: 5\nroutes:\n  a: { respond: { statu: 1 } }\n  b: { forward: u }\n  c: { priority: high, forwrd: x }\nupstreams: { u: { endpoints: [{}] } }",
    );
    let mut report = Report::new();
    let config = Decoded::of(&document, None, &mut report).config;
    let paths: Vec<_> = report.iter().map(|d| d.path.as_str()).collect();
    let expected = [
        "rout",
        "workers",
        "listeners",
        "upstreams.u.endpoints.0",
        "routes.a.respond.statu",
        "routes.c.forwrd",
        "routes.c.priority",
    ];
    assert_eq!(paths, expected, "{report}");
    assert!(report.to_string().contains("did you mean `routes`?"), "{report}");
    assert_eq!(config.routes.keys().map(AsRef::as_ref).collect::<Vec<&str>>(), ["b"], "what can be read is");
}

#[test]
fn unchanged_objects_are_the_same_allocation() {
    let text = "routes: { a: { respond: {} }, b: { respond: {} }, d: { respond: {} } }\nlisteners: { w: { address: ':1' } }";
    let first = parse(text);
    let old = decoded(&first, None);
    // Read anew, so that nothing is shared but what is written; one changed, one new, one gone.
    let second = parse(
        "\n\nroutes: { a: { respond: {} }, b: { respond: { body: x } }, c: { respond: {} } }\nlisteners: { w: { address: ':1' } }",
    );
    let new = decoded(&second, Some((&first, &old)));
    let same = |name: &str| Arc::ptr_eq(&old.routes[name], &new.routes[name]);
    assert_eq!((same("a"), same("b")), (true, false));
    assert!(Arc::ptr_eq(&old.listeners["w"], &new.listeners["w"]));
    assert_eq!(new, decoded(&second, None));
    assert_eq!(new.routes.keys().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a", "b", "c"]);
}

/// What is written back is what was meant.
#[test]
fn the_canonical_form_decodes_to_the_same() {
    let document = parse(include_str!("../../../../examples/proxy.yaml"));
    let config = decoded(&document, None);
    let canonical = serde_json::to_value(&config).unwrap();
    assert_eq!(serde_json::from_value::<Config>(canonical.clone()).unwrap(), config);
    assert_eq!(canonical["routes"]["preview"]["forward"]["to"][0]["upstream"], Value::from("v2"));
    assert_eq!(canonical["routes"]["moved"]["match"]["path"]["prefix"], Value::from("/old"));
    assert_eq!(canonical["upstreams"]["v2"]["endpoints"][0]["url"], Value::from("http://127.0.0.1:4000"));
}

#[test]
fn short_forms_read_as_their_long_forms() {
    for (short, long) in [
        ("{ forward: u }", "{ forward: { to: [{ upstream: u, weight: 1 }] } }"),
        ("{ files: /x }", "{ files: { root: /x, index: [index.html], precompressed: true } }"),
        ("{ match: { path: /x }, respond: {} }", "{ match: { path: { prefix: /x } }, respond: {} }"),
        (
            "{ match: { headers: { a: b } }, respond: {} }",
            "{ match: { headers: { a: { exact: b } } }, respond: {} }",
        ),
    ] {
        let read = |text: &str| decoded(&parse(&format!("routes: {{ r: {text} }}")), None);
        assert_eq!(read(short), read(long), "{short}");
    }
}

#[test]
fn a_map_of_one_key_has_one_key() {
    for text in ["{}", "{ exact: /a, prefix: /b }", "{ exat: /a }", "{ exact: 5 }", "5", "[]"] {
        let document = parse(&format!("routes: {{ r: {{ match: {{ path: {text} }}, respond: {{}} }} }}"));
        let mut report = Report::new();
        let decoded = Decoded::of(&document, None, &mut report);
        assert!(report.has_errors() && decoded.config.routes.is_empty(), "{text}");
        assert!(report.iter().all(|d| d.path.starts_with("routes.r.match.path")), "{report}");
    }
}
