//! All rules, found by listener, host and path.

use std::{fmt, sync::Arc};

use evergate_contract::config::{Name, Route};

use crate::{
    compile::{Changes, Compiled, Rule, RuleError, Touch, Work},
    head::Head,
    host::HostTable,
    hosts::{self, HostKey, Hosts},
    path::PathRule,
};

/// Rules ready to be asked. Immutable; a copy costs the same for ten rules and for a hundred thousand, but for the
/// list of their names.
pub struct Table<T> {
    exact: Hosts<Arc<HostTable<T>>>,
    wildcard: Hosts<Arc<HostTable<T>>>,
    any: Option<Arc<HostTable<T>>>,
    rules: Vec<Arc<Compiled<T>>>,
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
    pub value: &'t Arc<T>,
    /// What matched of the path; rewrites and redirects are made by it.
    pub path: &'t PathRule,
}

impl<T> Table<T> {
    /// A table that answers by these rules only. With the table before, it costs what changed: a rule that is the same in
    /// both is not compiled, a host at which all rules are the same is not looked at. The answers do not depend
    /// on it.
    ///
    /// # Errors
    /// A rule that does not compile. Those of a checked document do.
    pub fn build(
        rules: impl IntoIterator<Item = Rule<T>>,
        previous: Option<&Table<T>>,
    ) -> Result<Table<T>, RuleError> {
        let mut rules: Vec<Rule<T>> = rules.into_iter().collect();
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        let before = previous.map_or(&[][..], |table| &table.rules);
        let Changes { rules, touched, work } = Changes::between(before, rules)?;
        let mut table = match previous {
            Some(table) => Table {
                exact: table.exact.clone(),
                wildcard: table.wildcard.clone(),
                any: table.any.clone(),
                rules,
                work,
            },
            None => Table { exact: Hosts::new(), wildcard: Hosts::new(), any: None, rules, work },
        };
        for (host, touch) in touched {
            table.touch(host, touch);
        }
        Ok(table)
    }

    /// The rule that takes a request, by the order of the most specific. Allocates nothing, unless the host
    /// has capitals, is an IPv6 address, or a rule asks for a query parameter and the query has escapes.
    #[must_use]
    pub fn find(&self, listener: &str, head: &Head<'_>) -> Option<Hit<'_, T>> {
        let host = head.host.map(hosts::canonical);
        let exact = host.iter().filter_map(|host| self.exact.get(host));
        let wildcard = host.iter().flat_map(|host| self.wildcards(host));
        let mut best: Option<&Compiled<T>> = None;
        // The first that matches is the most specific; a later one wins by its priority only.
        for table in exact.chain(wildcard).chain(&self.any) {
            let floor = best.map(|best| best.rule.route.priority);
            best = table.find(listener, head, floor).or(best);
        }
        best.map(|compiled| Hit {
            name: &compiled.rule.name,
            route: &compiled.rule.route,
            value: &compiled.rule.value,
            path: &compiled.when.path,
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

    fn wildcards(&self, host: &str) -> impl Iterator<Item = &Arc<HostTable<T>>> {
        hosts::parents(host).filter_map(|parent| self.wildcard.get(parent))
    }

    fn touch(&mut self, host: HostKey, touch: Touch<T>) {
        let old = match &host {
            HostKey::Exact(name) => self.exact.get(name),
            HostKey::Wildcard(name) => self.wildcard.get(name),
            HostKey::Any => self.any.as_ref(),
        };
        let stay = old.iter().flat_map(|table| table.rules());
        let stay = stay.filter(|rule| !touch.gone.contains(&rule.rule.name)).map(Arc::clone);
        let rules: Vec<_> = stay.chain(touch.fresh).collect();
        let table = (!rules.is_empty()).then(|| {
            self.work.hosts += 1;
            Arc::new(HostTable::new(rules))
        });
        match (host, table) {
            (HostKey::Exact(name), Some(table)) => self.exact.insert(name, table),
            (HostKey::Exact(name), None) => self.exact.remove(&name),
            (HostKey::Wildcard(name), Some(table)) => self.wildcard.insert(name, table),
            (HostKey::Wildcard(name), None) => self.wildcard.remove(&name),
            (HostKey::Any, table) => self.any = table,
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            exact: Hosts::new(),
            wildcard: Hosts::new(),
            any: None,
            rules: Vec::new(),
            work: Work::default(),
        }
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rules.iter().map(|rule| &rule.rule.name);
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests;
