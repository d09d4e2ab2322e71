//! No ring between the modules of a crate. A module is what stands directly below the crate's root, with all that
//! is inside it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Problem, Source,
    source::{closing, line_of},
};

pub(super) fn check(sources: &[Source]) -> Vec<Problem> {
    let mut crates: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for source in sources.iter().filter(|s| !s.is_test) {
        if let Some((name, _)) = source.path.split_once("/src/") {
            crates.entry(name).or_default().push(source);
        }
    }
    crates.values().flat_map(|sources| rings(sources)).collect()
}

/// From a module to one that it names, with the first place where it does.
type Edges<'a> = BTreeMap<&'a str, BTreeMap<&'a str, (&'a str, usize)>>;

fn rings(sources: &[&Source]) -> Vec<Problem> {
    let modules: BTreeSet<&str> = sources.iter().filter_map(|s| module(&s.path)).collect();
    let shown = re_exports(sources, &modules);
    let mut edges = Edges::new();
    for source in sources {
        let Some(from) = module(&source.path) else { continue };
        for (word, line) in mentions(source) {
            let Some(to) = modules.get(word).or_else(|| shown.get(word)) else { continue };
            if *to != from {
                edges.entry(from).or_default().entry(to).or_insert((&source.path, line));
            }
        }
    }
    let ring = |from: &str| reach(&edges, from).contains(from);
    let mut members: BTreeSet<&str> = modules.into_iter().filter(|m| ring(m)).collect();
    let mut problems = Vec::new();
    while let Some(first) = members.first().copied() {
        let forth = reach(&edges, first);
        let group: BTreeSet<&str> =
            forth.iter().copied().filter(|m| reach(&edges, m).contains(first)).collect();
        members.retain(|m| !group.contains(m));
        problems.push(describe(&group, &edges));
    }
    problems
}

fn describe(group: &BTreeSet<&str>, edges: &Edges<'_>) -> Problem {
    let mut first = None;
    let mut all = Vec::new();
    for (from, edges) in edges.iter().filter(|(from, _)| group.contains(*from)) {
        for (to, (path, line)) in edges.iter().filter(|(to, _)| group.contains(*to)) {
            first.get_or_insert((*path, *line));
            all.push(format!("{from} → {to} ({path}:{line})"));
        }
    }
    let (path, line) = first.unwrap_or_default();
    Problem::new(path, line, format!("modules in a ring: {}", all.join(", ")))
}

fn reach<'a>(edges: &Edges<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for to in edges.get(module).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(*to) {
                open.push(to);
            }
        }
    }
    found
}

/// The module that a file belongs to; the root is none.
fn module(path: &str) -> Option<&str> {
    let inside = path.split_once("/src/")?.1;
    let first = inside.split('/').next()?.trim_end_matches(".rs");
    (!matches!(first, "lib" | "main" | "bin")).then_some(first)
}

/// Names that the root shows, and the module that each comes from.
fn re_exports<'a>(sources: &[&'a Source], modules: &BTreeSet<&'a str>) -> BTreeMap<&'a str, &'a str> {
    let roots = sources.iter().filter(|s| module(&s.path).is_none());
    let mut shown = BTreeMap::new();
    for root in roots {
        for (at, _) in root.code.match_indices("use ") {
            let Some((path, _)) = root.code.get(at + 4..).and_then(|t| t.split_once(';')) else { continue };
            let path = path.trim().trim_start_matches("crate::").trim_start_matches("self::");
            let Some((first, names)) = path.split_once("::") else { continue };
            let Some(module) = modules.get(first) else { continue };
            for name in names.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|n| !n.is_empty()) {
                shown.insert(name, *module);
            }
        }
    }
    shown
}

