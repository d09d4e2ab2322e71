//! Rust text with its comments, literals and tests told apart: as much of the language as rules need.

use std::collections::HashSet;

use super::File;

/// A Rust file.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    /// The text, as long as before, with blanks for comments and for what stands in quotes.
    pub(super) code: String,
    /// The file is part of tests.
    pub(super) is_test: bool,
    /// Lines, from 0, that only tests see.
    test_lines: Vec<bool>,
}

impl Source {
    /// Every Rust file among these.
    pub(super) fn all(files: &[File]) -> Vec<Source> {
        let rust = files.iter().filter(|f| f.path.ends_with(".rs"));
        let mut sources: Vec<Source> = rust.map(|f| Source::new(&f.path, &f.text)).collect();
        let mut folders = HashSet::new();
        for source in &sources {
            for name in test_modules(&source.code) {
                folders.insert(below(&source.path, &name));
            }
        }
        for source in &mut sources {
            let stem = source.path.trim_end_matches(".rs");
            let mut parts: Vec<&str> = stem.split('/').collect();
            while !parts.is_empty() && !source.is_test {
                source.is_test = folders.contains(&parts.join("/"));
                parts.pop();
            }
        }
        sources
    }

    /// One file; whether its parent calls it a test is not known here.
    pub(super) fn new(path: &str, text: &str) -> Source {
        let code = blank(text);
        let mut test_lines = vec![false; text.lines().count()];
        for (first, last) in test_items(&code) {
            let lines = line_of(&code, first)..=line_of(&code, last);
            lines.for_each(|l| {
                if let Some(is_test) = test_lines.get_mut(l - 1) {
                    *is_test = true;
                }
            });
        }
        let is_test = path.split('/').any(|p| p == "tests" || p == "benches");
        Source { path: path.to_owned(), text: text.to_owned(), code, is_test, test_lines }
    }

    /// Lines of the text outside of tests, numbered from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.outside_tests(&self.text)
    }

    /// The same of the code, without comments and what stands in quotes.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.outside_tests(&self.code)
    }

    fn outside_tests<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        let all = if self.is_test { "" } else { text };
        let numbered = all.lines().enumerate();
        numbered
            .filter(|(i, _)| !self.test_lines.get(*i).copied().unwrap_or_default())
            .map(|(i, l)| (i + 1, l))
    }
}

/// Where a module of this file has its text, without `.rs`.
pub(super) fn below(path: &str, module: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    if matches!(name, "lib" | "main" | "mod") {
        format!("{folder}/{module}")
    } else {
        format!("{stem}/{module}")
    }
}

/// The line, from 1, of a byte.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
}

/// Where `word` stands by itself.
pub(super) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text.get(..*at).and_then(|t| t.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|t| t.chars().next());
        !inside(before) && !inside(after)
    })
}

/// The byte after what closes the bracket that opens at `at`.
pub(super) fn closing(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (i, b) in code.bytes().enumerate().skip(at) {
        match b {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(i + 1);
        }
    }
    None
}

/// The end of the item that begins at `at`: its `;`, or what closes its `{`.
pub(super) fn item_end(code: &str, at: usize) -> Option<usize> {
    let bytes = code.as_bytes();
    let mut i = at;
    while let Some(b) = bytes.get(i) {
        match b {
            b';' => return Some(i + 1),
            b'{' => return closing(code, i),
            b'(' | b'[' => i = closing(code, i)?,
            _ => i += 1,
        }
    }
    None
}

const TEST: &str = "#[cfg(test)]";

fn test_items(code: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    code.match_indices(TEST).filter_map(|(at, _)| Some((at, item_end(code, after_attributes(code, at))?)))
}

/// Names of modules that only tests see and that have a file of their own.
fn test_modules(code: &str) -> Vec<String> {
    let name = |(at, _): (usize, &str)| {
        let item = code.get(after_attributes(code, at)..)?;
        let (head, _) = item.split_once(';')?;
        let name = head.rsplit_once("mod ")?.1.trim();
        name.chars().all(|c| c.is_alphanumeric() || c == '_').then(|| name.to_owned())
    };
    code.match_indices(TEST).filter_map(name).collect()
}

