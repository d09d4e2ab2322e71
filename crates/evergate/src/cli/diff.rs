//! `evergate diff`: the plan between two documents or revisions, or against what runs.

use std::path::Path;

use evergate_conf::{Node, Path as Field, format::json::from_json_value};
use evergate_reload::{
    Pin, Plan,
    plan::{Side, hide_literals, redact},
};
use http::Method;
use serde_json::{Value, json};

use super::{
    DiffArgs, Done, Failure, Format, change, check,
    client::{Call, Gateway, quoted},
    show::{self, Paint},
};
use crate::{compose::loader, exit::Exit};

/// What the arguments name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named<'a> {
    /// Kept by the gateway.
    Revision(&'a str),
    /// On disk.
    File(&'a str),
}

/// A side to compare: what a document says, and the contents that it pins if they are known.
struct Known {
    document: Node,
    pins: Option<Vec<Pin>>,
}

pub(super) fn diff(args: &DiffArgs) -> Done {
    let body = match (args.from.as_deref().map(named), args.to.as_deref().map(named)) {
        (None, _) => return would_reload(args),
        (Some(only), None) => between(args, Named::Revision("running"), only)?,
        (Some(from), Some(to)) => between(args, from, to)?,
    };
    let Some(body) = body else { return Ok(Exit::Refused) };
    print(&body, args.output.format);
    Ok(Exit::Ok)
}

fn named(text: &str) -> Named<'_> {
    let is_revision = text == "running"
        || text.parse::<evergate_reload::RevisionId>().is_ok()
        || !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if is_revision && !Path::new(text).exists() { Named::Revision(text) } else { Named::File(text) }
}

fn would_reload(args: &DiffArgs) -> Done {
    let call = Call { method: Method::POST, path: "/reload?insist=true&dry_run=true", ..Call::default() };
    let answer = args.at.gateway()?.call(call)?;
    let mut body = answer.good()?;
    if let Value::Object(map) = &mut body {
        map.entry("changes").or_insert(json!([]));
    }
    print(&body, args.output.format);
    Ok(Exit::Ok)
}

/// The plan; `None` if a file is wrong, which was said.
fn between(args: &DiffArgs, from: Named<'_>, to: Named<'_>) -> Result<Option<Value>, Failure> {
    if let (Named::Revision(a), Named::Revision(b)) = (from, to) {
        let path = format!("/revisions/{}/diff/{}", quoted(a), quoted(b));
        return args.at.gateway()?.call(Call { path: &path, ..Call::default() })?.good().map(Some);
    }
    let (Some(from), Some(to)) = (known(args, from)?, known(args, to)?) else { return Ok(None) };
    Ok(Some(compare(&from, &to)))
}

fn compare(from: &Known, to: &Known) -> Value {
    // Contents count only where both sides know them.
    let pins = |a: &Known, b: &Known| a.pins.clone().filter(|_| b.pins.is_some()).unwrap_or_default();
    let (old, new) = (pins(from, to), pins(to, from));
    let (old, new) =
        (Side { document: &from.document, pins: &old }, Side { document: &to.document, pins: &new });
    let plan = Plan::between(old, new, &hide_literals());
    json!({ "changes": plan.lines().collect::<Vec<_>>(), "plan": plan })
}

fn known(args: &DiffArgs, what: Named<'_>) -> Result<Option<Known>, Failure> {
    match what {
        Named::Revision(id) => of_revision(&args.at.gateway()?, id).map(Some),
        Named::File(file) => of_file(file),
    }
}

fn of_revision(gateway: &Gateway, id: &str) -> Result<Known, Failure> {
    let path = format!("/revisions/{}", quoted(id));
    let body = gateway.call(Call { path: &path, ..Call::default() })?.good()?;
    let document = body.get("document").unwrap_or(&Value::Null);
    let document = from_json_value(document).map_err(|e| Failure::new(Exit::Software, e.to_string()))?;
    Ok(Known { document, pins: None })
}

fn of_file(file: &str) -> Result<Option<Known>, Failure> {
    let mut loader = loader();
    match check::document(&mut loader, &[file])? {
        Ok((document, pins)) => {
            // A revision comes with its secrets hidden: so that equal ones compare equal, these are too.
            let hidden = redact(&document, &Field::root(), &document, &hide_literals());
            Ok(Some(Known { document: hidden, pins: Some(pins) }))
        }
        Err(report) => {
            show::problems(&report);
            Ok(None)
        }
    }
}

fn print(body: &Value, format: Format) {
    if format == Format::Json {
        return show::json(body);
    }
    let text = change::changes(body, Paint::of_stdout());
    show::say(if text.is_empty() { "nothing differs" } else { &text });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_revisions_from_files() {
        for (text, expected) in [
            ("42-9f3a1c", Named::Revision("42-9f3a1c")),
            ("42", Named::Revision("42")),
            ("running", Named::Revision("running")),
            ("gate.yaml", Named::File("gate.yaml")),
            ("42-9f3a1", Named::File("42-9f3a1")),
            ("", Named::File("")),
            ("-", Named::File("-")),
        ] {
            assert_eq!(named(text), expected);
        }
    }

    #[test]
    fn files_compare_by_fields_and_by_the_contents_they_name() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let a = write("a.yaml", "log: { level: info }\nadmin: { token: { literal: one } }\n");
        let b = write("b.yaml", "log: { level: debug }\nadmin: { token: { literal: two } }\n");
        let side = |path: &str| of_file(path).unwrap().unwrap();
        assert_eq!(compare(&side(&a), &side(&b))["changes"], json!(["log.level info → debug"]));
        assert_eq!(compare(&side(&a), &side(&a))["changes"], json!([]));

        let c = write("c.yaml", "certificates: { x: { cert: x.pem, key: x.key } }\n");
        write("x.pem", "1");
        let before = side(&c);
        write("x.pem", "2");
        let after = side(&c);
        assert_eq!(compare(&before, &after)["changes"], json!(["certificates.x.cert has another content"]));
        let unknown = Known { pins: None, ..side(&c) };
        assert_eq!(
            compare(&before, &unknown)["changes"],
            json!([]),
            "contents that are not known do not count"
        );
    }
}
