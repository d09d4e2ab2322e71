//! All rules, found by listener, host and path.

use std::{fmt, sync::Arc};

use evergate_contract::config::{Name, Route};

use crate::{
    compile::{Change, Changes, Rule, RuleError, Rules, Touch, Work},
    head::Head,
    host::{HostRules, Taken},
    hosts::{self, HostKey, Hosts},
    path::PathRule,
};

/// Rules ready to be asked. Immutable; a copy costs the same for ten rules and for a hundred thousand.
pub struct Table<T> {
    exact: Hosts<HostRules<T>>,
    wildcard: Hosts<HostRules<T>>,
    any: Option<HostRules<T>>,
    rules: Rules<T>,
    work: Work,
}

/// The rule that takes a request.
#[derive(Debug)]
pub struct Hit<'t, T> {
    /// The route's name.
    pub name: &'t Name,
    /// What the document says of it.
    pub route: &'t Arc<Route>,
    /// What it answers.
    pub value: &'t T,
    /// What matched of the path; rewrites and redirects are made by it.
    pub path: &'t PathRule,
}

impl<T: Clone + PartialEq> Table<T> {
    /// The table after changes of some rules, one for each name. Costs what changes: a rule that is the same as before is
    /// not compiled, a host at which all rules are the same is not looked at. The answers depend on the rules alone.
    ///
    /// # Errors
    /// A rule that does not compile. Those of a checked document do.
    pub fn with(&self, changes: impl IntoIterator<Item = Change<T>>) -> Result<Table<T>, RuleError> {
        let Changes { rules, touched, work } = Changes::of(&self.rules, changes.into_iter().collect())?;
        let mut table = Table {
            exact: self.exact.clone(),
            wildcard: self.wildcard.clone(),
            any: self.any.clone(),
            rules,
            work,
        };
        for (host, touch) in touched {
            table.touch(host, touch);
        }
        Ok(table)
    }

    /// The rule of that name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule<T>> {
        self.rules.get(name).map(|compiled| &compiled.rule)
    }

    /// The rule that takes a request, by the order of the most specific. Allocates nothing, unless the host
    /// has capitals, is an IPv6 address, or a rule asks for a query parameter and the query has escapes.
    #[must_use]
    pub fn find(&self, listener: &str, head: &Head<'_>) -> Option<Hit<'_, T>> {
        let host = head.host.map(hosts::canonical);
        let exact = host.iter().filter_map(|host| self.exact.get(host));
        let wildcard = host.iter().flat_map(|host| self.wildcards(host));
        let mut best: Option<Taken<'_, T>> = None;
        // The first that matches is the most specific; a later one wins by its priority only.
        for table in exact.chain(wildcard).chain(&self.any) {
            let floor = best.as_ref().map(|best| best.compiled.rule.route.priority);
            best = table.find(listener, head, floor).or(best);
        }
        best.map(|Taken { compiled, path, value }| Hit {
            name: &compiled.rule.name,
            route: &compiled.rule.route,
            value,
            path,
        })
    }

    /// Rules with names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True if no request is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What building it took.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
    }

    fn wildcards(&self, host: &str) -> impl Iterator<Item = &HostRules<T>> {
        hosts::parents(host).filter_map(|parent| self.wildcard.get(parent))
    }

    fn touch(&mut self, host: HostKey, mut touch: Touch<T>) {
        touch.gone.sort_unstable();
        let old = match &host {
            HostKey::Exact(name) => self.exact.get(name),
            HostKey::Wildcard(name) => self.wildcard.get(name),
            HostKey::Any => self.any.as_ref(),
        };
        let stay = old.iter().flat_map(|table| table.rules());
        let stay = stay.filter(|rule| touch.gone.binary_search(&rule.rule.name).is_err()).map(Arc::clone);
        let rules: Vec<_> = stay.chain(touch.fresh).collect();
        let table = HostRules::new(rules);
        self.work.hosts += usize::from(table.is_some());
        match (host, table) {
            (HostKey::Exact(name), Some(table)) => self.exact.insert(&name, table),
            (HostKey::Exact(name), None) => self.exact.remove(&name),
            (HostKey::Wildcard(name), Some(table)) => self.wildcard.insert(&name, table),
            (HostKey::Wildcard(name), None) => self.wildcard.remove(&name),
            (HostKey::Any, table) => self.any = table,
        }
    }
}

impl<T: Clone> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            exact: Hosts::new(),
            wildcard: Hosts::new(),
            any: None,
            rules: Rules::new(),
            work: Work::default(),
        }
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.rules.keys()).finish()
    }
}

#[cfg(test)]
mod tests;
