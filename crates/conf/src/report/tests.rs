use std::path::Path as FsPath;

use super::*;

fn located(text: &str, line: u32, column: u16, sensitive: bool) -> Report {
    let mut files = Files::new();
    let file = files.named("gate.yaml", FsPath::new("/"), Some(text.into()));
    let mut report = Report::new();
    let found = report.problem("code", &Path::root(), Place { line, column, file }, "it is wrong");
    found.sensitive = sensitive;
    report.locate(&files);
    report
}

#[test]
fn a_report_reads_like_a_compilers() {
    let mut files = Files::new();
    let text = "listeners:\n  web:\n    tiemout: 5s\n";
    let file = files.named("gate.yaml", FsPath::new("/etc"), Some(text.into()));
    let mut report = Report::new();
    let path: Path = "listeners.web.tiemout".parse().unwrap();
    report
        .problem("unknown_key", &path, Place { line: 3, column: 5, file }, "unknown key `tiemout`")
        .help("did you mean `timeout`?");
    report.file_problem("unreadable", FsPath::new("/etc/b.yaml"), "cannot read: gone");
    report.warning("odd", &path, Place::default(), "odd");
    report.locate(&files);
    let expected = "\
error: unknown key `tiemout`
 --> gate.yaml:3:5
  |
3 |     tiemout: 5s
  |     ^
  = in: listeners.web.tiemout
  = help: did you mean `timeout`?

error: cannot read: gone
 --> /etc/b.yaml

warning: odd
 --> listeners.web.tiemout
";
    assert_eq!(report.to_string(), expected);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json[0],
        serde_json::json!({
            "code": "unknown_key", "severity": "error", "path": "listeners.web.tiemout",
            "at": { "file": "gate.yaml", "line": 3, "column": 5 }, "snippet": "    tiemout: 5s",
            "message": "unknown key `tiemout`", "help": "did you mean `timeout`?",
        })
    );
    let back: Report = serde_json::from_value(json).unwrap();
    assert_eq!(back.to_string(), expected);
    assert!(report.has_errors());
}

#[test]
fn warnings_refuse_nothing() {
    let mut report = Report::new();
    report.warning("odd", &Path::root(), Place::default(), "odd");
    assert!(!report.has_errors() && !report.is_empty());
}

#[test]
fn a_long_line_is_cut_around_its_column() {
    let text = format!("x: [{}]", "1234567,".repeat(100));
    let shown = located(&text, 1, 400, false).to_string();
    let caret = shown.lines().find(|l| l.ends_with('^')).unwrap();
    assert!(shown.lines().all(|l| l.len() < 200) && caret.len() < 100, "{shown}");
}

/// Each row: a text with the secret `hunter2`, and the line to show.
#[test]
fn secrets_are_masked() {
    for (text, line, shown) in [
        ("a: { literal: hunter2 }", 1, "a: { literal: ***"),
        ("a: { \"literal\" : 'hunter2' }", 1, "a: { \"literal\" : ***"),
        ("a = { literal = 'hunter2' }", 1, "a = { literal = ***"),
        ("{\"literal\":\"hunter2\"}", 1, "{\"literal\": ***"),
        ("a:\n  literal: >-\n    hunter2\n    hunter2", 4, "    ***"),
        ("a:\n  literal:\n    hunter2", 3, "    ***"),
        ("a:\n  literal: \"x\n    hunter2\"", 3, "    ***"),
        ("literal = '''\nhunter2'''", 2, "***"),
        ("literal = \"\"\"\na\nhunter2\"\"\"", 3, "***"),
        ("{\"literal\":\n\"hunter2\"}", 2, "***"),
        ("a:\n  literal: x\n    hunter2", 3, "    ***"),
        ("a:\n  literal:\n\n    hunter2\n    hunter2", 5, "    ***"),
        ("password: hunter2", 1, "password: ***"),
        ("api_token: hunter2", 1, "api_token: ***"),
    ] {
        let report = located(text, line, 1, false);
        assert_eq!(report.iter().next().unwrap().snippet.as_deref(), Some(shown), "{text}");
    }
    let report = located("key: hunter2, other: hunter2", 1, 1, true);
    assert_eq!(report.iter().next().unwrap().snippet.as_deref(), Some("key: ***"));
    let report = located("  - hunter2", 1, 1, true);
    assert_eq!(report.iter().next().unwrap().snippet.as_deref(), Some("***"));
    // Other lines are shown.
    for (text, line) in [
        ("literal: x\nother: 5", 2),
        ("a:\n  literal: |\n    x\nother: 5", 4),
        ("literal = '''\nx'''\nother: 5", 3),
        ("a:\n  literal:\n    x\nother: 5", 4),
    ] {
        let report = located(text, line, 1, false);
        assert_eq!(report.iter().next().unwrap().snippet.as_deref(), Some("other: 5"), "{text}");
    }
}
