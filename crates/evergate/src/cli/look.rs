//! Commands that look: status, history, one revision, where a value comes from.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;

use super::{
    Done, ExplainArgs, Format, HistoryArgs, LookArgs, ShowArgs,
    client::{Call, quoted},
    show::{self, Paint, plain},
};
use crate::{
    exit::Exit,
    time::{length, utc},
};

pub(super) fn status(args: &LookArgs) -> Done {
    let gateway = args.at.gateway()?;
    let body = gateway.call(Call { path: "/status", ..Call::default() })?.good()?;
    if args.output.format == Format::Json {
        show::json(&body);
        return Ok(Exit::Ok);
    }
    let upstreams = gateway.call(Call { path: "/upstreams", ..Call::default() })?.good()?;
    show::say(&status_text(&body, &upstreams, Paint::of_stdout()));
    Ok(Exit::Ok)
}

pub(super) fn history(args: &HistoryArgs) -> Done {
    let path = args.limit.map_or("/revisions".to_owned(), |n| format!("/revisions?limit={n}"));
    ask(&args.look, &path, history_text)
}

pub(super) fn show(args: &ShowArgs) -> Done {
    ask(&args.look, &format!("/revisions/{}", quoted(&args.revision)), revision_text)
}

pub(super) fn explain(args: &ExplainArgs) -> Done {
    ask(&args.look, &format!("/explain?path={}", quoted(&args.path)), explain_text)
}

fn ask(args: &LookArgs, path: &str, text: fn(&Value, Paint) -> String) -> Done {
    let body = args.at.gateway()?.call(Call { path, ..Call::default() })?.good()?;
    match args.output.format {
        Format::Json => show::json(&body),
        Format::Human => show::say(&text(&body, Paint::of_stdout())),
    }
    Ok(Exit::Ok)
}

fn at(body: &Value, pointer: &str) -> String {
    body.pointer(pointer).map(plain).unwrap_or_default()
}

fn number(body: &Value, pointer: &str) -> u64 {
    body.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn seconds(body: &Value, pointer: &str) -> f64 {
    body.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0)
}

fn list<'a>(body: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    body.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn is_true(body: &Value, pointer: &str) -> bool {
    body.pointer(pointer) == Some(&Value::Bool(true))
}

/// Who asked for it: `file`, or `api by uid 0`.
fn asker(body: &Value) -> String {
    match (at(body, "/origin"), at(body, "/author")) {
        (origin, author) if author.is_empty() => origin,
        (origin, author) => format!("{origin} by {author}"),
    }
}

fn status_text(body: &Value, upstreams: &Value, paint: Paint) -> String {
    let running = body.get("running").unwrap_or(&Value::Null);
    let mut rows = vec![
        vec![
            "running".to_owned(),
            paint.good(&at(running, "/revision")),
            format!("since {}, from {}", moment(seconds(running, "/since")), asker(running)),
        ],
        vec!["process".to_owned(), format!("pid {}", at(body, "/pid")), process(body)],
    ];
    if at(body, "/phase") == "draining" {
        rows.push(vec![paint.bad("draining"), String::new(), "takes no new work".to_owned()]);
    }
    rows.extend(state(body, paint));
    for listener in list(body, "/listeners") {
        let scheme = match (at(listener, "/carries").as_str(), is_true(listener, "/tls")) {
            ("udp", _) => "udp",
            ("tcp", false) => "tcp",
            ("tcp", true) => "tls",
            (_, false) => "http",
            (_, true) => "https",
        };
        let draining = if is_true(listener, "/draining") { ", draining" } else { "" };
        let open = show::count(number(listener, "/connections"), "connection");
        let address = format!("{scheme}://{}", at(listener, "/address"));
        rows.push(vec!["listener".to_owned(), at(listener, "/name"), format!("{address}  {open}{draining}")]);
    }
    for upstream in list(upstreams, "/upstreams") {
        rows.push(vec!["upstream".to_owned(), at(upstream, "/name"), endpoints(upstream, paint)]);
    }
    for generation in list(body, "/generations") {
        rows.push(vec!["generation".to_owned(), at(generation, "/revision"), holders(generation)]);
    }
    let mut text = show::table(&rows);
    if let Some(refused) = body.get("last_refused") {
        text.push_str(&refusal(refused, paint));
    }
    text
}

