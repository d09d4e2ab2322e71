use std::collections::BTreeMap;

use ::serde::Deserialize;

use super::*;
use crate::{
    files::Files,
    format::{Format, Limits, parse},
    secret::Secret,
    units::{ByteSize, Span},
};

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Gate {
    #[serde(default = "second")]
    timeout: Span,
    #[serde(default)]
    size: Option<ByteSize>,
    #[serde(default)]
    workers: Workers,
    #[serde(default)]
    balance: Balance,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    routes: BTreeMap<String, Route>,
    #[serde(default)]
    ends: Vec<End>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    on: bool,
}

fn second() -> Span {
    Span::secs(1)
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Balance {
    #[default]
    RoundRobin,
    /// With a text of its own.
    LeastRequests,
    Random,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Auto {
    #[default]
    Auto,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Workers {
    Auto(Auto),
    Number(u16),
}

impl Default for Workers {
    fn default() -> Workers {
        Workers::Auto(Auto::Auto)
    }
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    path: Match,
    #[serde(default)]
    weight: Option<u8>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Match {
    Prefix(String),
    By(By),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    Exact(String),
    Prefix(String),
    Regex(String),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum End {
    Url(String),
    Full(FullEnd),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FullEnd {
    url: String,
    #[serde(default)]
    weight: Option<u32>,
}

fn decode_text(text: &str) -> (Option<Gate>, Report) {
    let mut files = Files::new();
    let file = files.named("gate.yaml", std::path::Path::new("/"), Some(text.into()));
    let node = parse(text, Format::Yaml, file, &Limits::default()).unwrap();
    let mut report = Report::new();
    let gate = decode(&node, &Path::root(), &mut report);
    report.locate(&files);
    (gate, report)
}

#[test]
fn good_documents_decode() {
    let (gate, report) = decode_text(
        "timeout: 5s\nsize: 10MB\nworkers: 3\nbalance: random\nport: 80\nroutes:\n  a: { path: /x }\n  \
         b: { path: { exact: /y }, weight: 3 }\nends: [http://a, { url: http://b, weight: 2 }]\non: true\n\
         password: { literal: hunter2 }",
    );
    let gate = gate.unwrap_or_else(|| panic!("{report}"));
    assert!(report.is_empty());
    assert_eq!(gate.timeout, Span::secs(5));
    assert_eq!(gate.workers, Workers::Number(3));
    assert_eq!(gate.routes["b"].path, Match::By(By::Exact("/y".into())));
    assert_eq!(gate.ends[1], End::Full(FullEnd { url: "http://b".into(), weight: Some(2) }));
    assert_eq!(gate.password.unwrap().expose(), "hunter2");
}

/// Each row: a document, and `path line:column message / help` of every problem.
#[test]
fn every_problem_is_found_with_its_place() {
    let rows: &[(&str, &[&str])] = &[
        ("tiemout: 5s", &["tiemout 1:1 unknown key `tiemout` / did you mean `timeout`?"]),
        (
            "timeout: 5",
            &[
                "timeout 1:10 expected a duration such as 250ms, 5s or 1h30m, found the number 5 / write the unit: `5s` or `5ms`",
            ],
        ),
        ("timeout: 5sec", &["timeout 1:10 expected a duration such as 250ms, 5s or 1h30m, found `5sec`"]),
        (
            "size: 10kb",
            &["size 1:7 expected a size such as 64KiB, 10MB or 512, found `10kb`; did you mean `10KB`?"],
        ),
        ("size: []", &["size 1:7 expected a size such as 64KiB, 10MB or 512, found a list"]),
        (
            "workers: aut",
            &["workers 1:10 expected `auto` or a whole number, found the text `aut` / did you mean `auto`?"],
        ),
        ("workers: [1]", &["workers 1:10 expected `auto` or a whole number, found a list"]),
        ("workers: 70000", &["workers 1:10 expected at most 65535, found the number 70000"]),
        (
            "balance: round-robin",
            &[
                "balance 1:10 expected `round_robin`, `random` or `least_requests`, found the text `round-robin` / did you mean `round_robin`?",
            ],
        ),
        (
            "port: '80'",
            &["port 1:7 expected a whole number, found the text `80` / write it without quotes: 80"],
        ),
        ("port: -1", &["port 1:7 expected at least 0, found the number -1"]),
        ("on: yes", &["on 1:5 expected `true` or `false`, found the text `yes` / write `true`"]),
        ("routes:\n  a: {}", &["routes.a 2:6 missing key `path`"]),
        ("routes:\n  a: { pth: /x }", &["routes.a.pth 2:8 unknown key `pth` / did you mean `path`?"]),
        (
            "routes:\n  a: { path: 5 }",
            &[
                "routes.a.path 2:14 expected a text, `{ exact: … }`, `{ prefix: … }` or `{ regex: … }`, found the number 5",
            ],
        ),
        (
            "routes:\n  a.b: { path: { exat: /x } }",
            &["routes.\"a.b\".path.exat 2:18 unknown key `exat` / did you mean `exact`?"],
        ),
        (
            "routes:\n  a: { path: {} }",
            &["routes.a.path 2:14 expected one of the keys `exact`, `prefix` or `regex`"],
        ),
        (
            "routes:\n  a: { path: { exact: /x, regex: y } }",
            &["routes.a.path 2:27 `regex` cannot stand beside `exact` / keep one of them"],
        ),
        (
            "routes:\n  a: { path: { exact: 7 } }",
            &["routes.a.path.exact 2:23 expected a text, found the number 7 / quote it: \"7\""],
        ),
        ("routes: [a]", &["routes 1:9 expected a map, found a list"]),
        ("ends: [{ ulr: x }]", &["ends.0.ulr 1:10 unknown key `ulr` / did you mean `url`?"]),
        (
            "ends: [{ url: x, weight: heavy }]",
            &["ends.0.weight 1:26 expected a whole number, found the text `heavy`"],
        ),
        ("ends: x", &["ends 1:7 expected a list, found the text `x` / write a list: `[ … ]`"]),
        (
            "password: hunter2",
            &[
                "password 1:11 a secret is not written in the document: say where it is kept, `{ env: NAME }` or `{ file: path }`, or mark it with `{ literal: … }`",
            ],
        ),
        ("password: { evn: X }", &["password.evn 1:13 unknown key `evn` / did you mean `env`?"]),
        (
            "password: { env: EVERGATE_TEST_IS_NOT_SET }",
            &["password 1:11 environment variable `EVERGATE_TEST_IS_NOT_SET` is not set"],
        ),
        (
            "timeout: x\nport: y\nroutes:\n  a: { weight: 300 }\n",
            &[
                "port 2:7 expected a whole number, found the text `y`",
                "routes.a.weight 4:16 expected at most 255, found the number 300",
                "routes.a 4:6 missing key `path`",
                "timeout 1:10 expected a duration such as 250ms, 5s or 1h30m, found `x`",
            ],
        ),
        ("[]", &[" 1:1 expected a map, found a list"]),
    ];
    let mut wrong = String::new();
    for (text, expected) in rows {
        let (gate, report) = decode_text(text);
        assert!(gate.is_none(), "{text}");
        let found: Vec<String> = report
            .iter()
            .map(|d| {
                let at = d.at.clone().unwrap();
                let help = d.help.as_ref().map_or(String::new(), |h| format!(" / {h}"));
                format!("{} {}:{} {}{help}", d.path, at.line, at.column, d.message)
            })
            .collect();
        if found != *expected {
            wrong += &format!("{text}\n  expected {expected:#?}\n  found {found:#?}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_secret_is_in_no_report() {
    for text in [
        "password: hunter2",
        "password: { litral: hunter2 }",
        "password: { literal: hunter2, env: 5 }",
        "password: { literal: [hunter2] }",
        "password: { env: hunter2x, literal: hunter2 }",
        "password: [hunter2]",
        "pasword: { literal: hunter2 }",
        "password:\n  literal: hunter2\n  env: X",
        "password:\n  literal:\n    - hunter2",
        "password:\n  literal: [1,\n    hunter2]",
    ] {
        let (gate, report) = decode_text(text);
        assert!(gate.is_none(), "{text}");
        let shown = format!("{report}{}", serde_json::to_string(&report).unwrap());
        assert!(!shown.contains("hunter2"), "{text}: {shown}");
    }
}

#[test]
fn what_only_serde_knows_is_reported_at_its_place() {
    #[derive(Debug, Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Odd {
        list: Vec<Even>,
    }
    #[derive(Debug, JsonSchema)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Even(i64);
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: ::serde::Deserializer<'de>>(d: D) -> Result<Even, D::Error> {
            match i64::deserialize(d)? {
                n if n % 2 == 0 => Ok(Even(n)),
                n => Err(::serde::de::Error::custom(format!("{n} is odd"))),
            }
        }
    }
    let node = parse("list:\n- 2\n- 3", Format::Yaml, crate::FileId(1), &Limits::default()).unwrap();
    let mut report = Report::new();
    assert!(decode::<Odd>(&node, &Path::root(), &mut report).is_none());
    let found: Vec<_> = report.iter().map(|d| (d.place.line, d.place.column, d.message.as_str())).collect();
    assert_eq!(found, [(3, 3, "3 is odd")]);
}

#[test]
fn the_test_schema_has_no_keyword_that_is_passed_over() {
    assert_eq!(schema::unknown_keywords(&schema::schema_of::<Gate>()), Vec::<String>::new());
}
