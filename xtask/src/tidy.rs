//! The house rules that a machine can check.
//!
//! Each rule is a file: its words, its exceptions with their reasons, its tests. Rules see the files that git
//! tracks or would track.

mod floors;
mod heads;
mod lengths;
mod links;
mod live;
mod offers;
mod reserved;
mod rings;
mod source;
mod words;

use std::{fmt, path::Path, process::Command};

use source::Source;

/// Something to mend.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    path: String,
    /// From 1; 0 is the file as a whole.
    line: usize,
    text: String,
}

/// One file of the project.
struct File {
    /// From the top, with `/`.
    path: String,
    text: String,
}

impl Problem {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Problem {
        Problem { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { path, line, text } = self;
        if *line == 0 { write!(f, "{path}: {text}") } else { write!(f, "{path}:{line}: {text}") }
    }
}

pub(crate) fn run(top: &Path) -> Result<(), String> {
    let files = files(top)?;
    let mut problems = look(&files);
    problems.sort();
    problems.dedup();
    problems.iter().for_each(|p| println!("{p}"));
    match problems.len() {
        0 => Ok(()),
        n => Err(format!("tidy: {n} to mend")),
    }
}

fn look(files: &[File]) -> Vec<Problem> {
    let sources = Source::all(files);
    let mut problems = Vec::new();
    problems.extend(floors::check(files));
    problems.extend(rings::check(&sources));
    problems.extend(lengths::check(&sources));
    problems.extend(heads::check(&sources));
    problems.extend(words::check(&sources));
    problems.extend(words::machine_paths(files));
    problems.extend(reserved::check(&sources));
    problems.extend(links::check(files));
    problems.extend(live::check(files));
    problems.extend(offers::check(files));
    problems
}

/// The texts that git tracks, and those that it would if they were added.
fn files(top: &Path) -> Result<Vec<File>, String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(top);
    let out = git.output().map_err(|why| format!("cannot run git: {why}"))?;
    if !out.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&out.stderr).trim()));
    }
    let names = String::from_utf8_lossy(&out.stdout);
    // What is no text, or is deleted but not yet committed as such, has no house rules.
    let read = |path: &str| {
        Some(File { path: path.to_owned(), text: std::fs::read_to_string(top.join(path)).ok()? })
    };
    Ok(names.split('\0').filter(|n| !n.is_empty()).filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules over the project itself, so that `cargo test` alone finds what `cargo xtask tidy` finds.
    #[test]
    fn this_project_is_tidy() {
        let found: Vec<String> =
            look(&files(&crate::top()).unwrap()).iter().map(ToString::to_string).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
