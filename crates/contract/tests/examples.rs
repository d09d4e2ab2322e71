//! The examples work, and what the schema says of a document is what the decoder does with it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's own functions fail the test")]

use std::{fs, path::PathBuf, sync::Arc};

use evergate_conf::{
    Diagnostic, Entry, Loader, Map, Node, Path, Report, Value,
    format::from_json_value,
    read::read,
    schema::{paths, unknown_keywords, validate},
};
use evergate_contract::{Checked, Config, check, schema};
use serde_json::Value as Json;

fn examples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
}

/// Every document there is: `*.yaml`, `*.toml`, `*.json` in the folder and `gate.yaml` in those below.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.join("gate.yaml").exists() {
            found.push(path.join("gate.yaml"));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    assert!(found.len() >= 6, "{found:?}");
    found
}

fn load(path: &std::path::Path) -> Node {
    let loaded = Loader::new(&paths(&schema())).load(&[path.to_owned()]);
    loaded.unwrap_or_else(|report| panic!("{}\n{report}", path.display())).document
}

fn checked(document: &Node) -> Checked {
    check(document, None).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn every_example_is_sound() {
    let schema = schema();
    for path in documents() {
        let document = load(&path);
        let mut report = Report::new();
        validate(&document, &schema, &Path::root(), &mut report);
        assert!(report.is_empty(), "{}\n{report}", path.display());
        let checked = checked(&document);
        assert!(checked.warnings().is_empty(), "{}\n{}", path.display(), checked.warnings());
    }
}

#[test]
fn toml_and_json_say_the_same() {
    let [toml, json] = ["gateway.toml", "gateway.json"].map(|name| load(&examples().join(name)));
    assert_eq!(toml, json);
    assert_eq!(*checked(&toml), *checked(&json));
}

#[test]
fn the_schema_is_one_that_we_read() {
    assert_eq!(unknown_keywords(&schema()), Vec::<String>::new());
}

/// Bounds are said to people in the words of the description.
#[test]
fn bounds_are_in_the_descriptions() {
    fn walk(schema: &Json, seen: &mut usize) {
        if let (Some(least), Some(most), Some(about)) = (
            schema.get("minimum").and_then(Json::as_i64),
            schema.get("maximum").and_then(Json::as_i64),
            schema.get("description").and_then(Json::as_str),
        ) {
            // A choice of numbers has its own words.
            let listed = schema.get("enum").is_some();
            *seen += usize::from(!listed);
            let said = listed || about.contains(&format!("{least} to {most}"));
            assert!(said, "{about:?} should say {least} to {most}");
        }
        schema.as_object().into_iter().flat_map(|map| map.values()).for_each(|child| walk(child, seen));
        schema.as_array().into_iter().flatten().for_each(|child| walk(child, seen));
    }
    let mut seen = 0;
    walk(&schema(), &mut seen);
    assert!(seen >= 15, "{seen}");
}

/// Everything has a description: it is what editors show.
#[test]
fn every_key_has_a_description() {
    fn walk(schema: &Json, at: &str, bare: &mut Vec<String>) {
        for (key, child) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            if child.get("description").is_none() {
                bare.push(format!("{at}.{key}"));
            }
        }
        for (key, child) in schema.as_object().into_iter().flatten() {
            walk(child, &format!("{at}.{key}"), bare);
        }
        schema.as_array().into_iter().flatten().for_each(|child| walk(child, at, bare));
    }
    let mut bare = Vec::new();
    walk(&schema(), "", &mut bare);
    assert_eq!(bare, Vec::<String>::new());
}

/// Small and the same everywhere, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

const INTEGERS: [i64; 24] = [
    i64::MIN,
    -1_000_001,
    -1,
    0,
    1,
    2,
    10,
    11,
    100,
    101,
    199,
    200,
    301,
    304,
    512,
    513,
    599,
    600,
    1_000,
    1_001,
    10_001,
    65_536,
    1_000_001,
    1 << 32,
];

