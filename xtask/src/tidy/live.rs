//! Every key that a listener, a certificate or the process has is changed by a test while connections live: `docs/live.md` says by
//! which, and that test speaks of the key.

use std::collections::BTreeMap;

use super::{File, Problem};

const KEYS: &str = "docs/configuration.md";
const TESTS: &str = "docs/live.md";
const SOURCES: &str = "crates/evergate/tests/";
/// Sections whose keys are looked at.
const SECTIONS: [&str; 4] = ["listeners.", "certificates.", "process.", "workers"];

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let text = |path: &str| files.iter().find(|f| f.path == path).map_or("", |f| f.text.as_str());
    let (keys, tests) = (leaves(text(KEYS)), table(text(TESTS)));
    let sources: Vec<&str> =
        files.iter().filter(|f| f.path.starts_with(SOURCES)).map(|f| f.text.as_str()).collect();
    let mut problems = Vec::new();
    for key in &keys {
        if !tests.contains_key(key) {
            let text = format!("no test is named that changes `{key}` while connections live");
            problems.push(Problem::new(TESTS, 0, text));
        }
    }
    for (key, (line, test)) in &tests {
        let fault = if !keys.contains(key) {
            Some(format!("`{key}` is no key"))
        } else {
            match sources.iter().find_map(|source| body(source, test)) {
                None => Some(format!("there is no test `{test}`")),
                Some(body) if !names(body, key) => Some(format!("`{test}` does not speak of `{key}`")),
                Some(_) => None,
            }
        };
        problems.extend(fault.map(|text| Problem::new(TESTS, *line, text)));
    }
    problems
}

/// What stands between backticks in the first columns of a table's rows, with the lines.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines().enumerate().filter(|(_, line)| line.starts_with("| `")).map(|(i, line)| {
        let columns = line.split('|').skip(1).map(|column| column.trim().trim_matches('`'));
        (i + 1, columns.collect())
    })
}

/// Keys that have no keys below them.
fn leaves(text: &str) -> Vec<&str> {
    let keys = rows(text).filter_map(|(_, columns)| columns.first().copied());
    let all: Vec<&str> = keys.filter(|key| SECTIONS.iter().any(|section| key.starts_with(section))).collect();
    let above = |key: &str, other: &str| {
        other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.') || rest.starts_with('['))
    };
    all.iter().filter(|key| !all.iter().any(|other| above(key, other))).copied().collect()
}

/// The test of each key, with its line.
fn table(text: &str) -> BTreeMap<&str, (usize, &str)> {
    rows(text).filter_map(|(line, columns)| Some((*columns.first()?, (line, *columns.get(1)?)))).collect()
}

/// A test from its name to its end.
fn body<'a>(source: &'a str, test: &str) -> Option<&'a str> {
    let (_, from) = source.split_once(&format!("fn {test}("))?;
    Some(from.split_once("\n}\n").map_or(from, |(body, _)| body))
}

/// True if the last word of the key stands there by itself.
fn names(body: &str, key: &str) -> bool {
    let word = key.rsplit('.').next().unwrap_or(key);
    let outside = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    body.match_indices(word).any(|(at, _)| {
        let (before, after) = (body.get(..at), body.get(at + word.len()..));
        outside(before.and_then(|b| b.chars().next_back())) && outside(after.and_then(|a| a.chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tests: &str, source: &str) -> Vec<String> {
        let keys =
            "| `listeners.<name>.tls` | x |\n| `listeners.<name>.tls.versions` | x |\n| `routes.x` | x |\n";
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files = [file(KEYS, keys), file(TESTS, tests), file("crates/evergate/tests/a.rs", source)];
        check(&files).into_iter().map(|p| p.text).collect()
    }

    #[test]
    fn every_key_has_a_test_that_speaks_of_it() {
        let source = "async fn it_changes() {\n    \"versions\"\n}\n\nasync fn other() {}\n";
        let row = |test: &str| format!("| `listeners.<name>.tls.versions` | `{test}` |\n");
        assert_eq!(found(&row("it_changes"), source), [""; 0]);
        assert_eq!(
            found(&row("other"), source),
            ["`other` does not speak of `listeners.<name>.tls.versions`"]
        );
        assert_eq!(found(&row("none"), source), ["there is no test `none`"]);
        assert_eq!(
            found("| `listeners.<name>.tls` | `other` |", source),
            [
                "no test is named that changes `listeners.<name>.tls.versions` while connections live",
                "`listeners.<name>.tls` is no key"
            ]
        );
        assert!(!names("subversions versions_", "tls.versions"));
    }
}
