//! Whether a document hangs together: names that are mentioned exist, addresses do not clash, values make sense.
//!
//! What one object can say of itself is checked beside its type in [`crate::config`]; here is what takes two. Must not
//! know: how anything is built.

mod cross;

use std::{ops::Deref, sync::Arc};

use evergate_conf::{Node, Report};

use crate::{
    at::{At, Rules},
    config::{Config, Name, Objects},
};

/// A document that hangs together. Only [`check`] and [`recheck`] make one.
#[derive(Clone, Debug)]
pub struct Checked {
    config: Config,
    warnings: Report,
}

impl Checked {
    /// What works, but probably not as meant.
    #[must_use]
    pub fn warnings(&self) -> &Report {
        &self.warnings
    }
}

impl Deref for Checked {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// Checks a document; `document` is the tree that it was decoded from and gives the places.
///
/// # Errors
/// Everything that is wrong, with warnings among it.
pub fn check(config: Config, document: &Node) -> Result<Checked, Report> {
    run(config, document, None)
}

/// Checks a document that follows a checked one: objects that are the same `Arc` in both are not looked into again.
/// The answer is that of [`check`].
///
/// # Errors
/// Everything that is wrong, with warnings among it.
pub fn recheck(config: Config, document: &Node, previous: &Checked) -> Result<Checked, Report> {
    run(config, document, Some(previous))
}

fn run(config: Config, document: &Node, previous: Option<&Config>) -> Result<Checked, Report> {
    let root = At::root(document);
    let mut report = Report::new();
    config.admin.rules(root.key("admin"), &mut report);
    config.reload.rules(root.key("reload"), &mut report);
    let r = &mut report;
    objects(&config.listeners, root.key("listeners"), previous.map(|p| &p.listeners), r);
    objects(&config.certificates, root.key("certificates"), previous.map(|p| &p.certificates), r);
    objects(&config.upstreams, root.key("upstreams"), previous.map(|p| &p.upstreams), r);
    objects(&config.routes, root.key("routes"), previous.map(|p| &p.routes), r);
    cross::rules(&config, root, r);
    if report.has_errors() { Err(report) } else { Ok(Checked { config, warnings: report }) }
}

fn objects<T: Rules>(objects: &Objects<T>, at: At<'_>, previous: Option<&Objects<T>>, report: &mut Report) {
    let mut old = previous.into_iter().flatten().peekable();
    for (name, object) in objects {
        while old.next_if(|(n, _)| *n < name).is_some() {}
        if old.next_if(|(n, o)| *n == name && Arc::ptr_eq(o, object)).is_none() {
            check_name(name, at, report);
            object.rules(at.key(name), report);
        }
    }
}

/// Names stand in metrics, URLs and log lines.
fn check_name(name: &Name, at: At<'_>, report: &mut Report) {
    let plain = |c: char| !c.is_whitespace() && !c.is_control();
    if name.is_empty() || name.len() > 200 || !name.chars().all(plain) {
        at.key(name).key_problem(
            "bad_name",
            "a name has 1 to 200 bytes and no blanks or control characters",
            report,
        );
    }
}

#[cfg(test)]
mod tests;
