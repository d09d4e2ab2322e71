//! Words that mark an unfinished thing, names that say nothing, paths of one machine.

use super::{File, Problem, Source, source::words};

/// Not outside of tests, in code or comments.
const UNFINISHED: [&str; 9] = [
    "TODO",
    "FIXME",
    "XXX",
    "for now",
    "stub",
    "placeholder",
    "not yet implemented",
    "unimplemented!",
    "todo!",
];

/// What a type or a module is when nobody has said what it does.
const EMPTY_NAMES: [&str; 7] = ["Manager", "Helper", "Helpers", "Util", "Utils", "Common", "Info"];

/// The list itself holds every word.
const SELF: &str = "xtask/src/tidy/words.rs";

pub(super) fn check(sources: &[Source]) -> Vec<Problem> {
    let others = || sources.iter().filter(|s| s.path != SELF);
    others().flat_map(unfinished).chain(others().flat_map(names)).collect()
}

fn unfinished(source: &Source) -> Vec<Problem> {
    let found = |(line, text): (usize, &str)| {
        let word = UNFINISHED.iter().find(|w| contains(text, w))?;
        Some(Problem::new(
            &source.path,
            line,
            format!("\"{word}\" marks something unfinished: finish it or leave it out"),
        ))
    };
    source.lines().filter_map(found).collect()
}

/// The word by itself; words in capitals are meant as such.
fn contains(text: &str, word: &str) -> bool {
    if word.chars().all(char::is_uppercase) {
        return words(text, word).next().is_some();
    }
    let bare = word.trim_end_matches('!');
    words(&text.to_lowercase(), bare)
        .any(|at| text.get(at + bare.len()..).is_some_and(|t| bare == word || t.starts_with('!')))
}

fn names(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if EMPTY_NAMES.iter().any(|n| n.to_lowercase() == stem.to_lowercase()) {
        problems.push(Problem::new(
            &source.path,
            0,
            format!("`{stem}` says nothing: name it after what it does"),
        ));
    }
    for (line, text) in source.code_lines() {
        let name = ["struct ", "enum ", "trait ", "type ", "union "].iter().find_map(|kind| {
            let at = words(text, kind.trim_end()).next()?;
            let rest = text.get(at + kind.len()..)?;
            rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
        });
        if let Some(name) =
            name.filter(|name| EMPTY_NAMES.iter().any(|e| name.ends_with(e) || name.starts_with("Common")))
        {
            problems.push(Problem::new(
                &source.path,
                line,
                format!("`{name}` says nothing: name it after what it does"),
            ));
        }
    }
    problems
}

/// Where this machine keeps its things is nobody else's business.
pub(super) fn machine_paths(files: &[File]) -> Vec<Problem> {
    const PATHS: [&str; 2] = ["/root/", "/home/"];
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.path != SELF && f.path != "Cargo.lock") {
        for (i, text) in file.text.lines().enumerate() {
            let start = |at: usize| {
                !text
                    .get(..at)
                    .is_some_and(|t| t.ends_with(|c: char| c.is_alphanumeric() || "./_-".contains(c)))
            };
            if let Some(path) = PATHS.iter().find(|p| text.match_indices(**p).any(|(at, _)| start(at))) {
                problems.push(Problem::new(&file.path, i + 1, format!("`{path}` is a path of one machine")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> =
            super::check(&[Source::new("c/src/x.rs", text)]).into_iter().map(|p| p.text).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
        assert!(found.iter().zip(expected).all(|(f, e)| f.contains(e)), "{found:?}");
    }

    #[test]
    fn unfinished_things_are_found() {
        check("// Works for now.", &["for now"]);
        check("fn f() { todo!() }", &["todo!"]);
        check("fn f() { unimplemented!() }", &["unimplemented!"]);
        check("// a Stub", &["stub"]);
        check("// TODO: x", &["TODO"]);
        check("// stubborn, waits for nowhere, a todo list", &[]);
        check("#[cfg(test)]\nmod tests { fn f() { todo!() } }", &[]);
    }

    #[test]
    fn empty_names_are_found() {
        check("pub(crate) struct PoolManager<T>(T);", &["`PoolManager`"]);
        check("enum CommonThing {}", &["`CommonThing`"]);
        check("struct Informer; // struct Info", &[]);
        assert_eq!(super::check(&[Source::new("c/src/util.rs", "")]).len(), 1);
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let check = |text: &str| machine_paths(&[File { path: "x.md".into(), text: text.into() }]).len();
        assert_eq!(check("see /home/me/x"), 1);
        assert_eq!(check("`/root/main`"), 1);
        assert_eq!(check("../home/x and a/root/b, https://example.com/home/x"), 0);
    }
}
