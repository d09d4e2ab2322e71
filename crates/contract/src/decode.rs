//! Tree to types, object by object: every bad object is reported, and what did not change is not looked at again.

use std::sync::Arc;

use evergate_conf::{Node, Path, Report, decode, suggest};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config::{Config, Objects};

/// The keys of a document. `include` is not among them: the loader consumes it.
const KEYS: [&str; 8] =
    ["admin", "certificates", "listeners", "log", "reload", "routes", "upstreams", "workers"];

impl Config {
    /// Reads a document whose includes, variables and relative paths are resolved.
    ///
    /// With the document before and what was decoded from it, an object that is written as before is the very same
    /// `Arc`, so that the cost follows the change. Settings outside of the objects are always read again, since they
    /// hold secrets. Everything that is wrong is added to the report; then there is no answer.
    pub fn decode(
        document: &Node,
        previous: Option<(&Node, &Config)>,
        report: &mut Report,
    ) -> Option<Config> {
        if document.as_map().is_none() {
            return decode(document, &Path::root(), report);
        }
        let known = only_known_keys(document, report);
        let mut reader = Reader { document, previous, report };
        let (workers, admin) = (reader.value("workers"), reader.value("admin"));
        let (log, reload) = (reader.value("log"), reader.value("reload"));
        let listeners = reader.objects("listeners", |c| &c.listeners);
        let certificates = reader.objects("certificates", |c| &c.certificates);
        let upstreams = reader.objects("upstreams", |c| &c.upstreams);
        let routes = reader.objects("routes", |c| &c.routes);
        let config = Config {
            workers: workers?,
            admin: admin?,
            log: log?,
            listeners: listeners?,
            certificates: certificates?,
            upstreams: upstreams?,
            routes: routes?,
            reload: reload?,
        };
        known.then_some(config)
    }
}

fn only_known_keys(document: &Node, report: &mut Report) -> bool {
    let entries = document.as_map().map_or(&[][..], |map| map.entries());
    let mut known = true;
    for entry in entries.iter().filter(|e| !KEYS.contains(&e.key.as_ref())) {
        known = false;
        let path = Path::from([Arc::clone(&entry.key)]);
        let found = report.problem("unknown_key", &path, entry.place, format!("unknown key `{}`", entry.key));
        match suggest(&entry.key, KEYS) {
            Some(near) => found.help(format!("did you mean `{near}`?")),
            None => found.help(format!("a document has `{}`", KEYS.join("`, `"))),
        };
    }
    known
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

    fn objects<T: DeserializeOwned + JsonSchema>(
        &mut self,
        section: &'static str,
        of: impl Fn(&Config) -> &Objects<T>,
    ) -> Option<Objects<T>> {
        let Some(node) = self.document.get(section) else { return Some(Objects::new()) };
        let Some(map) = node.as_map() else {
            return decode(node, &Path::from([section]), self.report);
        };
        let before = self.previous.and_then(|(document, config)| Some((document.get(section)?, of(config))));
        if let Some((_, objects)) = before.filter(|(old, _)| old.same(node)) {
            return Some(objects.clone());
        }
        // Both documents and the objects are in the order of their names: one walk finds all that stayed.
        let (old, objects) = before.and_then(|(old, objects)| Some((old.as_map()?, objects))).unzip();
        let old = old.map_or(&[][..], |map| map.entries());
        let mut old = old.iter().zip(objects.into_iter().flatten()).peekable();
        let mut whole = true;
        let mut found = Vec::with_capacity(map.entries().len());
        for entry in map.entries() {
            while old.next_if(|(e, _)| e.key < entry.key).is_some() {}
            let kept = old
                .next_if(|(e, (name, _))| e.key == entry.key && **name == entry.key && e.node == entry.node);
            let object = match kept {
                Some((_, (_, object))) => Some(Arc::clone(object)),
                None => {
                    let path = Path::from([section.into(), Arc::clone(&entry.key)]);
                    decode(&entry.node, &path, self.report).map(Arc::new)
                }
            };
            match object {
                Some(object) => found.push((Arc::clone(&entry.key), object)),
                None => whole = false,
            }
        }
        whole.then(|| found.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
