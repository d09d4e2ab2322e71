//! Whether a document hangs together: it can be read, names that are mentioned exist, addresses do not clash, values
//! make sense.
//!
//! What one object can say of itself is checked beside its type in [`crate::config`]; here is what takes two. Must not
//! know: how anything is built.

mod cross;
mod index;

use std::{fmt, ops::Deref};

use evergate_conf::{Node, Report};

use self::index::Index;
use crate::{config::Config, decode::Decoded};

/// A document that hangs together. Only [`check`] makes one.
#[derive(Clone)]
pub struct Checked {
    config: Config,
    warnings: Report,
    index: Index,
}

impl Checked {
    /// What works, but probably not as meant.
    #[must_use]
    pub fn warnings(&self) -> &Report {
        &self.warnings
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("config", &self.config).field("warnings", &self.warnings).finish()
    }
}

impl Deref for Checked {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// Reads and checks a document whose includes, variables and relative paths are resolved.
///
/// With the document before and what came of it, objects that are written as before are the very same `Arc` and are not
/// looked into again; the answer is the same without.
///
/// # Errors
/// Everything that is wrong, with warnings among it. An object that cannot be read is left out of what follows, and what
/// would follow from that alone is not reported.
pub fn check(document: &Node, previous: Option<(&Node, &Checked)>) -> Result<Checked, Report> {
    let mut report = Report::new();
    let config = previous.map(|(document, checked)| (document, &checked.config));
    let decoded = Decoded::of(document, config, &mut report);
    let before = previous.map(|(_, checked)| (&checked.config, &checked.index));
    let index = cross::rules(&decoded, before, &mut report);
    if report.has_errors() {
        return Err(report);
    }
    Ok(Checked { config: decoded.config, warnings: report, index })
}

#[cfg(test)]
mod tests;
