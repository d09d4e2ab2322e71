//! What commands print: aligned columns, colours on a terminal only, problems as compilers show them.
//!
//! A reader that has gone (`evergate schema | head`) is no fault: what cannot be written is dropped.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stderr, stdout},
};

use evergate_conf::Report;
use serde_json::Value;

/// Prints a text for people on standard output.
pub(super) fn say(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(stdout().lock(), "{text}{end}");
}

/// Prints JSON for programs, readable for people too.
pub(super) fn json(value: &Value) {
    let _ = writeln!(stdout().lock(), "{value:#}");
}

/// Prints why something did not work on standard error.
pub(super) fn complain(text: &str) {
    let _ = writeln!(stderr().lock(), "{}: {text}", Paint::of_stderr().bad("error"));
}

/// Prints problems with their places on standard error.
pub(super) fn problems(report: &Report) {
    let paint = Paint::of_stderr();
    for (i, problem) in report.iter().enumerate() {
        let text = problem.to_string();
        let gap = if i > 0 { "\n" } else { "" };
        let _ = write!(stderr().lock(), "{gap}{}", paint.problem(&text));
    }
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// For standard output.
    pub(super) fn of_stdout() -> Paint {
        Paint(stdout().is_terminal() && wanted())
    }

    fn of_stderr() -> Paint {
        Paint(stderr().is_terminal() && wanted())
    }

    /// No colours.
    #[cfg(test)]
    pub(super) fn none() -> Paint {
        Paint(false)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub(super) fn doubtful(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The first word of a problem says how bad it is.
    fn problem(self, text: &str) -> String {
        match text.split_once(':') {
            Some(("error", rest)) => format!("{}:{rest}", self.bad("error")),
            Some(("warning", rest)) => format!("{}:{rest}", self.doubtful("warning")),
            _ => text.to_owned(),
        }
    }
}

/// See <https://no-color.org>.
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Rows in columns as wide as their widest cell; the last column is as wide as it is.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| visible(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let gap = width - visible(cell) + 2;
            let _ = write!(line, "{cell}{:gap$}", "");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Characters that take a place on the terminal.
fn visible(text: &str) -> usize {
    let mut count = 0;
    let mut hidden = false;
    for c in text.chars() {
        match c {
            '\x1b' => hidden = true,
            'm' if hidden => hidden = false,
            _ if hidden => {}
            _ => count += 1,
        }
    }
    count
}

/// A number of bytes with three digits or so: `512 B`, `3.4 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut at = 0;
    let mut size = count as f64;
    while size >= 1024.0 && at + 1 < units.len() {
        size /= 1024.0;
        at += 1;
    }
    let unit = units.get(at).unwrap_or(&"B");
    if at == 0 { format!("{count} {unit}") } else { format!("{size:.1} {unit}") }
}

/// `1 route`, `3 routes`.
pub(super) fn count(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Text of a JSON value without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(s) if !s.is_empty() && !s.contains(char::is_control) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_whatever_their_colour() {
        let red = Paint(true);
        let rows = [
            vec!["id".to_owned(), "état".to_owned(), "x".to_owned()],
            vec![red.bad("longer"), "a".to_owned(), String::new()],
        ];
        assert_eq!(table(&rows), "id      état  x\n\x1b[1;31mlonger\x1b[0m  a\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn sizes_and_counts() {
        for (n, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16.0 EiB")] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(
            [count(0, "route"), count(1, "route"), count(2, "route")],
            ["0 routes", "1 route", "2 routes"]
        );
    }

    #[test]
    fn problems_are_coloured_by_their_first_word() {
        assert_eq!(Paint(true).problem("error: a: b\n"), "\x1b[1;31merror\x1b[0m: a: b\n");
        assert_eq!(Paint(true).problem("warning: x"), "\x1b[33mwarning\x1b[0m: x");
        assert_eq!(Paint(false).problem("error: a"), "error: a");
    }

    #[test]
    fn values_without_quotes() {
        for (json, text) in
            [("\"a b\"", "a b"), ("\"\"", "\"\""), ("\"a\\nb\"", "\"a\\nb\""), ("7", "7"), ("null", "")]
        {
            assert_eq!(plain(&serde_json::from_str(json).unwrap()), text);
        }
    }
}
