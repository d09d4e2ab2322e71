//! The rules of one host, found by path.
//!
//! Rules stand in their order, so that those with one path are a range of it. Exact paths are found by hash, prefixes in
//! a sorted list where each knows the next shorter one; regexes are asked one by one and only if nothing before them
//! matched.

use std::{cmp::Ordering, collections::HashMap, hash::BuildHasherDefault, ops::Range, sync::Arc};

use crate::{
    compile::Compiled,
    head::Head,
    hosts::Fnv,
    path::{self, PathRule},
    predicate::{self, When},
};

/// The rules of one host. Most of 100,000 hosts have one, which needs no table.
#[derive(Clone)]
pub(crate) enum HostRules<T> {
    One(Only<T>),
    Many(Arc<HostTable<T>>),
}

/// The only rule of a host, with all that most requests ask of it at hand: among 100,000 rules each further place in memory
/// has to be waited for.
#[derive(Clone)]
pub(crate) struct Only<T> {
    compiled: Arc<Compiled<T>>,
    when: Arc<When>,
    everywhere: bool,
    value: T,
}

/// A rule that takes a request.
pub(crate) struct Taken<'t, T> {
    pub(crate) compiled: &'t Compiled<T>,
    pub(crate) path: &'t PathRule,
    pub(crate) value: &'t T,
}

impl<T: Clone> HostRules<T> {
    /// `None` if there are none.
    pub(crate) fn new(mut rules: Vec<Arc<Compiled<T>>>) -> Option<HostRules<T>> {
        if rules.len() > 1 {
            return Some(HostRules::Many(Arc::new(HostTable::new(rules))));
        }
        let compiled = rules.pop()?;
        let (when, everywhere) = (Arc::clone(&compiled.when), compiled.everywhere);
        let value = compiled.rule.value.clone();
        Some(HostRules::One(Only { compiled, when, everywhere, value }))
    }
}

impl<T> HostRules<T> {
    /// In the order in which they are asked.
    pub(crate) fn rules(&self) -> &[Arc<Compiled<T>>] {
        match self {
            HostRules::One(only) => std::slice::from_ref(&only.compiled),
            HostRules::Many(table) => &table.rules,
        }
    }

    /// The first rule that holds, if its priority is above `floor`.
    pub(crate) fn find(&self, listener: &str, head: &Head<'_>, floor: Option<i32>) -> Option<Taken<'_, T>> {
        match self {
            HostRules::Many(table) => {
                let compiled = table.find(listener, head, floor)?;
                Some(Taken { compiled, path: &compiled.when.path, value: &compiled.rule.value })
            }
            HostRules::One(Only { compiled, when, everywhere, value }) => {
                let counts = floor.is_none_or(|floor| compiled.rule.route.priority > floor);
                let serves = *everywhere || compiled.serves_on(listener);
                let holds = counts && serves && when.holds(head) && path_holds(&when.path, head.path);
                holds.then_some(Taken { compiled, path: &when.path, value })
            }
        }
    }
}

/// The rules of one host, found by path.
pub(crate) struct HostTable<T> {
    rules: Vec<Arc<Compiled<T>>>,
    /// One for each priority, highest first.
    layers: Vec<Layer>,
}

struct Layer {
    priority: i32,
    exact: HashMap<Box<str>, Range<usize>, BuildHasherDefault<Fnv>>,
    prefixes: Prefixes,
    /// Those with a regex, then those without path.
    rest: Range<usize>,
}

impl<T> HostTable<T> {
    fn new(mut rules: Vec<Arc<Compiled<T>>>) -> HostTable<T> {
        rules.sort_by(|a, b| a.order(b));
        let mut layers = Vec::new();
        let mut start = 0;
        for chunk in rules.chunk_by(|a, b| a.rule.route.priority == b.rule.route.priority) {
            layers.push(Layer::new(chunk, start));
            start += chunk.len();
        }
        HostTable { rules, layers }
    }

    fn find(&self, listener: &str, head: &Head<'_>, floor: Option<i32>) -> Option<&Compiled<T>> {
        let layers = self.layers.iter().take_while(|layer| floor.is_none_or(|floor| layer.priority > floor));
        layers.into_iter().find_map(|layer| {
            let exact = layer.exact.get(head.path).cloned();
            let by_path = exact.into_iter().chain(layer.prefixes.of(head.path));
            by_path
                .flat_map(|range| self.rules.get(range).unwrap_or_default())
                .find(|rule| rule.holds(listener, head))
                .or_else(|| {
                    let rest = self.rules.get(layer.rest.clone()).unwrap_or_default();
                    // The regex last: it costs the most.
                    rest.iter()
                        .find(|rule| rule.holds(listener, head) && path_holds(&rule.when.path, head.path))
                })
                .map(AsRef::as_ref)
        })
    }
}

impl<T> Compiled<T> {
    fn serves_on(&self, listener: &str) -> bool {
        self.everywhere || predicate::serves_on(&self.rule.route, listener)
    }

