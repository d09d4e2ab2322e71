//! Problems as values: each with its place, all of them shown.
//!
//! A [`Report`] is collected without looking at files; [`Report::locate`] adds names and lines afterwards.

mod snippet;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    path::{Path as FsPath, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{files::Files, node::Place, path::Path};

/// Everything that was found, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

/// How many problems are shown with their line.
pub const SNIPPETS: usize = 100;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The document is refused.
    #[default]
    Error,
    /// The document works, but probably not as meant.
    Warning,
}

/// One problem: what, where, and how to mend it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Stable word for programs, such as `unknown_key`.
    pub code: Cow<'static, str>,
    /// Error or warning.
    pub severity: Severity,
    /// Where in the document, such as `routes.api.timeout`; empty for a whole file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Where it was written; becomes `at` by [`Report::locate`].
    #[serde(skip)]
    pub place: Place,
    /// Where it was written, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
    /// The line, without what may be a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// True if the line may hold a secret: its values are not shown.
    #[serde(skip)]
    pub sensitive: bool,
}

/// A position in a text. Line and column count from 1; 0 is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file, or the name of a text that is none.
    pub file: PathBuf,
    /// The line.
    pub line: u32,
    /// The column in characters.
    pub column: u16,
}

impl Diagnostic {
    /// Adds how to mend it.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Diagnostic {
        self.help = Some(text.into());
        self
    }

    /// Says that the line may hold a secret.
    pub fn sensitive(&mut self) -> &mut Diagnostic {
        self.sensitive = true;
        self
    }
}

impl Report {
    /// Nothing found yet.
    #[must_use]
    pub fn new() -> Report {
        Report::default()
    }

    /// Adds an error.
    pub fn problem(
        &mut self,
        code: &'static str,
        path: &Path,
        place: Place,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Error, code, path, place, message.into())
    }

    /// Adds a warning: it does not refuse the document.
    pub fn warning(
        &mut self,
        code: &'static str,
        path: &Path,
        place: Place,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, code, path, place, message.into())
    }

    /// Adds an error about a whole file that could not be read as text.
    pub fn file_problem(
        &mut self,
        code: &'static str,
        file: &FsPath,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        let found = self.problem(code, &Path::root(), Place::default(), message);
        found.at = Some(Position { file: file.to_owned(), line: 0, column: 0 });
        found
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: &Path,
        place: Place,
        message: String,
    ) -> &mut Diagnostic {
        let path = path.to_string();
        let new = Diagnostic { code: code.into(), severity, path, place, message, ..Diagnostic::default() };
        let at = self.diagnostics.len();
        self.diagnostics.push(new);
        &mut self.diagnostics[at]
    }

    /// True if an error was found; warnings do not count.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// True if nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// How many were found.
    #[must_use]
    pub fn len(&self) -> usize {
        self.diagnostics.len()
    }

    /// What was found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter()
    }

    /// Adds what another report found.
    pub fn append(&mut self, other: Report) {
        self.diagnostics.extend(other.diagnostics);
    }

    /// Fills in file names and snippets where they are not known yet. Call it while the texts are kept.
    /// The first [`SNIPPETS`] get their line: of a mistake that 100,000 routes share, nobody reads more.
    pub fn locate(&mut self, files: &Files) {
        let mut left = SNIPPETS;
        let mut texts = HashMap::new();
        for d in &mut self.diagnostics {
            let Some(name) = files.name(d.place.file).filter(|_| d.at.is_none()) else { continue };
            d.at = Some(Position { file: name.to_owned(), line: d.place.line, column: d.place.column });
            if d.snippet.is_none() && d.place.line > 0 && left > 0 {
                left -= 1;
                let text = texts.entry(d.place.file).or_insert_with(|| files.text(d.place.file)).as_ref();
                d.snippet = text.and_then(|text| snippet::line(text, d.place.line, d.sensitive));
            }
        }
    }
}

/// As people read it, one paragraph for each problem.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.diagnostics.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            d.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        writeln!(f, "{severity}: {}", self.message)?;
        let line = self.at.as_ref().map_or(0, |at| at.line);
        let gutter = if line > 0 { line.to_string().len() } else { 1 };
        match &self.at {
            Some(at) => writeln!(f, "{:gutter$}--> {at}", "")?,
            None if self.path.is_empty() => {}
            None => writeln!(f, "{:gutter$}--> {}", "", self.path)?,
        }
        if let (Some(text), Some(at)) = (&self.snippet, &self.at) {
            let (text, caret) = snippet::caret(text, at.column);
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{line} | {text}")?;
            writeln!(f, "{:gutter$} | {caret}", "")?;
        }
        if self.at.is_some() && !self.path.is_empty() {
            writeln!(f, "{:gutter$} = in: {}", "", self.path)?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
