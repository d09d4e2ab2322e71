use proptest::prelude::*;

use super::*;

fn read(format: Format, text: &str) -> Result<Node, SyntaxError> {
    parse(text, format, FileId(1), &Limits::default())
}

fn yaml(text: &str) -> Node {
    read(Format::Yaml, text).unwrap_or_else(|e| panic!("{text}: {e} at {:?}", e.place))
}

const YAML: &str = "\
# a gate
listeners:
  web: { address: '0.0.0.0:8080', limits: [1, 2.5, true] }
upstreams:
  api:
    endpoints:
      - http://127.0.0.1:3000
      - url: http://127.0.0.1:3001
        weight: 3
    text: |
      one
      two
";
const TOML: &str = "\
# a gate
[listeners]
web = { address = '0.0.0.0:8080', limits = [1, 2.5, true] }
[upstreams.api]
endpoints = [
  'http://127.0.0.1:3000',
  { url = 'http://127.0.0.1:3001', weight = 3 },
]
text = '''
one
two
'''
";
const JSON: &str = r#"{
  "listeners": { "web": { "address": "0.0.0.0:8080", "limits": [1, 2.5, true] } },
  "upstreams": { "api": {
    "endpoints": ["http://127.0.0.1:3000", { "url": "http:\/\/127.0.0.1:3001", "weight": 3 }],
    "text": "one\ntwo\n"
  } }
}"#;

#[test]
fn the_same_document_in_each_format_is_the_same_tree() {
    let nodes = [(Format::Yaml, YAML), (Format::Toml, TOML), (Format::Json, JSON)]
        .map(|(format, text)| read(format, text).unwrap());
    assert_eq!(nodes[0], nodes[1]);
    assert_eq!(nodes[0], nodes[2]);
    assert_eq!(nodes[0].digest(), nodes[1].digest());
    assert_eq!(nodes[0].digest(), nodes[2].digest());
}

