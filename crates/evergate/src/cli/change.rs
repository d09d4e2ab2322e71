//! Commands that change what runs, and what they say of the verdict.

use std::{fmt::Write as _, path::Path};

use evergate_conf::Format as Text;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    ApplyArgs, Done, Failure, Format, PatchArgs, ReloadArgs, RollbackArgs, Write,
    check::read_stdin,
    client::{Answer, Call, quoted},
    show::{self, Paint},
};
use crate::exit::Exit;

/// What the gateway calls a text that was sent to it.
const SENT: &str = "request";
/// Changes that people are shown; `--format json` has all.
const SHOWN_MAX: usize = 50;

pub(super) fn reload(args: &ReloadArgs) -> Done {
    // Who types the command wants the files as they are, held, shrunk or not.
    write(&args.write, Method::POST, "/reload?insist=true", None)
}

pub(super) fn apply(args: &ApplyArgs) -> Done {
    let (name, text) = read(&args.file)?;
    let format = name.and_then(Text::of_name).unwrap_or_else(|| Text::of_text(&text));
    let kind = match format {
        Text::Yaml => "application/yaml",
        Text::Toml => "application/toml",
        Text::Json => "application/json",
    };
    let name = name.map_or("<stdin>".to_owned(), |n| n.display().to_string());
    write(&args.write, Method::PUT, "/config", Some(Content { kind, text, name }))
}

pub(super) fn patch(args: &PatchArgs) -> Done {
    let (name, text) = match args.patch.as_str() {
        "-" => ("<stdin>", read_stdin()?),
        text => ("patch", text.to_owned()),
    };
    let content = Content { kind: "application/merge-patch+json", text, name: name.to_owned() };
    write(&args.write, Method::PATCH, "/config", Some(content))
}

pub(super) fn rollback(args: &RollbackArgs) -> Done {
    let path = match &args.to {
        Some(to) => format!("/rollback?to={}", quoted(to)),
        None => "/rollback".to_owned(),
    };
    write(&args.write, Method::POST, &path, None)
}

/// The text of a file, and its name if it has one.
fn read(file: &Path) -> Result<(Option<&Path>, String), Failure> {
    if file.as_os_str() == "-" {
        return Ok((None, read_stdin()?));
    }
    match std::fs::read_to_string(file) {
        Ok(text) => Ok((Some(file), text)),
        Err(error) => Err(Failure::new(Exit::NoInput, format!("cannot read {}: {error}", file.display()))),
    }
}

/// What is sent: its media type, itself, and what the user calls it.
struct Content {
    kind: &'static str,
    text: String,
    name: String,
}

fn write(args: &Write, method: Method, path: &str, content: Option<Content>) -> Done {
    let sign = if path.contains('?') { '&' } else { '?' };
    let path = if args.dry_run { format!("{path}{sign}dry_run=true") } else { path.to_owned() };
    let (content, name) = content.map(|c| ((c.kind, c.text), c.name)).unzip();
    let call = Call { method, path: &path, content, if_match: args.if_match.as_deref() };
    let answer = args.at.gateway()?.call(call)?;
    if answer.body.get("verdict").is_none() {
        return Err(answer.failure());
    }
    let exit = exit_of(&answer);
    match args.output.format {
        Format::Json => show::json(&answer.body),
        Format::Human if exit == Exit::Ok => show::say(&good(&answer.body, Paint::of_stdout())),
        Format::Human => show::complain(&bad(&answer.body, name.as_deref())),
    }
    Ok(exit)
}

fn exit_of(answer: &Answer) -> Exit {
    match answer.status {
        StatusCode::OK => Exit::Ok,
        s if s.is_client_error() => Exit::Refused,
        _ => Exit::NoAnswer,
    }
}

/// What an applied, unchanged or planned change did.
pub(super) fn good(body: &Value, paint: Paint) -> String {
    let text_of = |key: &str| body.get(key).map(show::plain).unwrap_or_default();
    let mut text = match text_of("verdict").as_str() {
        "applied" => format!("{} {}\n", paint.good("applied"), text_of("revision")),
        "unchanged" if body.get("held") == Some(&Value::Bool(true)) => {
            format!("unchanged: {} runs; the files are held since a rollback\n", text_of("revision"))
        }
        "unchanged" => format!("unchanged: {} runs\n", text_of("revision")),
        _ => format!("{} this would change:\n", paint.doubtful("planned")),
    };
    text.push_str(&changes(body, paint));
    let warnings = body.get("warnings").and_then(Value::as_array);
    for warning in warnings.into_iter().flatten() {
        let _ = writeln!(text, "{}: {}", paint.doubtful("warning"), finding(warning, None));
    }
    text
}