fn process(body: &Value) -> String {
    format!(
        "up {}, {}, {}, {} active, {}",
        length(seconds(body, "/uptime_seconds")),
        show::count(number(body, "/workers"), "worker"),
        show::count(number(body, "/traffic/requests"), "request"),
        number(body, "/traffic/active"),
        show::bytes(number(body, "/memory_bytes")),
    )
}

/// What is not as it usually is.
fn state(body: &Value, paint: Paint) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut note = |word: &str, text: &str| {
        rows.push(vec![paint.doubtful(word), String::new(), text.to_owned()]);
    };
    match at(body, "/started_from").as_str() {
        "last_good" => note("last good", "the files were refused at the start: what ran last runs again"),
        "previous" => {
            note("taken back", "what ran last ended its process again and again: what was before runs");
        }
        _ => {}
    }
    if is_true(body, "/held") {
        note("held", "the files differ from what runs and are not used until they change");
    }
    if is_true(body, "/overlay") {
        note("overlay", "something that runs was set by API; `evergate explain` says what");
    }
    match at(body, "/watching").as_str() {
        "off" => note("watching", "nobody looks for changed files"),
        "polling" => note("watching", "files are looked at every second only"),
        _ => {}
    }
    for (key, word) in [("last_crash", "crash"), ("last_failed_upgrade", "upgrade")] {
        let text = at(body, &format!("/supervisor/{key}"));
        if !text.is_empty() {
            note(word, &text);
        }
    }
    let draining = number(body, "/supervisor/draining");
    if draining > 0 {
        note("draining", &format!("{draining} that were replaced still finish what they do"));
    }
    if let Some(reason) = body.get("history_degraded") {
        note("history", &format!("what runs could not be written down: {}", plain(reason)));
    }
    for pending in list(body, "/pending") {
        note("pending", &format!("{}, in step {}", asker(pending), at(pending, "/stage")));
    }
    rows
}

fn endpoints(upstream: &Value, paint: Paint) -> String {
    let all: Vec<&Value> = list(upstream, "/endpoints").collect();
    let out = |e: &&&Value| at(e, "/health") == "unhealthy" || is_true(e, "/ejected");
    let dead: Vec<String> = all.iter().filter(out).map(|e| at(e, "/url")).collect();
    let living = format!("{} of {} serve", all.len() - dead.len(), all.len());
    if dead.is_empty() {
        living
    } else {
        format!("{living}  {}", paint.bad(&format!("not {}", dead.join(", "))))
    }
}

fn holders(generation: &Value) -> String {
    let age = length(seconds(generation, "/age_seconds"));
    let held = ["connections", "requests"].iter().filter_map(|kind| {
        let count = generation.get(*kind)?.as_u64()?;
        Some(show::count(count, kind.trim_end_matches('s')))
    });
    let held: Vec<String> = held.collect();
    if held.is_empty() { format!("{age} old") } else { format!("{age} old, {}", held.join(", ")) }
}

fn refusal(refused: &Value, paint: Paint) -> String {
    let when = moment(seconds(refused, "/time"));
    let mut text = format!(
        "{} {when}, from {}, in step {}\n",
        paint.bad("last refused"),
        asker(refused),
        at(refused, "/stage")
    );
    for problem in list(refused, "/report") {
        let file = at(problem, "/at/file");
        let place = if file.is_empty() {
            at(problem, "/path")
        } else {
            format!("{file}:{}:{}", number(problem, "/at/line"), number(problem, "/at/column"))
        };
        let _ = writeln!(text, "  {place}: {}", at(problem, "/message"));
    }
    text
}

fn history_text(body: &Value, paint: Paint) -> String {
    let running = at(body, "/running");
    let row = |revision: &Value| {
        let id = at(revision, "/id");
        let mark = if id == running { "*" } else { "" };
        let id = if id == running { paint.good(&id) } else { id };
        let restores = at(revision, "/restores");
        let what = if restores.is_empty() {
            at(revision, "/summary")
        } else {
            format!("back to {restores}: {}", at(revision, "/summary"))
        };
        let time = utc(Duration::from_millis(number(revision, "/time_ms")));
        vec![mark.to_owned(), id, time, asker(revision), what]
    };
    show::table(&list(body, "/revisions").map(row).collect::<Vec<_>>())
}

