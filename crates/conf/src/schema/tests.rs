use serde_json::json;

use super::*;
use crate::{
    FileId, Limits, Path, Report,
    format::{Format, parse},
};

#[test]
fn the_nearest_name_is_suggested() {
    let names = ["timeout", "connect_timeout", "round_robin", "to", "api", "web"];
    for (word, expected) in [
        ("tiemout", Some("timeout")),
        ("Timeout", Some("timeout")),
        ("round-robin", Some("round_robin")),
        ("roundrobin", Some("round_robin")),
        ("ap", Some("api")),
        ("wbe", Some("web")),
        ("listeners", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(suggest(word, names).as_deref(), expected, "{word}");
    }
}

fn messages(schema: &Json, yaml: &str) -> Vec<String> {
    let node = parse(&format!("x: {yaml}"), Format::Yaml, FileId(1), &Limits::default()).unwrap();
    let mut report = Report::new();
    validate(node.get("x").unwrap(), schema, &Path::root(), &mut report);
    report.iter().map(|d| d.message.clone()).collect()
}

#[test]
fn each_keyword_is_checked() {
    let tagged = json!({ "oneOf": [
        { "type": "object", "properties": { "kind": { "const": "http" }, "path": { "type": "string" } },
          "required": ["kind", "path"], "additionalProperties": false },
        { "type": "object", "properties": { "kind": { "const": "tcp" } }, "required": ["kind"],
          "additionalProperties": false },
    ] });
    let rows = [
        (json!(false), "1", "nothing can be written here"),
        (json!({ "type": "integer", "minimum": 1 }), "0", "expected at least 1, found the number 0"),
        (json!({ "type": "integer", "maximum": 1 }), "2", "expected at most 1, found the number 2"),
        (
            json!({ "type": "number", "exclusiveMinimum": 0 }),
            "0.0",
            "expected more than 0, found the number 0.0",
        ),
        (json!({ "type": "number", "exclusiveMaximum": 1 }), "1", "expected less than 1, found the number 1"),
        (json!({ "type": "integer", "format": "uint32" }), "-1", "expected at least 0, found the number -1"),
        (json!({ "type": "integer" }), "1.5", "expected a whole number, found the number 1.5"),
        (json!({ "type": "string", "minLength": 1 }), "''", "expected a text, found an empty text"),
        (json!({ "type": "string", "maxLength": 2 }), "abc", "expected at most 2 characters, found 3"),
        (json!({ "type": "string", "pattern": "^a+$" }), "ab", "`ab` does not look like `^a+$`"),
        (
            json!({ "type": "string", "pattern": "^a+$", "examples": ["a", "aa"] }),
            "ab",
            "`ab` does not look like `a` or `aa`",
        ),
        (json!({ "type": "array", "minItems": 1 }), "[]", "expected at least 1 items, found 0"),
        (json!({ "type": "array", "maxItems": 1 }), "[1, 2]", "expected at most 1 items, found 2"),
        (json!({ "type": "array", "uniqueItems": true }), "[a, b, a]", "the text `a` is written twice"),
        (
            json!({ "prefixItems": [{ "type": "string" }], "items": { "type": "integer" } }),
            "[a, b]",
            "expected a whole number, found the text `b`",
        ),
        (json!({ "type": "object", "minProperties": 1 }), "{}", "expected at least 1 keys, found 0"),
        (
            json!({ "type": "object", "maxProperties": 1 }),
            "{ a: 1, b: 2 }",
            "expected at most 1 keys, found 2",
        ),
        (
            json!({ "patternProperties": { "^[0-9]+$": { "type": "string" } }, "additionalProperties": false }),
            "{ '1': a, b: c }",
            "unknown key `b`",
        ),
        (
            json!({ "additionalProperties": { "type": "string" } }),
            "{ a: [] }",
            "expected a text, found a list",
        ),
        (
            json!({ "allOf": [{ "properties": { "a": {} } }], "properties": { "b": {} }, "unevaluatedProperties": false }),
            "{ a: 1, b: 1, c: 1 }",
            "unknown key `c`",
        ),
        (json!({ "const": "a" }), "b", "expected `a`, found the text `b`"),
        (json!({ "enum": ["a", 5] }), "b", "expected `a` or `5`, found the text `b`"),
        (
            json!({ "$ref": "#/$defs/A", "$defs": { "A": { "type": "boolean" } } }),
            "b",
            "expected `true` or `false`, found the text `b`",
        ),
        (tagged.clone(), "{ path: /x }", "missing key `kind`"),
        (tagged.clone(), "{ kind: htpp }", "expected `http` or `tcp`, found the text `htpp`"),
        (tagged.clone(), "{ kind: http }", "missing key `path`"),
        (tagged.clone(), "{ kind: tcp, path: /x }", "unknown key `path`"),
        (
            json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }),
            "'5'",
            "expected a whole number, found the text `5`",
        ),
    ];
    for (schema, yaml, expected) in rows {
        assert_eq!(messages(&schema, yaml), [expected], "{schema} {yaml}");
    }
    for (schema, yaml) in
        [(tagged, "{ kind: http, path: /x }"), (json!(true), "1"), (json!({ "enum": ["a", 5] }), "5")]
    {
        assert_eq!(messages(&schema, yaml), Vec::<String>::new());
    }
}

#[test]
fn keywords_that_would_be_passed_over_are_named() {
    let schema = json!({
        "properties": { "not": { "not": {} }, "a": { "items": { "multipleOf": 2 } } },
        "anyOf": [{ "if": {} }], "$defs": { "b": { "contains": {} } },
    });
    assert_eq!(unknown_keywords(&schema), ["contains", "if", "multipleOf", "not"]);
}

#[test]
fn units_say_in_the_schema_how_they_are_written() {
    use crate::units::{ByteSize, FilePath, Location, Span};
    let schemas =
        [schema_of::<Span>(), schema_of::<ByteSize>(), schema_of::<FilePath>(), schema_of::<Location>()];
    let formats = schemas.each_ref().map(|s| s["format"].as_str().unwrap());
    assert_eq!(formats, ["span", "size", "file", "location"]);
    assert!(schemas.iter().all(|s| s["description"].is_string()));
    let size = regex::Regex::new(schemas[1]["pattern"].as_str().unwrap()).unwrap();
    for (text, fits) in
        [("64KiB", true), ("10MB", true), ("512", true), ("5B", true), ("64kib", false), ("K", false)]
    {
        assert_eq!(size.is_match(text), fits, "{text}");
        assert_eq!(text.parse::<ByteSize>().is_ok(), fits, "{text}");
    }
}

#[test]
fn maps_that_ignore_keys_are_named() {
    let open = json!({ "properties": { "a": {} } });
    let schema = json!({
        "properties": { "properties": { "type": "string" }, "x": open }, "additionalProperties": false,
        "$defs": { "b": { "oneOf": [{ "properties": {}, "unevaluatedProperties": false }, open] } },
    });
    assert_eq!(open_maps(&schema), ["/$defs/b/oneOf/1", "/properties/x"]);
}