#[test]
fn places_are_those_of_the_text() {
    let rows: &[(Format, &str, &str, (u32, u16))] = &[
        (Format::Yaml, YAML, "listeners", (3, 3)),
        (Format::Yaml, YAML, "listeners.web", (3, 8)),
        (Format::Yaml, YAML, "listeners.web.limits.1", (3, 47)),
        (Format::Yaml, YAML, "upstreams.api.endpoints", (7, 7)),
        (Format::Yaml, YAML, "upstreams.api.endpoints.1.weight", (9, 17)),
        (Format::Yaml, YAML, "upstreams.api.text", (11, 7)),
        (Format::Yaml, "ä: ö\nü: { ß: [é, x] }", "ü.ß.1", (2, 13)),
        (Format::Toml, TOML, "listeners", (2, 1)),
        (Format::Toml, TOML, "listeners.web", (3, 7)),
        (Format::Toml, TOML, "listeners.web.limits.1", (3, 48)),
        (Format::Toml, TOML, "upstreams.api", (4, 1)),
        (Format::Toml, TOML, "upstreams.api.endpoints.1.weight", (7, 45)),
        (Format::Toml, "a.b.c = 1\n'ö' = 'ä'\n'ü' = ['é', 2]", "ü.1", (3, 13)),
        (Format::Toml, "a.b.c = 1", "a.b.c", (1, 9)),
        (Format::Json, JSON, "listeners.web", (2, 25)),
        (Format::Json, JSON, "listeners.web.limits.1", (2, 68)),
        (Format::Json, JSON, "upstreams.api.text", (5, 13)),
        (Format::Json, "{\"ä\": [\"ö\", 5]}", "ä.1", (1, 13)),
    ];
    let mut wrong = String::new();
    for (format, text, path, expected) in rows {
        let root = read(*format, text).unwrap();
        let path: crate::Path = path.parse().unwrap();
        let place = root.at(path.keys()).unwrap().place;
        if (place.line, place.column, place.file) != (expected.0, expected.1, FileId(1)) {
            wrong += &format!("{format:?} {path}: {place:?}, expected {expected:?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let keys = [(Format::Yaml, YAML, (4, 1)), (Format::Json, JSON, (3, 3)), (Format::Toml, TOML, (4, 2))];
    for (format, text, expected) in keys {
        let root = read(format, text).unwrap();
        let place = root.as_map().unwrap().entry("upstreams").unwrap().place;
        assert_eq!((place.line, place.column), expected, "{format:?}");
    }
}

#[test]
fn yaml_scalars_follow_the_core_schema() {
    let text = |s: &str| Value::Str(s.into());
    let rows = [
        ("no", text("no")),
        ("n", text("n")),
        ("yes", text("yes")),
        ("on", text("on")),
        ("Off", text("Off")),
        ("true", Value::Bool(true)),
        ("False", Value::Bool(false)),
        ("null", Value::Null),
        ("~", Value::Null),
        ("'~'", text("~")),
        ("12", Value::Int(12)),
        ("+12", Value::Int(12)),
        ("-12", Value::Int(-12)),
        ("010", Value::Int(10)),
        ("0o17", Value::Int(15)),
        ("0x1f", Value::Int(31)),
        ("0b11", text("0b11")),
        ("0o18", text("0o18")),
        ("1_000", text("1_000")),
        ("1:30", text("1:30")),
        ("1.5", Value::Float(1.5)),
        ("1.", Value::Float(1.0)),
        (".5", Value::Float(0.5)),
        ("1e3", Value::Float(1000.0)),
        ("-1.5E-3", Value::Float(-0.0015)),
        ("1e", text("1e")),
        (".", text(".")),
        ("-", text("-")),
        ("1.2.3.4", text("1.2.3.4")),
        ("2024-01-01", text("2024-01-01")),
        ("infinity", text("infinity")),
        ("'12'", text("12")),
        ("!!str 12", text("12")),
        ("!!float 12", Value::Float(12.0)),
        ("! 12", text("12")),
        ("9223372036854775807", Value::Int(i64::MAX)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
    ];
    for (written, expected) in rows {
        // A lone dash is a list item at the start of a line.
        if written == "-" {
            continue;
        }
        let root = yaml(&format!("x: {written}"));
        assert_eq!(root.get("x").unwrap(), &Node::made(expected), "{written}");
    }
}

#[test]
fn yaml_aliases_and_merge_keys_share() {
    let root = yaml(
        "a: &a { x: 1, y: { z: 2 } }\nb: *a\nc: { <<: *a, x: 3 }\nd: { <<: [{ x: 7 }, *a], w: 0 }\n'<<': q",
    );
    assert!(root.get("a").unwrap().same(root.get("b").unwrap()));
    assert_eq!(to_json(root.get("c").unwrap()), r#"{"x":3,"y":{"z":2}}"#);
    assert_eq!(to_json(root.get("d").unwrap()), r#"{"w":0,"x":7,"y":{"z":2}}"#);
    assert_eq!(root.get("<<").unwrap().as_str(), Some("q"));
    let place = root.get("b").unwrap().place;
    assert_eq!((place.line, place.column), (2, 4));
}

/// Each row: a text, the code, where, and a part of the message.
#[test]
fn what_is_wrong_is_refused_with_its_place() {
    use Format::{Json, Toml, Yaml};
    type Row = (Format, &'static str, &'static str, (u32, u16), &'static str);
    let rows: &[Row] = &[
        (Yaml, "", "empty", (1, 1), "half-written"),
        (Yaml, "# only\n\n  # comments\n", "empty", (1, 1), "half-written"),
        (Yaml, "---\n", "empty", (1, 1), "half-written"),
        (Toml, "# c\n", "empty", (1, 1), "half-written"),
        (Json, " \n", "empty", (1, 1), "half-written"),
        (Yaml, "a: 1\nb: 2\na: 3", "duplicate_key", (3, 1), "`a` is written twice"),
        (Toml, "a = 1\nb = 2\na = 3", "duplicate_key", (3, 1), "duplicate key"),
        (Json, "{\"a\": 1,\n \"a\": 3}", "duplicate_key", (2, 2), "`a` is written twice"),
        (Yaml, "a: 1\n---\nb: 2", "syntax", (2, 1), "second document"),
        (Yaml, "a: !custom 1", "syntax", (1, 4), "tag"),
        (Yaml, "a: !!int x", "syntax", (1, 4), "no `!!int`"),
        (Yaml, "a: *b", "syntax", (1, 4), "anchor"),
        (Yaml, "a: &a [*a]", "syntax", (1, 8), "inside"),
        (Yaml, "404: x", "key", (1, 1), "cannot be a key"),
        (Yaml, "true: x", "key", (1, 1), "cannot be a key"),
        (Yaml, "? [a]\n: x", "key", (1, 3), "cannot be a key"),
        (Yaml, "a: .inf", "number", (1, 4), "finite"),
        (Yaml, "a: -.INF", "number", (1, 4), "finite"),
        (Yaml, "a: .nan", "number", (1, 4), "finite"),
        (Yaml, "a: 9223372036854775808", "number", (1, 4), "64 bits"),
        (Yaml, "a: 0xffffffffffffffff", "number", (1, 4), "64 bits"),
        (Yaml, "a:\n\tb: 1", "syntax", (2, 2), ""),
        (Yaml, "a: [1, 2", "syntax", (1, 9), ""),
        (Yaml, "a: 'x", "syntax", (1, 4), ""),
        (Yaml, "a: { <<: 5 }", "syntax", (1, 10), "merges maps"),
        (Toml, "a = inf", "number", (1, 5), "finite"),
        (Toml, "a = 9223372036854775808", "number", (1, 5), "64 bits"),
        (Toml, "a = \n", "syntax", (1, 5), ""),
        (Toml, "[a\nb = 1", "syntax", (1, 3), ""),
        (Json, "{\"a\": 1,}", "syntax", (1, 9), "expected a key"),
        (Json, "{\"a\" 1}", "syntax", (1, 6), "expected `:`"),
        (Json, "{'a': 1}", "syntax", (1, 2), "double quotes"),
        (Json, "// x\n{}", "syntax", (1, 1), "expected a value"),
        (Json, "{}\n{}", "syntax", (2, 1), "end of the text"),
        (Json, "{\"a\": 01}", "syntax", (1, 7), "begin with 0"),
        (Json, "{\"a\": 1.}", "syntax", (1, 9), "digit"),
        (Json, "{\"a\": nul}", "syntax", (1, 7), "expected a value"),
        (Json, "{\"a\": 1e999}", "number", (1, 7), "finite"),
        (Json, "{\"a\": 18446744073709551615}", "number", (1, 7), "64 bits"),
        (Json, "{\"a\": \"x", "syntax", (1, 7), "not closed"),
        (Json, "{\"a\": \"\\ud800\"}", "syntax", (1, 8), "escape"),
        (Json, "{\"a\": \"x\ny\"}", "syntax", (1, 9), "control"),
    ];
    let mut wrong = String::new();
    for (format, text, code, at, part) in rows {
        match read(*format, text) {
            Ok(node) => wrong += &format!("{format:?} {text:?}: accepted as {}\n", to_json(&node)),
            Err(e) => {
                if (e.code, (e.place.line, e.place.column)) != (*code, *at) || !e.message.contains(part) {
                    wrong += &format!("{format:?} {text:?}: {e:?}\n");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn hostile_texts_meet_a_limit() {
    let laughs: String =
        (1..12).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(","))).collect();
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let rows = [
        (Format::Yaml, format!("a0: &a0 x\n{laughs}"), "aliases repeat"),
        (Format::Yaml, format!("a: {}", deep(70)), "nested deeper"),
        (Format::Yaml, (0..70).map(|i| format!("{}a:\n", " ".repeat(i))).collect(), "nested deeper"),
        (Format::Yaml, "a: ".to_owned() + &deep(100_000), ""),
        (Format::Json, format!("{{\"a\":{}}}", deep(100_000)), "nested deeper"),
        (Format::Toml, format!("a = {}", deep(100_000)), "nested deeper"),
        (Format::Toml, format!("{}b = 1", "a.".repeat(100_000)), "nested deeper"),
        (Format::Toml, format!("[{}b]", "a.".repeat(100_000)), "nested deeper"),
        (Format::Toml, format!("x = {{ {}b = 1 }}", "a . ".repeat(100_000)), "nested deeper"),
    ];
    for (format, text, part) in rows {
        let error = read(format, &text).unwrap_err();
        assert!(error.message.contains(part), "{format:?} {}: {error:?}", &text[..20]);
        assert!(error.place.line > 0);
    }
    let few = Limits { nodes: 10, bytes: 100, ..Limits::default() };
    let many = "[".to_owned() + &"1,".repeat(20) + "1]";
    for (format, text) in
        [(Format::Yaml, many.clone()), (Format::Json, many.clone()), (Format::Toml, format!("a={many}"))]
    {
        assert!(parse(&text, format, FileId(1), &few).unwrap_err().message.contains("more than 10 values"));
        let long = text + &" ".repeat(100);
        assert_eq!(parse(&long, format, FileId(1), &few).unwrap_err().code, "limit");
    }
    // Ordinary depth and dots in texts are no attack.
    assert!(read(Format::Yaml, &format!("a: {}", deep(60))).is_ok());
    assert!(read(Format::Toml, &format!("a = '{}'", ".".repeat(1000))).is_ok());
}

#[test]
fn a_format_is_known_by_name_or_by_text() {
    for (name, format) in [
        ("a.yaml", Some(Format::Yaml)),
        ("a.YML", Some(Format::Yaml)),
        ("a.toml", Some(Format::Toml)),
        ("a.json", Some(Format::Json)),
        ("a.conf", None),
        ("yaml", None),
    ] {
        assert_eq!(Format::of_name(FsPath::new(name)), format);
    }
    for text in [YAML, "a: 1", "- x", "a: b = c"] {
        assert_eq!(Format::of_text(text), Format::Yaml, "{text}");
    }
    for text in [TOML, "a.b = 1", "\"a b\" = 1", "[a]"] {
        assert_eq!(Format::of_text(text), Format::Toml, "{text}");
    }
    assert_eq!(Format::of_text(JSON), Format::Json);
}

#[test]
fn people_can_read_what_is_written() {
    let root = yaml(YAML);
    let expected = "\
listeners:
  web:
    address: 0.0.0.0:8080
    limits:
      - 1
      - 2.5
      - true
upstreams:
  api:
    endpoints:
      - http://127.0.0.1:3000
      -
        url: http://127.0.0.1:3001
        weight: 3
    text: \"one\\ntwo\\n\"
";
    assert_eq!(to_yaml(&root), expected);
    for text in [
        "no", "12", "", "a: b", "- x", "#", "x #y", "~", "null", "<<", "'", "\u{feff}", "*a", "&a", "!x",
        "%", "...", "---", "a:",
    ] {
        let node = Node::made(Value::Map(Arc::new(Map::new(vec![Entry {
            key: text.into(),
            place: Place::default(),
            node: Node::made(Value::List([Node::made(Value::Str(text.into()))].into())),
        }]))));
        assert_eq!(yaml(&to_yaml(&node)), node, "{text}");
    }
}

/// Any tree that a format can hold.
pub(crate) fn any_node(nulls: bool) -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(if nulls { Value::Null } else { Value::Bool(false) }),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::Float),
        ".{0,8}".prop_map(|s| Value::Str(s.into())),
        "[a-z0-9:# -]{0,6}".prop_map(|s| Value::Str(s.into())),
        any::<char>().prop_map(|c| Value::Str(c.to_string().into())),
    ]
    .prop_map(Node::made);
    leaf.prop_recursive(4, 40, 6, |inner| {
        let map = proptest::collection::vec(("[a-d]|.{0,3}", inner.clone()), 0..6).prop_map(|entries| {
            let entry =
                |(key, node): (String, Node)| Entry { key: key.into(), place: Place::default(), node };
            Value::Map(Arc::new(Map::new(entries.into_iter().map(entry).collect())))
        });
        let list = proptest::collection::vec(inner, 0..4).prop_map(|items| Value::List(items.into()));
        prop_oneof![3 => map, 1 => list].prop_map(Node::made)
    })
}

proptest! {
    #[test]
    fn json_round_trip(node in any_node(true)) {
        prop_assert_eq!(&read(Format::Json, &to_json(&node)).unwrap(), &node);
        prop_assert_eq!(&from_json_value(&to_json_value(&node)).unwrap(), &node);
    }

    #[test]
    fn yaml_round_trip(node in any_node(true)) {
        let text = to_yaml(&node);
        let read = read(Format::Yaml, &text);
        // A null alone is a text that says nothing only if it is written so; here it says `null`.
        prop_assert_eq!(&read.unwrap(), &node, "{}", text);
    }

    #[test]
    fn no_text_breaks_a_reader(text in "[\\PC\n\t]{0,60}", structured in "[a-c:{}\\[\\],&*!|>'\"#\n =.-]{0,40}") {
        for format in [Format::Yaml, Format::Toml, Format::Json] {
            let _ = read(format, &text);
            let _ = read(format, &structured);
        }
    }
}