fn revision_text(body: &Value, paint: Paint) -> String {
    let time = utc(Duration::from_millis(number(body, "/time_ms")));
    let head = format!("# {}  {time}  from {}", at(body, "/id"), asker(body));
    let document = body.get("document").unwrap_or(&Value::Null);
    format!("{}\n{document:#}\n", paint.dim(&head))
}

fn explain_text(body: &Value, paint: Paint) -> String {
    let row = |value: &Value| {
        let path = at(value, "/path");
        let path = if path.is_empty() { ".".to_owned() } else { path };
        let file = at(value, "/at/file");
        let from = if file.is_empty() {
            at(value, "/layer")
        } else {
            format!("{file}:{}:{}", number(value, "/at/line"), number(value, "/at/column"))
        };
        vec![path, at(value, "/value"), paint.dim(&from)]
    };
    show::table(&list(body, "/values").map(row).collect::<Vec<_>>())
}

/// A time in seconds since 1970.
fn moment(seconds: f64) -> String {
    utc(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn status_is_a_table() {
        let body = json!({
            "running": { "revision": "42-9f3a1c", "since": 0.0, "origin": "api", "author": "uid 0" },
            "pid": 7, "uptime_seconds": 61.0, "workers": 2, "phase": "serving",
            "traffic": { "requests": 1, "active": 0 }, "memory_bytes": 1048576,
            "listeners": [{ "name": "web", "address": "127.0.0.1:80", "tls": false, "connections": 1, "draining": true }],
            "generations": [{ "revision": "42-9f3a1c", "age_seconds": 5.0, "connections": 1, "requests": 0 }],
            "overlay": true, "held": false, "watching": "events", "pending": [],
            "last_refused": { "time": 1.5, "origin": "file", "stage": "load", "report": [
                { "message": "bad", "path": "", "at": { "file": "a.yaml", "line": 3, "column": 4 } },
                { "message": "worse", "path": "routes.x" },
            ] },
        });
        let upstreams = json!({ "upstreams": [{ "name": "api", "endpoints": [
            { "url": "http://a", "health": "healthy", "ejected": false },
            { "url": "http://b", "health": "unhealthy", "ejected": false },
        ] }] });
        let expected = "\
running     42-9f3a1c  since 1970-01-01T00:00:00.000Z, from api by uid 0
process     pid 7      up 1m1s, 2 workers, 1 request, 0 active, 1.0 MiB
overlay                something that runs was set by API; `evergate explain` says what
listener    web        http://127.0.0.1:80  1 connection, draining
upstream    api        1 of 2 serve  not http://b
generation  42-9f3a1c  5s old, 1 connection, 0 requests
last refused 1970-01-01T00:00:01.500Z, from file, in step load
  a.yaml:3:4: bad
  routes.x: worse
";
        assert_eq!(status_text(&body, &upstreams, Paint::none()), expected);
    }

    #[test]
    fn history_marks_what_runs() {
        let body = json!({ "running": "2-000000", "revisions": [
            { "id": "2-000000", "time_ms": 0, "origin": "api", "author": "uid 0", "summary": "a removed", "restores": "1-000000" },
            { "id": "1-000000", "time_ms": 0, "origin": "start", "summary": "a added: 1" },
        ] });
        let expected = "\
*  2-000000  1970-01-01T00:00:00.000Z  api by uid 0  back to 1-000000: a removed
   1-000000  1970-01-01T00:00:00.000Z  start         a added: 1
";
        assert_eq!(history_text(&body, Paint::none()), expected);
    }

    #[test]
    fn explains_in_columns() {
        let body = json!({ "values": [
            { "path": "log.level", "value": "debug", "layer": "overlay" },
            { "path": "workers", "value": 2, "layer": "base", "at": { "file": "gate.yaml", "line": 1, "column": 10 } },
        ] });
        let expected = "log.level  debug  overlay\nworkers    2      gate.yaml:1:10\n";
        assert_eq!(explain_text(&body, Paint::none()), expected);
    }

    #[test]
    fn a_revision_shows_its_document() {
        let body = json!({ "id": "1-000000", "time_ms": 0, "origin": "start", "document": { "workers": 2 } });
        let expected = "# 1-000000  1970-01-01T00:00:00.000Z  from start\n{\n  \"workers\": 2\n}\n";
        assert_eq!(revision_text(&body, Paint::none()), expected);
    }
}
