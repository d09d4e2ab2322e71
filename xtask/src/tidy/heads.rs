//! Every file says in its first lines what it is for, and is part of its crate.

use std::collections::HashMap;

use super::{
    Problem, Source,
    source::{below, words},
};

pub(super) fn check(sources: &[Source]) -> Vec<Problem> {
    let heads =
        sources.iter().filter(|s| !s.is_test || is_root(&s.path)).filter(|s| !s.text.starts_with("//!"));
    let mut problems: Vec<Problem> =
        heads.map(|s| Problem::new(&s.path, 1, "does not begin with what it is for (`//!`)")).collect();
    problems.extend(dead(sources));
    problems
}

/// The compiler begins here.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let (name, folder) = match parts.as_slice() {
        [.., folder, name] => (*name, *folder),
        _ => return false,
    };
    matches!((folder, name), ("src", "lib.rs" | "main.rs") | (_, "build.rs"))
        || matches!(parts.as_slice(), [.., "tests" | "benches" | "examples" | "bin", _, "main.rs"])
        || matches!(folder, "tests" | "benches" | "examples" | "bin" | "fuzz_targets")
            && !path.contains("/src/tests/")
}

/// Files that no `mod` names: the compiler never sees them.
fn dead(sources: &[Source]) -> Vec<Problem> {
    let mut named = HashMap::new();
    for source in sources {
        for at in words(&source.code, "mod") {
            let rest = source.code.get(at + 3..).unwrap_or_default().trim_start();
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            named.insert(below(&source.path, rest.get(..end).unwrap_or_default()), ());
        }
    }
    let alive = |path: &str| {
        let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
        is_root(path) || named.contains_key(stem)
    };
    let dead = sources.iter().filter(|s| !alive(&s.path));
    dead.map(|s| Problem::new(&s.path, 0, "no `mod` names this file")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let sources: Vec<Source> = files.iter().map(|(p, t)| Source::new(p, t)).collect();
        let found: Vec<String> = super::check(&sources).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn files_say_what_they_are_for() {
        check(&[("c/src/lib.rs", "//! X.\n")], &[]);
        check(
            &[("c/src/lib.rs", "\n//! X.\n")],
            &["c/src/lib.rs:1: does not begin with what it is for (`//!`)"],
        );
        check(&[("c/tests/t.rs", "use x;")], &["c/tests/t.rs:1: does not begin with what it is for (`//!`)"]);
    }

    #[test]
    fn files_are_part_of_their_crate() {
        let root = ("c/src/lib.rs", "//! X.\npub mod a;\n");
        check(&[root, ("c/src/a.rs", "//! A.\nmod b;"), ("c/src/a/b.rs", "//! B.")], &[]);
        check(&[root, ("c/src/b.rs", "//! B.")], &["c/src/b.rs: no `mod` names this file"]);
        check(&[("c/tests/it/main.rs", "//! It.\nmod a;"), ("c/tests/it/a.rs", "//! A.")], &[]);
        check(&[root, ("c/src/bin/x.rs", "//! B.")], &[]);
    }
}