fn after_attributes(code: &str, mut at: usize) -> usize {
    while let Some(rest) = code.get(at..) {
        let blanks = rest.len() - rest.trim_start().len();
        match rest.trim_start().starts_with("#[") {
            true => at = closing(code, at + blanks + 1).unwrap_or(code.len()),
            false => return at + blanks,
        }
    }
    at
}

/// Comments and what stands in quotes, replaced by blanks; bytes keep their place.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (keep, hide) = token(rest, out.chars().next_back());
        let (kept, tail) = rest.split_at(keep);
        let (hidden, tail) = tail.split_at(hide);
        out.push_str(kept);
        out.extend(hidden.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
        rest = if keep + hide == 0 { tail.get(c.len_utf8()..).unwrap_or_default() } else { tail };
    }
    out
}

/// How many bytes to keep and then to hide.
fn token(rest: &str, before: Option<char>) -> (usize, usize) {
    let one = rest.chars().next().map_or(0, char::len_utf8);
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if let Some(length) =
        raw_string(rest).filter(|_| !before.is_some_and(|c| c.is_alphanumeric() || c == '_'))
    {
        return (0, length);
    }
    if rest.starts_with('"') {
        return (0, quoted(rest, '"'));
    }
    let mut after = rest.chars().skip(1);
    match (rest.starts_with('\''), after.next(), after.next()) {
        (true, Some('\\'), _) => (0, quoted(rest, '\'')),
        (true, Some(c), Some('\'')) => (0, 2 + c.len_utf8()),
        _ => (one, 0),
    }
}

/// Length of a literal with escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of a raw literal, if one begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let tail = rest.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let prefix = rest.len() - tail.len();
    let hashes = tail.bytes().take_while(|b| *b == b'#').count();
    let body = tail.get(hashes..)?.strip_prefix('"').filter(|_| prefix <= 2)?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |i| i + end.len());
    Some(prefix + hashes + 1 + length)
}

/// Block comments hold others.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut i = 0;
    while let Some(tail) = rest.get(i..).filter(|t| !t.is_empty()) {
        if tail.starts_with("/*") {
            (depth, i) = (depth + 1, i + 2);
        } else if tail.starts_with("*/") {
            (depth, i) = (depth - 1, i + 2);
            if depth == 0 {
                return i;
            }
        } else {
            i += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_quotes_are_blanked() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("a \" { b", x)"#, "f(          , x)"),
            ("r#\"a \" b\"#; c", "          ; c"),
            ("br\"a\"; x", "     ; x"),
            ("'{' 'a 'a, '\\'' b", "    'a 'a,      b"),
            ("\"ä\" b", "     b"),
            ("for\"\" x", "for   x"),
            ("r#type x", "r#type x"),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn items_of_tests_are_found() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("src/x.rs", text);
        let lines: Vec<_> = source.lines().collect();
        assert_eq!(lines, [(1, "fn a() {}"), (7, "fn c() {}")]);
    }

    #[test]
    fn files_of_tests_are_found() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let sources = Source::all(&[
            file("c/src/lib.rs", "mod a;\n#[cfg(test)]\npub(crate) mod sample;\n"),
            file("c/src/sample.rs", "x"),
            file("c/src/sample/more.rs", "x"),
            file("c/src/a.rs", "#[cfg(test)]\nmod odd;\n"),
            file("c/src/a/odd.rs", "x"),
            file("c/tests/t.rs", "x"),
        ]);
        let tests: Vec<_> = sources.iter().filter(|s| s.is_test).map(|s| s.path.as_str()).collect();
        assert_eq!(tests, ["c/src/sample.rs", "c/src/sample/more.rs", "c/src/a/odd.rs", "c/tests/t.rs"]);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("fn f(fnord: fn())", "fn").collect::<Vec<_>>(), [0, 12]);
    }
}