/// The changes of a plan, one a line, and what they disturb.
pub(super) fn changes(body: &Value, paint: Paint) -> String {
    let lines: Vec<&str> = body
        .get("changes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut text = String::new();
    for line in lines.iter().take(SHOWN_MAX) {
        let _ = writeln!(text, "  {line}");
    }
    if lines.len() > SHOWN_MAX {
        let _ = writeln!(text, "  {}", paint.dim(&format!("and {} more", lines.len() - SHOWN_MAX)));
    }
    let touches = body.pointer("/plan/touches").and_then(Value::as_array);
    for touch in touches.into_iter().flatten() {
        let part = |key: &str| touch.get(key).map(show::plain).unwrap_or_default();
        let _ = writeln!(text, "  {} {}: {}", paint.doubtful("!"), part("object"), part("effect"));
    }
    text
}

/// Why it was not done. Problems in what was sent are said of `name`.
fn bad(body: &Value, name: Option<&str>) -> String {
    let part = |key: &str| body.get(key).map(show::plain).unwrap_or_default();
    let problems = body.get("problems").and_then(Value::as_array);
    let findings: Vec<String> = problems.into_iter().flatten().map(|p| finding(p, name)).collect();
    let running =
        body.get("running").filter(|r| !r.is_null()).map(|r| format!("; {} runs on", show::plain(r)));
    let running = running.unwrap_or_default();
    match findings.as_slice() {
        [] => format!("{}: {}", part("verdict"), part("detail")),
        [only] => format!("{}: {only}{running}", part("verdict")),
        many => format!(
            "{}: {}{running}\n  {}",
            part("verdict"),
            show::count(many.len() as u64, "problem"),
            many.join("\n  ")
        ),
    }
}

/// A problem in a line: where, what, how to mend it.
fn finding(found: &Value, name: Option<&str>) -> String {
    let part = |key: &str| found.get(key).map(show::plain).filter(|t| !t.is_empty());
    let mut text = String::new();
    if let Some(file) = part("file") {
        text.push_str(if file == SENT { name.unwrap_or(SENT) } else { &file });
        for number in [part("line"), part("column")].into_iter().flatten() {
            let _ = write!(text, ":{number}");
        }
        text.push_str(": ");
    } else if let Some(path) = part("path") {
        let _ = write!(text, "{path}: ");
    }
    text.push_str(&part("message").unwrap_or_default());
    if let Some(help) = part("help") {
        let _ = write!(text, "; {help}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn verdicts_read_well() {
        let none = Paint::none();
        let applied = json!({
            "verdict": "applied", "revision": "42-9f3a1c", "changes": ["log.level info → debug"],
            "plan": { "touches": [{ "object": "listeners.web", "effect": "2 connections are closed" }] },
            "warnings": [{ "file": "a.yaml", "line": 3, "column": 1, "message": "odd", "help": "mend it" }],
        });
        let expected = "applied 42-9f3a1c\n  log.level info → debug\n  ! listeners.web: 2 connections are closed\n\
                        warning: a.yaml:3:1: odd; mend it\n";
        assert_eq!(good(&applied, none), expected);
        let unchanged = json!({ "verdict": "unchanged", "revision": "42-9f3a1c", "held": false });
        assert_eq!(good(&unchanged, none), "unchanged: 42-9f3a1c runs\n");
        let held = json!({ "verdict": "unchanged", "revision": "42-9f3a1c", "held": true });
        assert!(good(&held, none).contains("held"));
        let planned = json!({ "verdict": "planned", "changes": ["a added: 1"] });
        assert_eq!(good(&planned, none), "planned this would change:\n  a added: 1\n");
    }

    #[test]
    fn refusals_name_every_problem() {
        let one = json!({ "verdict": "refused", "running": "41-000000", "problems": [{ "path": "a.b", "message": "wrong" }] });
        assert_eq!(bad(&one, None), "refused: a.b: wrong; 41-000000 runs on");
        let sent = json!({ "verdict": "refused", "problems": [{ "file": "request", "line": 2, "column": 8, "message": "x" }] });
        assert_eq!(bad(&sent, Some("a.yaml")), "refused: a.yaml:2:8: x");
        let two = json!({ "verdict": "refused", "problems": [{ "message": "x" }, { "message": "y" }] });
        assert_eq!(bad(&two, None), "refused: 2 problems\n  x\n  y");
        let conflict = json!({ "verdict": "conflict", "detail": "41-000000 runs" });
        assert_eq!(bad(&conflict, None), "conflict: 41-000000 runs");
    }

    #[test]
    fn long_plans_are_cut() {
        let lines: Vec<String> = (0..SHOWN_MAX + 2).map(|i| format!("r{i} removed")).collect();
        let text = changes(&json!({ "changes": lines }), Paint::none());
        assert_eq!(text.lines().count(), SHOWN_MAX + 1);
        assert!(text.ends_with("and 2 more\n"));
    }

    #[test]
    fn exit_codes() {
        for (status, exit) in
            [(200, Exit::Ok), (422, Exit::Refused), (412, Exit::Refused), (503, Exit::NoAnswer)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(exit_of(&Answer { status, body: Value::Null }), exit);
        }
    }
}
