//! One line of the log: an event as people read it, or as JSON.

use std::{
    fmt::{self, Write},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::time::utc;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Json,
    Human { colour: bool },
}

/// An event taken apart.
pub(super) struct Line {
    level: Level,
    target: &'static str,
    fields: Fields,
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

/// Fields that speak for themselves: their names are not shown to people.
const BARE: [&str; 3] = ["revision", "changes", "reason"];
/// Fields that people need not see.
const HIDDEN: [&str; 2] = ["transaction", "warnings"];

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Line {
        let mut fields = Fields::default();
        event.record(&mut fields);
        Line { level: *event.metadata().level(), target: event.metadata().target(), fields }
    }

    /// Says that so many lines were not written.
    pub(super) fn lost(count: u64) -> Line {
        let fields =
            Fields { message: "log lines were dropped".to_owned(), others: vec![("count", json!(count))] };
        Line { level: Level::WARN, target: module_path!(), fields }
    }

    /// The line with its end.
    pub(super) fn print(&self, style: Style, now: SystemTime) -> String {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match style {
            Style::Json => self.json(since),
            Style::Human { colour } => self.human(since, colour),
        }
    }

    fn json(&self, since: Duration) -> String {
        // By hand, so that what people look for first stands first.
        let mut line = format!("{{\"time\":{}", json!(utc(since)));
        let level = self.level.as_str().to_ascii_lowercase();
        let head = [("level", json!(level)), ("message", json!(self.fields.message))];
        let tail = [("target", json!(self.target))];
        for (name, value) in head.iter().chain(&self.fields.others).chain(&tail) {
            put(&mut line, format_args!(",\"{name}\":{value}"));
        }
        line.push_str("}\n");
        line
    }

    fn human(&self, since: Duration, colour: bool) -> String {
        let (on, off) = if colour { (colour_of(self.level), "\x1b[0m") } else { ("", "") };
        let (dim, bright) = if colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let mut line =
            format!("{dim}{}{bright} {on}{:5}{off} {}", utc(since), self.level, Plain(&self.fields.message));
        // What is not so goes without saying.
        let said = |(name, value): &&(&str, Value)| !HIDDEN.contains(name) && *value != Value::Bool(false);
        let shown = || self.fields.others.iter().filter(said);
        for (_, value) in shown().filter(|(name, _)| BARE.contains(name)) {
            put(&mut line, format_args!("  {}", text(value)));
        }
        for (name, value) in shown().filter(|(name, _)| !BARE.contains(name) && !name.ends_with("_ms")) {
            put(&mut line, format_args!("  {dim}{name}={bright}{}", text(value)));
        }
        if let Some((_, count)) = self.fields.others.iter().find(|(name, n)| *name == "warnings" && *n != 0) {
            put(&mut line, format_args!("  warnings={count}"));
        }
        let times: Vec<String> = shown()
            .filter_map(|(name, value)| Some((name.strip_suffix("_ms")?, value)))
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        if !times.is_empty() {
            put(&mut line, format_args!("  {dim}({} ms){bright}", times.join(", ")));
        }
        line.push('\n');
        line
    }
}

fn put(line: &mut String, text: fmt::Arguments<'_>) {
    let _ = line.write_fmt(text);
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[36m",
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(s) => Plain(s).to_string(),
        other => other.to_string(),
    }
}

/// Text without what a terminal would obey: a log line is one line, whatever a client sent.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.push((field.name(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, json!(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.put(field, json!(value));
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, json!(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Subscriber;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    struct Printer(Style, Arc<Mutex<String>>);

    impl<S: Subscriber> Layer<S> for Printer {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_224_902_123);
            self.1.lock().unwrap().push_str(&Line::of(event).print(self.0, now));
        }
    }

    fn check(style: Style, act: impl FnOnce(), expected: &str) {
        let text = Arc::new(Mutex::new(String::new()));
        let printer = Printer(style, Arc::clone(&text));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(printer), act);
        assert_eq!(*text.lock().unwrap(), expected);
    }

    const HUMAN: Style = Style::Human { colour: false };

    fn applied() {
        let author: Option<&str> = None;
        tracing::info!(
            target: "evergate_reload",
            transaction = 7,
            origin = %"file",
            author,
            revision = %"42-9f3a1c",
            changes = "routes.api.timeout 30s → 10s",
            warnings = 0,
            held = false,
            load_ms = 1.2,
            total_ms = 2.5,
            "applied"
        );
    }

    #[test]
    fn a_transaction_is_one_line_for_people() {
        let expected = "2026-11-21T01:35:02.123Z INFO  applied  42-9f3a1c  routes.api.timeout 30s → 10s  \
                        origin=file  (load 1.2, total 2.5 ms)\n";
        check(HUMAN, applied, expected);
    }

    #[test]
    fn and_an_object_for_programs() {
        let expected = "{\"time\":\"2026-11-21T01:35:02.123Z\",\"level\":\"info\",\"message\":\"applied\",\
                        \"transaction\":7,\"origin\":\"file\",\"revision\":\"42-9f3a1c\",\
                        \"changes\":\"routes.api.timeout 30s → 10s\",\"warnings\":0,\"held\":false,\"load_ms\":1.2,\
                        \"total_ms\":2.5,\"target\":\"evergate_reload\"}\n";
        check(Style::Json, applied, expected);
        assert!(serde_json::from_str::<Value>(expected).is_ok());
    }

    #[test]
    fn warnings_show_if_there_are_any() {
        let act = || tracing::info!(target: "t", warnings = 2, "applied");
        check(HUMAN, act, "2026-11-21T01:35:02.123Z INFO  applied  warnings=2\n");
    }

    #[test]
    fn nothing_escapes_its_line() {
        let act = || tracing::warn!(target: "t", peer = "a\nb\x1b[2J", "bad\r\nline");
        check(HUMAN, act, "2026-11-21T01:35:02.123Z WARN  bad\\r\\nline  peer=a\\nb\\u{1b}[2J\n");
    }

    #[test]
    fn colours_are_for_terminals() {
        let act = || tracing::error!(target: "t", "oh");
        check(
            Style::Human { colour: true },
            act,
            "\x1b[2m2026-11-21T01:35:02.123Z\x1b[0m \x1b[1;31mERROR\x1b[0m oh\n",
        );
    }
}