    /// All but the path.
    fn holds(&self, listener: &str, head: &Head<'_>) -> bool {
        self.serves_on(listener) && self.when.holds(head)
    }
}

fn path_holds(rule: &PathRule, path: &str) -> bool {
    match rule {
        PathRule::Any => true,
        PathRule::Exact(exact) => **exact == *path,
        PathRule::Prefix(prefix) => path::strip_prefix(path, prefix).is_some(),
        PathRule::Regex(regex) => regex.is_match(path),
    }
}

impl Layer {
    /// `rules` are all of one priority and in order; `start` is the place of the first.
    fn new<T>(rules: &[Arc<Compiled<T>>], start: usize) -> Layer {
        let mut layer = Layer {
            priority: rules.first().map_or(0, |first| first.rule.route.priority),
            exact: HashMap::default(),
            prefixes: Prefixes::default(),
            rest: start + rules.len()..start + rules.len(),
        };
        let mut prefixes = Vec::new();
        let mut at = start;
        for chunk in rules.chunk_by(|a, b| same_path(&a.when.path, &b.when.path)) {
            let range = at..at + chunk.len();
            at = range.end;
            match chunk.first().map(|first| &first.when.path) {
                Some(PathRule::Exact(path)) => drop(layer.exact.insert(path.clone(), range)),
                Some(PathRule::Prefix(path)) => prefixes.push((path.clone(), range)),
                // In the order of rules these are the last.
                _ => {
                    layer.rest.start = range.start;
                    break;
                }
            }
        }
        layer.prefixes = Prefixes::new(prefixes);
        layer
    }
}

fn same_path(a: &PathRule, b: &PathRule) -> bool {
    match (a, b) {
        (PathRule::Exact(a), PathRule::Exact(b)) | (PathRule::Prefix(a), PathRule::Prefix(b)) => a == b,
        _ => false,
    }
}

/// Prefixes sorted so that those within one another stand together.
#[derive(Default)]
struct Prefixes {
    sorted: Vec<Prefix>,
}

struct Prefix {
    text: Box<str>,
    rules: Range<usize>,
    /// The longest other prefix of this one.
    parent: Option<usize>,
}

impl Prefixes {
    fn new(mut prefixes: Vec<(Box<str>, Range<usize>)>) -> Prefixes {
        prefixes.sort_by(|(a, _), (b, _)| by_segments(a, b));
        let mut sorted: Vec<Prefix> = Vec::with_capacity(prefixes.len());
        let mut open: Vec<usize> = Vec::new();
        for (text, rules) in prefixes {
            let holds =
                |at: &usize| sorted.get(*at).is_some_and(|p| path::strip_prefix(&text, &p.text).is_some());
            while open.last().is_some_and(|at| !holds(at)) {
                open.pop();
            }
            let parent = open.last().copied();
            open.push(sorted.len());
            sorted.push(Prefix { text, rules, parent });
        }
        Prefixes { sorted }
    }

    /// The rules of all prefixes of a path, longest first.
    fn of(&self, path: &str) -> impl Iterator<Item = Range<usize>> {
        // The prefixes of a path are the last one not after it, or parents of that one.
        let after =
            self.sorted.partition_point(|prefix| by_segments(&prefix.text, path) != Ordering::Greater);
        let mut next = after.checked_sub(1);
        std::iter::from_fn(move || {
            loop {
                let prefix = self.sorted.get(next?)?;
                next = prefix.parent;
                if path::strip_prefix(path, &prefix.text).is_some() {
                    return Some(prefix.rules.clone());
                }
            }
        })
    }
}

/// By bytes, with `/` before all others, so that what is below a path follows it at once.
fn by_segments(a: &str, b: &str) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.bytes().map(|b| rank(&b)).cmp(b.bytes().map(|b| rank(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_a_path_longest_first() {
        let texts = ["", "/a", "/a-b", "/a/b", "/a/b/c", "/a/bc", "/b", "/a!"];
        let prefixes =
            Prefixes::new(texts.iter().enumerate().map(|(i, text)| ((*text).into(), i..i + 1)).collect());
        for (path, expected) in [
            ("/", vec![""]),
            ("/a", vec!["/a", ""]),
            ("/a/b/c/d", vec!["/a/b/c", "/a/b", "/a", ""]),
            ("/a/b/cc", vec!["/a/b", "/a", ""]),
            ("/a/bb", vec!["/a", ""]),
            ("/a-b/x", vec!["/a-b", ""]),
            ("/a!/x", vec!["/a!", ""]),
            ("/ab", vec![""]),
            ("/zzz", vec![""]),
            ("*", vec![]),
        ] {
            let found: Vec<_> = prefixes.of(path).map(|range| texts[range.start]).collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}
