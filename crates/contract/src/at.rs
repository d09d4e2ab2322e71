//! A place in the document while it is checked: costs nothing until there is something to say.
//!
//! Knows none of the types; each of them brings its own [`Rules`].

use std::{fmt, ops::RangeInclusive, time::Duration};

use evergate_conf::{ByteSize, Entry, Node, Path, Place, Report, Span, report::Diagnostic};

/// What an object can say of itself.
pub(crate) trait Rules {
    /// Adds errors only: warnings of an object that is not looked into again would be lost.
    fn rules(&self, at: At<'_>, report: &mut Report);
}

/// Where we are. A step to what is not written stays at what is: a short form or a default has no parts.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    up: Option<&'a At<'a>>,
    step: Step<'a>,
    node: &'a Node,
    /// Of the key, if it has one, else of the value.
    key_place: Place,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Item(usize),
}

impl<'a> At<'a> {
    /// The whole document.
    pub(crate) fn root(node: &'a Node) -> At<'a> {
        At { up: None, step: Step::Root, node, key_place: node.place }
    }

    /// The value at a key.
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        match self.node.as_map().and_then(|map| map.entry(key)) {
            Some(entry) => {
                At { up: Some(self), step: Step::Key(key), node: &entry.node, key_place: entry.place }
            }
            None => *self,
        }
    }

    /// The value at a key, if it is written.
    pub(crate) fn part<'b>(&'b self, key: &'b str) -> Option<At<'b>> {
        self.node.as_map()?.entry(key).map(|entry| self.entry(entry))
    }

    /// The value of an entry that is at hand: finding it again among 100,000 costs.
    pub(crate) fn entry<'b>(&'b self, entry: &'b Entry) -> At<'b> {
        At { up: Some(self), step: Step::Key(&entry.key), node: &entry.node, key_place: entry.place }
    }

    /// An item of a list.
    pub(crate) fn item(&self, index: usize) -> At<'_> {
        match &self.node.value {
            evergate_conf::Value::List(items) => match items.get(index) {
                Some(node) => At { up: Some(self), step: Step::Item(index), node, key_place: node.place },
                None => *self,
            },
            _ => *self,
        }
    }

    /// Each key that is written here and is none of `known` has no effect, and `why` says why.
    pub(crate) fn only(&self, known: &[&str], why: &str, report: &mut Report) {
        let entries = self.node.as_map().into_iter().flat_map(|map| map.entries());
        for entry in entries.filter(|e| !e.node.is_null() && !known.contains(&&*e.key)) {
            let message = format!("`{}` has no effect: {why}", entry.key);
            self.entry(entry).key_problem("no_effect", message, report);
        }
    }

    fn path(&self) -> Path {
        let mut path = self.up.map_or_else(Path::root, At::path);
        match self.step {
            Step::Root => {}
            Step::Key(key) => path.push(key),
            Step::Item(index) => path.push(index.to_string()),
        }
        path
    }

    /// The value is wrong.
    pub(crate) fn problem<'r>(
        &self,
        code: &'static str,
        message: impl Into<String>,
        report: &'r mut Report,
    ) -> &'r mut Diagnostic {
        report.problem(code, &self.path(), self.node.place, message)
    }

    /// The key is wrong, or something below it is missing.
    pub(crate) fn key_problem<'r>(
        &self,
        code: &'static str,
        message: impl Into<String>,
        report: &'r mut Report,
    ) -> &'r mut Diagnostic {
        report.problem(code, &self.path(), self.key_place, message)
    }

    /// It works, but probably not as meant.
    pub(crate) fn warning(&self, code: &'static str, message: impl Into<String>, report: &mut Report) {
        report.warning(code, &self.path(), self.key_place, message);
    }

    /// A list that must have items.
    pub(crate) fn not_empty<T>(&self, items: &[T], why: &str, report: &mut Report) {
        if items.is_empty() {
            self.problem("empty", why, report);
        }
    }

    /// A list in which nothing may stand twice, as `same` compares.
    pub(crate) fn once<T: fmt::Display>(
        &self,
        items: &[T],
        same: impl Fn(&T, &T) -> bool,
        report: &mut Report,
    ) {
        for (i, item) in items.iter().enumerate() {
            if items.iter().take(i).any(|earlier| same(earlier, item)) {
                self.item(i).problem("duplicate", format!("`{item}` is there twice"), report);
            }
        }
    }

    /// A duration within bounds.
    pub(crate) fn span(&self, span: Span, bounds: RangeInclusive<Span>, report: &mut Report) {
        self.within(span, bounds, report);
    }

    /// A timeout: 1 ms to 1 day.
    pub(crate) fn timeout(&self, span: Span, report: &mut Report) {
        self.within(span, Span(Duration::from_millis(1))..=Span::secs(86_400), report);
    }

    /// A size within bounds.
    pub(crate) fn size(&self, size: ByteSize, bounds: RangeInclusive<ByteSize>, report: &mut Report) {
        self.within(size, bounds, report);
    }

    fn within<T: PartialOrd + fmt::Display + Copy>(
        &self,
        value: T,
        bounds: RangeInclusive<T>,
        report: &mut Report,
    ) {
        if !bounds.contains(&value) {
            let message = format!("expected {} to {}, found {value}", bounds.start(), bounds.end());
            self.problem("out_of_range", message, report);
        }
    }
}
