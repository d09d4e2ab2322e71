//! Rules made ready to be asked; those that did not change are taken over.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use evergate_contract::config::{Name, Route};

use crate::{hosts::HostKey, order, predicate::When};

/// A route and what belongs to it. Two rules are the same if their names are equal and route and value are the very
/// same allocations.
pub struct Rule<T> {
    /// Its name in the document.
    pub name: Name,
    /// What the document says of it: match, priority and listeners count here.
    pub route: Arc<Route>,
    /// What a match answers.
    pub value: Arc<T>,
}

/// A rule that cannot be compiled; a checked document has none.
#[derive(Debug)]
pub struct RuleError {
    /// The route.
    pub name: Name,
    /// Why.
    pub reason: String,
}

/// What a table had to make; the rest is the previous one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rules compiled.
    pub rules: usize,
    /// Hosts whose rules were put in order.
    pub hosts: usize,
}

/// A rule ready to be asked. Shared by the tables of all its hosts.
pub(crate) struct Compiled<T> {
    pub(crate) rule: Rule<T>,
    pub(crate) when: Arc<When>,
}

impl<T> Compiled<T> {
    fn new(rule: Rule<T>, before: Option<&Compiled<T>>) -> Result<Compiled<T>, RuleError> {
        // A regex costs far more than the comparison that may save it.
        let kept = before.filter(|old| old.rule.route.matches == rule.route.matches);
        let when = match kept {
            Some(old) => Arc::clone(&old.when),
            None => match When::new(&rule.route.matches) {
                Ok(when) => Arc::new(when),
                Err(reason) => return Err(RuleError { name: rule.name, reason }),
            },
        };
        Ok(Compiled { rule, when })
    }

    fn hosts(&self) -> HashSet<HostKey> {
        let hosts = &self.rule.route.matches.hosts;
        if hosts.is_empty() { [HostKey::Any].into() } else { hosts.iter().map(|h| HostKey::new(h)).collect() }
    }

    /// Which of two rules of one host is asked first.
    pub(crate) fn order(&self, other: &Compiled<T>) -> Ordering {
        order::within_host(
            (&self.rule.name, &self.rule.route, &self.when.path),
            (&other.rule.name, &other.rule.route, &other.when.path),
        )
    }
}

/// What is new at one host.
pub(crate) struct Touch<T> {
    /// Rules that are no more, or changed.
    pub(crate) gone: HashSet<Name>,
    /// Rules that are new, or changed.
    pub(crate) fresh: Vec<Arc<Compiled<T>>>,
}

impl<T> Default for Touch<T> {
    fn default() -> Touch<T> {
        Touch { gone: HashSet::new(), fresh: Vec::new() }
    }
}

/// All rules by name, and the hosts at which something is new.
pub(crate) struct Changes<T> {
    pub(crate) rules: Vec<Arc<Compiled<T>>>,
    pub(crate) touched: HashMap<HostKey, Touch<T>>,
    pub(crate) work: Work,
}

impl<T> Changes<T> {
    /// Compares rules with those before; both in the order of their names.
    pub(crate) fn between(before: &[Arc<Compiled<T>>], rules: Vec<Rule<T>>) -> Result<Changes<T>, RuleError> {
        let mut changes = Changes {
            rules: Vec::with_capacity(rules.len()),
            touched: HashMap::new(),
            work: Work::default(),
        };
        let mut before = before.iter().peekable();
        for rule in rules {
            while let Some(old) = before.next_if(|old| old.rule.name < rule.name) {
                changes.gone(old);
            }
            let old = before.next_if(|old| old.rule.name == rule.name);
            match old {
                Some(old) if old.rule.same(&rule) => changes.rules.push(Arc::clone(old)),
                _ => {
                    if let Some(old) = old {
                        changes.gone(old);
                    }
                    changes.fresh(Compiled::new(rule, old.map(AsRef::as_ref))?);
                }
            }
        }
        before.for_each(|old| changes.gone(old));
        Ok(changes)
    }

    fn gone(&mut self, old: &Compiled<T>) {
        for host in old.hosts() {
            self.touched.entry(host).or_default().gone.insert(Arc::clone(&old.rule.name));
        }
    }

    fn fresh(&mut self, new: Compiled<T>) {
        self.work.rules += 1;
        let new = Arc::new(new);
        for host in new.hosts() {
            self.touched.entry(host).or_default().fresh.push(Arc::clone(&new));
        }
        self.rules.push(new);
    }
}

impl<T> Rule<T> {
    fn same(&self, other: &Rule<T>) -> bool {
        self.name == other.name
            && Arc::ptr_eq(&self.route, &other.route)
            && Arc::ptr_eq(&self.value, &other.value)
    }
}

impl<T> Clone for Rule<T> {
    fn clone(&self) -> Rule<T> {
        Rule { name: Arc::clone(&self.name), route: Arc::clone(&self.route), value: Arc::clone(&self.value) }
    }
}

impl std::fmt::Display for RuleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "route `{}`: {}", self.name, self.reason)
    }
}

impl std::error::Error for RuleError {}
