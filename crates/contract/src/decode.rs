//! Tree to types, object by object: every bad object is reported and left out, and what did not change is not looked
//! at again.
//!
//! What one object can say of itself is said here, right after it is read. Must not know: what takes two.

use std::sync::Arc;

use evergate_conf::{Entry, Node, Path, Report, decode, suggest};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    at::{At, Rules},
    config::{Admin, Config, Objects},
};

/// The keys of a document. `include` is not among them: the loader consumes it.
const KEYS: [&str; 9] =
    ["admin", "certificates", "listeners", "log", "process", "reload", "routes", "upstreams", "workers"];

/// What could be read of a document. What could not is reported.
pub(crate) struct Decoded<'a> {
    /// What it was read from; includes, variables and relative paths are resolved.
    pub(crate) document: &'a Node,
    /// Without the objects that could not be read; other settings that could not have their defaults.
    pub(crate) config: Config,
    /// False if `admin` could not be read or is misspelt: nobody knows where it should listen.
    pub(crate) admin_is_known: bool,
}

impl<'a> Decoded<'a> {
    /// Reads a document.
    ///
    /// With the document before and what was read from it without a problem, an object that is written as before is the
    /// very same `Arc`, so that the cost follows the change. Settings outside of the objects are always read again, since
    /// they hold secrets.
    pub(crate) fn of(
        document: &'a Node,
        previous: Option<(&Node, &Config)>,
        report: &mut Report,
    ) -> Decoded<'a> {
        if document.as_map().is_none() {
            let config = decode(document, &Path::root(), report).unwrap_or_default();
            return Decoded { document, config, admin_is_known: false };
        }
        only_known_keys(document, report);
        let mut reader = Reader { document, previous, report };
        let (workers, log) = (reader.value("workers"), reader.value("log"));
        let (admin, reload) = (reader.ruled::<Admin>("admin"), reader.ruled("reload"));
        let process = reader.ruled("process");
        let admin_is_known = admin.is_some() && meant_for("admin", document).all(|e| &*e.key == "admin");
        let config = Config {
            workers: workers.unwrap_or_default(),
            admin: admin.unwrap_or_default(),
            log: log.unwrap_or_default(),
            listeners: reader.objects("listeners", |c| &c.listeners),
            certificates: reader.objects("certificates", |c| &c.certificates),
            upstreams: reader.objects("upstreams", |c| &c.upstreams),
            routes: reader.objects("routes", |c| &c.routes),
            process: process.unwrap_or_default(),
            reload: reload.unwrap_or_default(),
        };
        Decoded { document, config, admin_is_known }
    }

    /// The names of all objects that were written into a section, also of those that could not be read, or under a
    /// misspelt key. `None` if names cannot be told, since what stands there is no map.
    pub(crate) fn names(&self, section: &str) -> Option<Vec<&'a str>> {
        let mut names = Vec::new();
        for entry in meant_for(section, self.document) {
            entry.node.as_map()?;
            names.extend(entries(&entry.node).map(|e| &*e.key));
        }
        Some(names)
    }
}

fn entries(node: &Node) -> impl Iterator<Item = &Entry> {
    node.as_map().into_iter().flat_map(|map| map.entries())
}

/// What stands at a key of the document, or at another that is probably a misspelling of it.
fn meant_for<'a>(key: &str, document: &'a Node) -> impl Iterator<Item = &'a Entry> {
    let meant = move |e: &&Entry| &*e.key == key || nearest_key(&e.key).as_deref() == Some(key);
    entries(document).filter(meant)
}

/// What was probably meant by a key that a document does not have.
fn nearest_key(key: &str) -> Option<String> {
    if KEYS.contains(&key) { None } else { suggest(key, KEYS) }
}

fn only_known_keys(document: &Node, report: &mut Report) {
    for entry in entries(document).filter(|e| !KEYS.contains(&e.key.as_ref())) {
        let path = Path::from([Arc::clone(&entry.key)]);
        let found = report.problem("unknown_key", &path, entry.place, format!("unknown key `{}`", entry.key));
        match nearest_key(&entry.key) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help(format!("a document has `{}`", KEYS.join("`, `"))),
        };
    }
}

struct Reader<'a> {
    document: &'a Node,
    previous: Option<(&'a Node, &'a Config)>,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn value<T: DeserializeOwned + JsonSchema + Default>(&mut self, key: &'static str) -> Option<T> {
        match self.document.get(key) {
            None => Some(T::default()),
            Some(node) => decode(node, &Path::from([key]), self.report),
        }
    }

    fn ruled<T: DeserializeOwned + JsonSchema + Default + Rules>(&mut self, key: &'static str) -> Option<T> {
        let value: T = self.value(key)?;
        value.rules(At::root(self.document).key(key), self.report);
        Some(value)
    }

    fn objects<T: DeserializeOwned + JsonSchema + Rules>(
        &mut self,
        section: &'static str,
        of: impl Fn(&Config) -> &Objects<T>,
    ) -> Objects<T> {
        let Some(node) = self.document.get(section) else { return Objects::new() };
        let Some(map) = node.as_map() else {
            return decode(node, &Path::from([section]), self.report).unwrap_or_default();
        };
        let nothing = (Arc::default(), Objects::new());
        let before = self.previous.and_then(|(document, config)| {
            Some((Arc::clone(document.get(section)?.as_map()?), of(config).clone()))
        });
        let (old, objects) = before.unwrap_or(nothing);
        let mut changes = Vec::new();
        for pair in old.pairs(map) {
            match pair {
                (Some(before), Some(after)) if before.node == after.node => {}
                (_, Some(entry)) => changes.push((Arc::clone(&entry.key), self.object(section, entry))),
                (Some(gone), None) => changes.push((Arc::clone(&gone.key), None)),
                (None, None) => {}
            }
        }
        objects.with(&changes)
    }

    fn object<T: DeserializeOwned + JsonSchema + Rules>(
        &mut self,
        section: &'static str,
        entry: &Entry,
    ) -> Option<Arc<T>> {
        let path = Path::from([section.into(), Arc::clone(&entry.key)]);
        check_name(entry, &path, self.report);
        let object: T = decode(&entry.node, &path, self.report)?;
        object.rules(At::root(self.document).key(section).entry(entry), self.report);
        Some(Arc::new(object))
    }
}

/// Names stand in metrics, URLs and log lines.
fn check_name(entry: &Entry, path: &Path, report: &mut Report) {
    let (name, plain) = (&entry.key, |c: char| !c.is_whitespace() && !c.is_control());
    if name.is_empty() || name.len() > 200 || !name.chars().all(plain) {
        let message = "a name has 1 to 200 bytes and no blanks or control characters";
        report.problem("bad_name", path, entry.place, message);
    }
}

#[cfg(test)]
mod tests;