fn any_value(random: &mut Random) -> Value {
    let texts =
        ["", "x", "auto", "5s", "5", "10MB", "/a", "h2", "1.2", ":80", "http://a", "p2c", "random", "true"];
    match random.below(7) {
        0 => Value::Null,
        1 => Value::Bool(random.below(2) == 0),
        2 => Value::Int(random.pick(&INTEGERS)),
        3 => Value::Float(1.5),
        4 => Value::Str(random.pick(&texts).into()),
        5 => Value::List([Node::made(Value::Str("x".into()))].into()),
        _ => Value::Map(Arc::default()),
    }
}

/// One key dropped, renamed, or given a value of another kind, somewhere in the tree.
fn mutated(node: &Node, random: &mut Random) -> Node {
    let value = match &node.value {
        Value::Map(map) if !map.is_empty() && random.below(8) > 0 => {
            let mut entries: Vec<Entry> = map.entries().cloned().collect();
            let at = random.below(entries.len());
            match random.below(10) {
                0 => drop(entries.remove(at)),
                1 => entries[at].key = format!("{}x", entries[at].key).into(),
                2 => entries[at].key = random.pick(&["exact", "regex", "tls", "weight", "status"]).into(),
                3 => entries[at].node.value = any_value(random),
                _ => entries[at].node = mutated(&entries[at].node, random),
            }
            Value::Map(Arc::new(Map::new(entries)))
        }
        Value::List(items) if !items.is_empty() && random.below(8) > 0 => {
            let mut items = items.to_vec();
            let at = random.below(items.len());
            items[at] = mutated(&items[at], random);
            Value::List(items.into())
        }
        Value::Int(_) => Value::Int(random.pick(&INTEGERS)),
        _ => any_value(random),
    };
    Node { value, place: node.place }
}

/// As written, and with all defaults written out.
fn originals() -> Vec<Node> {
    let written: Vec<Node> = documents().iter().map(|path| load(path)).collect();
    let canonical = written.iter().map(|node| {
        let json = serde_json::to_value(&*checked(node)).unwrap();
        from_json_value(&json).unwrap()
    });
    written.iter().cloned().chain(canonical).collect()
}

/// Codes of what cannot be read. What reads and makes no sense has others.
const UNREAD: [&str; 7] = ["exclusive_keys", "missing_key", "secret", "type", "unit", "unknown_key", "value"];

#[test]
fn the_decoder_takes_what_the_schema_takes() {
    let schema = schema();
    let originals = originals();
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let original = random.pick(&originals);
        let mut document = mutated(&original, &mut random);
        for _ in 0..random.below(3) {
            document = mutated(&document, &mut random);
        }
        let mut report = Report::new();
        validate(&document, &schema, &Path::root(), &mut report);
        let by_serde = read::<Config>(&document);
        let checked = check(&document, None);
        let text = || evergate_conf::format::to_json(&document);
        assert_eq!(report.is_empty(), by_serde.is_ok(), "seed {seed}: {report} {by_serde:?}\n{}", text());
        match (by_serde, checked) {
            (Ok(config), Ok(checked)) => assert_eq!(*checked, config, "seed {seed}"),
            (Ok(_), Err(problems)) => {
                let unread = problems.iter().find(|d| UNREAD.contains(&d.code.as_ref()));
                assert!(unread.is_none() && problems.has_errors(), "seed {seed}: {problems}\n{}", text());
            }
            (Err(_), Ok(_)) => panic!("seed {seed}: checked, but cannot be read\n{}", text()),
            (Err(_), Err(problems)) => {
                let said = |d: &Diagnostic| problems.iter().any(|p| (&p.path, &p.code) == (&d.path, &d.code));
                assert!(report.iter().all(said), "seed {seed}: {report}\nis not all in\n{problems}");
            }
        }
        if report.is_empty() { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 300 && refused > 1_000, "{taken} taken, {refused} refused");
}