/// First names of paths that begin at the root of the crate, with their lines.
fn mentions(source: &Source) -> Vec<(&str, usize)> {
    let code: String = code_only(source);
    let depth = depth(&source.path);
    let up = "super::".repeat(depth);
    let mut found = Vec::new();
    for start in ["crate::", &up] {
        for (at, _) in code.match_indices(start).filter(|(at, _)| begins(&code, *at)) {
            let rest = at + start.len();
            let Some(text) = source.code.get(rest..).filter(|t| !t.starts_with("super::")) else { continue };
            for (offset, word) in first_names(text) {
                found.push((word, line_of(&code, rest + offset)));
            }
        }
    }
    found
}

/// The code without tests, bytes in their places.
fn code_only(source: &Source) -> String {
    let mut code: Vec<u8> = source.code.bytes().map(|b| if b == b'\n' { b } else { b' ' }).collect();
    let starts: Vec<usize> =
        std::iter::once(0).chain(source.code.match_indices('\n').map(|(i, _)| i + 1)).collect();
    for (line, text) in source.code_lines() {
        let start = starts.get(line - 1).copied().unwrap_or_default();
        if let Some(place) = code.get_mut(start..start + text.len()) {
            place.copy_from_slice(text.as_bytes());
        }
    }
    String::from_utf8(code).unwrap_or_default()
}

/// A path begins here: nothing stands before it that would make it part of another.
fn begins(code: &str, at: usize) -> bool {
    let before = code.get(..at).and_then(|t| t.chars().next_back());
    !before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c))
}

/// How many `super` lead to the root.
fn depth(path: &str) -> usize {
    path.split_once("/src/").map_or(1, |(_, inside)| inside.split('/').count())
}

/// `a` of `a::b`; `a` and `c` of `{a::b, c}`.
fn first_names(text: &str) -> Vec<(usize, &str)> {
    let word = |at: usize| {
        let tail = text.get(at..)?;
        let blanks = tail.len() - tail.trim_start().len();
        let tail = tail.trim_start();
        let end = tail.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(tail.len());
        tail.get(..end).filter(|w| !w.is_empty()).map(|w| (at + blanks, w))
    };
    if !text.starts_with('{') {
        return word(0).into_iter().collect();
    }
    let end = closing(text, 0).unwrap_or(text.len());
    let mut depth = 0_usize;
    let mut starts = Vec::new();
    for (i, b) in text.bytes().enumerate().take(end) {
        match b {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 1 && (b == b'{' || b == b',') {
            starts.push(i + 1);
        }
    }
    starts.into_iter().filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let sources: Vec<Source> = files.iter().map(|(p, t)| Source::new(&format!("c/src/{p}"), t)).collect();
        let found = super::check(&sources);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(f, e)| f.text.contains(e)), "{found:?}");
    }

    #[test]
    fn rings_are_found() {
        let root = ("lib.rs", "mod a; mod b; mod d; pub use b::Bee;");
        check(&[root, ("a.rs", "use crate::b::X;"), ("b.rs", "")], &[]);
        check(
            &[root, ("a.rs", "use crate::b::X;"), ("b.rs", "use crate::{d::Y, a::Z};")],
            &["a → b (c/src/a.rs:1), b → a"],
        );
        check(
            &[root, ("a.rs", "use crate::Bee;"), ("b/x.rs", "\nuse super::super::a;")],
            &["b → a (c/src/b/x.rs:2)"],
        );
        check(&[root, ("a.rs", "use super::b;"), ("b.rs", "fn f() { crate::a::f() }")], &["a → b"]);
        check(
            &[root, ("a.rs", "use crate::b;"), ("b.rs", "use crate::d;"), ("d.rs", "use crate::a;")],
            &["b → d"],
        );
    }

    #[test]
    fn tests_may_look_around() {
        let b = "#[cfg(test)]\nmod tests {\n use crate::a;\n}";
        check(&[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b;"), ("b.rs", b)], &[]);
    }

    #[test]
    fn within_a_module_is_no_ring() {
        check(
            &[("lib.rs", "mod a;"), ("a.rs", "use a::x;"), ("a/x.rs", "use super::y; use crate::a::z;")],
            &[],
        );
    }
}
