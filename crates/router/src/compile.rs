//! Rules made ready to be asked; those that did not change are taken over.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use evergate_conf::ByName;
use evergate_contract::config::{Name, Route};

use crate::{hosts::HostKey, order, predicate::When};

/// A route and what belongs to it. Two rules are the same if their names and values are equal and their routes are the very
/// same allocation.
#[derive(Clone)]
pub struct Rule<T> {
    /// Its name in the document.
    pub name: Name,
    /// What the document says of it: match, priority and listeners count here.
    pub route: Arc<Route>,
    /// What a match answers. Small, and quick to compare: it is held where it is found.
    pub value: T,
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
    /// It serves on every listener: then what the document says of it need not be fetched from memory.
    pub(crate) everywhere: bool,
}

impl<T> Compiled<T> {
    fn new(rule: Rule<T>, before: Option<&Compiled<T>>) -> Result<Compiled<T>, RuleError> {
        // A regex costs far more than the comparison that may save it.
        let kept = before.filter(|old| old.rule.route.matches == rule.route.matches);
        let when = match kept {
            Some(old) => Arc::clone(&old.when),
            None => match When::shared(&rule.route.matches) {
                Ok(when) => when,
                Err(reason) => return Err(RuleError { name: rule.name, reason }),
            },
        };
        Ok(Compiled { everywhere: rule.route.listeners.is_none(), rule, when })
    }

    /// Each once.
    fn hosts(&self) -> Vec<HostKey> {
        let hosts = &self.rule.route.matches.hosts;
        if hosts.is_empty() {
            return vec![HostKey::Any];
        }
        let mut keys: Vec<HostKey> = hosts.iter().map(|h| HostKey::new(h)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
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
    pub(crate) gone: Vec<Name>,
    /// Rules that are new, or changed.
    pub(crate) fresh: Vec<Arc<Compiled<T>>>,
}

impl<T> Default for Touch<T> {
    fn default() -> Touch<T> {
        Touch { gone: Vec::new(), fresh: Vec::new() }
    }
}

/// What becomes of one name.
pub enum Change<T> {
    /// It has this rule, whether or not it had one.
    Put(Rule<T>),
    /// It has none.
    Take(Name),
}

impl<T> Change<T> {
    fn name(&self) -> &Name {
        match self {
            Change::Put(rule) => &rule.name,
            Change::Take(name) => name,
        }
    }
}

/// All rules by name.
pub(crate) type Rules<T> = ByName<Arc<Compiled<T>>>;

/// All rules by name after a change, and the hosts at which something is new.
pub(crate) struct Changes<T> {
    pub(crate) rules: Rules<T>,
    pub(crate) touched: HashMap<HostKey, Touch<T>>,
    pub(crate) work: Work,
}

impl<T: PartialEq> Changes<T> {
    /// Compiles what is new; of one name only one change.
    pub(crate) fn of(before: &Rules<T>, changes: Vec<Change<T>>) -> Result<Changes<T>, RuleError> {
        let mut touched = HashMap::<HostKey, Touch<T>>::new();
        let mut work = Work::default();
        let mut edits = Vec::with_capacity(changes.len());
        for change in changes {
            let old = before.get(change.name());
            if let (Some(old), Change::Put(rule)) = (old, &change)
                && old.rule.same(rule)
            {
                continue;
            }
            for host in old.iter().flat_map(|old| old.hosts()) {
                touched.entry(host).or_default().gone.push(Arc::clone(change.name()));
            }
            match change {
                Change::Take(name) => edits.push((name, None)),
                Change::Put(rule) => {
                    work.rules += 1;
                    let name = Arc::clone(&rule.name);
                    let new = Arc::new(Compiled::new(rule, old.map(AsRef::as_ref))?);
                    for host in new.hosts() {
                        touched.entry(host).or_default().fresh.push(Arc::clone(&new));
                    }
                    edits.push((name, Some(new)));
                }
            }
        }
        edits.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Changes { rules: before.with(&edits), touched, work })
    }
}

impl<T: PartialEq> Rule<T> {
    fn same(&self, other: &Rule<T>) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.route, &other.route) && self.value == other.value
    }
}

impl std::fmt::Display for RuleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "route `{}`: {}", self.name, self.reason)
    }
}

impl std::error::Error for RuleError {}
