use evergate_conf::{Digest, FileId, Format, Limits, format::parse};

use super::*;

fn yaml(text: &str) -> Node {
    parse(text, Format::Yaml, FileId::NONE, &Limits::default()).unwrap()
}

fn plan(old: &str, new: &str) -> Plan {
    let (old, new) = (yaml(old), yaml(new));
    let side = |document| Side { document, pins: &[] };
    Plan::between(side(&old), side(&new), &hide_literals())
}

#[track_caller]
fn check(old: &str, new: &str, expected: &[&str]) {
    assert_eq!(plan(old, new).lines().collect::<Vec<_>>(), expected, "{old} to {new}");
}

#[test]
fn changes_are_told_by_object_and_field() {
    let api = "routes: { api: { timeout: 30s, match: { path: /v1 } } }";
    check(api, api, &[]);
    check(
        api,
        "routes: { api: { timeout: 10s, match: { path: /v2 } } }",
        &["routes.api.match.path /v1 → /v2", "routes.api.timeout 30s → 10s"],
    );
    check(api, "routes: { api: { match: { path: /v1 } } }", &["routes.api.timeout 30s → unset"]);
    check(api, "routes: {}", &["routes.api removed"]);
    check(
        api,
        "routes: { api: { timeout: 30s, match: { path: /v1 } }, b: { forward: x } }",
        &["routes.b added: {\"forward\":\"x\"}"],
    );
    check("workers: 2", "workers: auto", &["workers 2 → auto"]);
    check("{}", "workers: 2", &["workers added: 2"]);
    check("log: { level: info }", "log: { level: debug }", &["log.level info → debug"]);
    check("log: { level: info }", "log: { level: \"in fo\" }", &["log.level info → \"in fo\""]);
    check("a: [1, 2]", "a: [1]", &["a [1,2] → [1]"]);
}

#[test]
fn a_section_that_comes_or_goes_is_told_by_its_objects() {
    let both = "routes: { a: { x: 1 }, b: { x: 2 } }";
    check(
        "workers: 1",
        &format!("workers: 1\n{both}"),
        &["routes.a added: {\"x\":1}", "routes.b added: {\"x\":2}"],
    );
    check(both, "routes: {}", &["routes.a removed", "routes.b removed"]);
    check("{}", both, &["routes.a added: {\"x\":1}", "routes.b added: {\"x\":2}"]);
    // What is no section any more is one change.
    check("log: { level: info }", "log: quiet", &["log {\"level\":\"info\"} → quiet"]);
    let kinds: Vec<_> = plan(both, "routes: { b: { x: 3 }, c: {} }").objects.iter().map(|o| o.kind).collect();
    assert_eq!(kinds, [Kind::Removed, Kind::Changed, Kind::Added]);
}

#[test]
fn sections_can_be_asked_for() {
    let plan = plan("routes: { a: { x: 1 } }\nworkers: 1", "routes: { b: { x: 1 } }\nworkers: 2");
    assert_eq!(plan.section("routes").collect::<Vec<_>>(), [("a", Kind::Removed), ("b", Kind::Added)]);
    assert!(plan.has_section("workers") && plan.has_section("routes") && !plan.has_section("log"));
    assert!(!plan.is_empty() && Plan::default().is_empty());
}

#[test]
fn secrets_are_hidden_wherever_they_are() {
    for (old, new) in [
        ("admin: { token: { literal: hunter2 } }", "admin: { token: { literal: hunter3 } }"),
        ("admin: { token: { env: X } }", "admin: { token: { literal: hunter2 } }"),
        ("admin: { token: { literal: hunter2 } }", "admin: {}"),
        ("{}", "admin: { token: { literal: hunter2 } }"),
        ("x: [1]", "x: [{ literal: hunter2 }]"),
        ("a: { literal: { deep: hunter2 } }", "a: { literal: { deep: hunter3 } }"),
    ] {
        let plan = plan(old, new);
        let shown = format!("{plan} {plan:?} {}", serde_json::to_string(&plan).unwrap());
        assert!(!plan.is_empty() && !shown.contains("hunter"), "{shown}");
    }
}

#[test]
fn another_content_of_a_file_is_a_change_of_the_object_that_names_it() {
    let document =
        yaml("certificates: { a: { cert: /a.pem, key: /a.key }, b: { cert: /b.pem, key: /b.key } }");
    let pins = |a: &str| -> Vec<Pin> {
        [("/a.key", "k"), ("/a.pem", a), ("/b.key", "k"), ("/b.pem", "b")]
            .map(|(path, content)| Pin::new(path.into(), Some(Digest::of(content.as_bytes()))))
            .into()
    };
    let (old, new) = (pins("1"), pins("2"));
    let side = |pins| Side { document: &document, pins };
    let plan = Plan::between(side(&old), side(&new), &hide_literals());
    assert_eq!(plan.summary(9), "certificates.a.cert has another content");
    assert!(Plan::between(side(&old), side(&old), &hide_literals()).is_empty());
    assert_eq!(
        serde_json::to_string(&plan.objects).unwrap(),
        r#"[{"object":"certificates.a","kind":"changed","fields":[{"field":"cert","content":"changed"}]}]"#
    );
}

#[test]
fn a_summary_has_a_bound() {
    let routes = |n: usize| {
        let all: Vec<String> = (0..n).map(|i| format!("r{i:03}: {{ x: {} }}", "y".repeat(300))).collect();
        format!("routes: {{ {} }}", all.join(", "))
    };
    let plan = plan("{}", &routes(100));
    let summary = plan.summary(3);
    assert!(summary.ends_with("… and 97 more") && summary.len() < 600, "{summary}");
    assert_eq!(plan.summary(0), "100 changes");
    assert_eq!(Plan::default().summary(3), "nothing");
}
