//! Files have at most 600 lines, functions at most 80. What is longer has usually become two things.
//! Functions of tests are tables and may be longer.

use super::{
    Problem, Source,
    source::{item_end, line_of, words},
};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 80;

/// What may be longer, and why: path, function (empty: the file), reason.
const EXCEPTIONS: [(&str, &str, &str); 0] = [];

pub(super) fn check(sources: &[Source]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut used = Vec::new();
    for source in sources {
        for (line, name, length, max) in long(source) {
            let exception =
                EXCEPTIONS.iter().position(|(path, what, _)| *path == source.path && *what == name);
            match exception {
                Some(i) => used.push(i),
                None if name.is_empty() => {
                    problems.push(Problem::new(&source.path, 0, format!("{length} lines, more than {max}")));
                }
                None => {
                    let text = format!("function `{name}` has {length} lines, more than {max}");
                    problems.push(Problem::new(&source.path, line, text));
                }
            }
        }
    }
    let needless = EXCEPTIONS.iter().enumerate().filter(|(i, _)| !used.contains(i));
    problems.extend(needless.map(|(_, (path, what, _))| {
        Problem::new(path, 0, format!("needs no exception in xtask/src/tidy/lengths.rs any more: {what}"))
    }));
    problems
}

/// Line, name, length and limit of what is too long; the file itself has no name.
fn long(source: &Source) -> Vec<(usize, &str, usize, usize)> {
    let lines = source.text.lines().count();
    let file = (lines > FILE_LINES_MAX).then_some((1, "", lines, FILE_LINES_MAX));
    let code = source.code.as_str();
    let outside_tests: Vec<usize> = source.code_lines().map(|(line, _)| line).collect();
    let function = |at: usize| {
        let name = code.get(at + 2..)?.trim_start();
        let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|end| *end > 0)?;
        let first = line_of(code, at);
        outside_tests.binary_search(&first).ok()?;
        let length = line_of(code, item_end(code, at)? - 1) + 1 - first;
        (length > FUNCTION_LINES_MAX).then_some((first, name.get(..end)?, length, FUNCTION_LINES_MAX))
    };
    file.into_iter().chain(words(code, "fn").filter_map(function)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str, usize)]) {
        let source = Source::new("src/x.rs", text);
        let found: Vec<_> =
            long(&source).into_iter().map(|(line, name, length, _)| (line, name, length)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn long_functions_are_found() {
        let body = |lines: usize| "    x();\n".repeat(lines);
        check(&format!("fn f() {{\n{}}}\n", body(78)), &[]);
        check(&format!("\nfn f(a: fn(u8)) -> [u8; 3] {{\n{}}}\nfn g();\n", body(79)), &[(2, "f", 81)]);
        check(&format!("trait T {{\n fn f();\n{}}}", body(90)), &[]);
    }

    #[test]
    fn tests_may_be_tables() {
        let body = "    x();\n".repeat(90);
        check(&format!("#[cfg(test)]\nmod tests {{\nfn f() {{\n{body}}}\n}}\n"), &[]);
    }

    #[test]
    fn long_files_are_found() {
        check(&"\n".repeat(600), &[]);
        check(&"\n".repeat(601), &[(1, "", 601)]);
    }
}
