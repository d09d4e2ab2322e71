//! Who mentions whom, and which routes match the same: kept from check to check, so that a change costs what it touches.
//!
//! An index that is made from nothing and one that followed every change are equal. Says nothing to anybody: what follows
//! from it is said in `cross`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use evergate_conf::{
    ByName,
    sorted::{self, Edit, Keyed, Sorted},
};

use crate::config::{Carried, Config, ListenerTls, Name, Objects, Route};

/// What takes two objects to see, of one document.
#[derive(Clone, Default)]
pub(super) struct Index {
    pub(super) listeners: Mentions,
    pub(super) upstreams: Mentions,
    pub(super) certificates: Mentions,
    alike: Sorted<Alike>,
    /// Routes that are never reached, and who takes all their requests.
    pub(super) shadowed: ByName<Name>,
}

/// How often objects of one kind are mentioned.
#[derive(Clone, Default)]
pub(super) struct Mentions {
    counts: ByName<u32>,
    /// Objects that nobody mentions.
    pub(super) unused: ByName<()>,
    /// A name is mentioned that no object bears which can be meant.
    pub(super) dangling: bool,
}

/// A route by the hash of what it matches.
#[derive(Clone)]
struct Alike((u64, Name));

impl Keyed for Alike {
    type Key = (u64, Name);

    fn key(&self) -> &(u64, Name) {
        &self.0
    }

    fn hash(&self) -> u64 {
        sorted::hash(self.0.1.as_bytes())
    }
}

/// Mentions that came and went, by name.
#[derive(Default)]
struct Turnover(BTreeMap<Name, i64>);

impl Turnover {
    fn count<'a>(&mut self, names: impl Iterator<Item = &'a Name>, by: i64) {
        for name in names {
            match self.0.get_mut(name) {
                Some(sum) => *sum += by,
                None => drop(self.0.insert(Arc::clone(name), by)),
            }
        }
    }
}

impl Index {
    /// The index of a document; `old` is the one before it with its own.
    pub(super) fn of(config: &Config, old: (&Config, &Index)) -> Index {
        let (before, index) = old;
        let (mut listeners, mut upstreams, mut certificates) =
            (Turnover::default(), Turnover::default(), Turnover::default());
        for (route, by) in turnover(&before.routes, &config.routes) {
            listeners.count(route.1.listeners.iter().flatten(), by);
            upstreams.count(route.1.forward.iter().flat_map(|f| &f.to).map(|t| &t.upstream), by);
        }
        for (upstream, by) in turnover(&before.upstreams, &config.upstreams) {
            certificates.count(upstream.1.tls.iter().filter_map(|tls| tls.certificate.as_ref()), by);
        }
        for (listener, by) in turnover(&before.listeners, &config.listeners) {
            certificates.count(listener.1.tls.iter().flat_map(ListenerTls::mentions), by);
        }
        let (alike, shadowed) = index.matches((&before.routes, &config.routes));
        Index {
            listeners: index
                .listeners
                .after(listeners, (&before.listeners, &config.listeners), |l| l.carries() == Carried::Http),
            upstreams: index
                .upstreams
                .after(upstreams, (&before.upstreams, &config.upstreams), |u| u.carries() == Carried::Http),
            certificates: index.certificates.after(
                certificates,
                (&before.certificates, &config.certificates),
                |_| true,
            ),
            alike,
            shadowed,
        }
    }

    /// Routes by what they match, and those that are never reached.
    fn matches(&self, (old, new): (&Objects<Route>, &Objects<Route>)) -> (Sorted<Alike>, ByName<Name>) {
        let stay =
            |((name, route), by): (Named<'_, Route>, i64)| ((hash_of(route), Arc::clone(name)), by > 0);
        let mut stays: Vec<((u64, Name), bool)> = turnover(old, new).map(stay).collect();
        // Of one name that stays at its hash, what is new counts.
        stays.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        stays.dedup_by(|a, b| a.0 == b.0);
        let edits = stays.iter().map(|(key, stays)| match stays {
            true => Edit::Put(Alike(key.clone())),
            false => Edit::Take(key),
        });
        let alike = self.alike.with(edits.collect());
        let mut touched: Vec<u64> = stays.into_iter().map(|((hash, _), _)| hash).collect();
        touched.dedup();
        let is_touched =
            |name: &str| new.get(name).is_none_or(|r| touched.binary_search(&hash_of(r)).is_ok());
        let stale = self.shadowed.keys().filter(|name| is_touched(name));
        let mut shadows: BTreeMap<Name, Option<Name>> = stale.map(|name| (Arc::clone(name), None)).collect();
        for group in neighbours(&alike, &touched) {
            let routes = group.into_iter().filter_map(|name| Some((name, &**new.get(name)?)));
            for group in alike_among(routes.collect()) {
                shadows.extend(shadowed(group).into_iter().map(|(name, by)| (name, Some(by))));
            }
        }
        (alike, self.shadowed.with(&shadows.into_iter().collect::<Vec<_>>()))
    }
}

/// Routes whose hashes are equal, where there is more than one, for some hashes in order at least.
fn neighbours<'a>(alike: &'a Sorted<Alike>, hashes: &[u64]) -> Vec<Vec<&'a Name>> {
    let mut groups = Vec::new();
    let mut add = |row: &[&'a Alike]| {
        if row.len() > 1 {
            groups.push(row.iter().map(|a| &a.0.1).collect());
        }
    };
    // A walk over all costs less than a search for each, if it is for many.
    if hashes.len() > alike.len() / 8 {
        let all: Vec<&Alike> = alike.iter().collect();
        all.chunk_by(|a, b| a.0.0 == b.0.0).for_each(&mut add);
    } else {
        for hash in hashes {
            let first = (*hash, Name::from(""));
            let row: Vec<&Alike> = alike.from(&first).take_while(|a| a.0.0 == *hash).collect();
            add(&row);
        }
    }
    groups
}

impl Mentions {
    /// `fits`: whether an object can be meant by those who mention it.
    fn after<T>(
        &self,
        turnover: Turnover,
        (old, new): (&Objects<T>, &Objects<T>),
        fits: impl Fn(&T) -> bool,
    ) -> Mentions {
        let count = |(name, by): (&Name, &i64)| {
            let before = self.counts.get(name).copied().map_or(0, i64::from);
            let after = u32::try_from(before + by).unwrap_or(0);
            (Arc::clone(name), (after > 0).then_some(after))
        };
        let counts = self.counts.with(&turnover.0.iter().map(count).collect::<Vec<_>>());
        let mut touched: BTreeSet<Name> = turnover.0.into_keys().collect();
        for pair in old.pairs(new) {
            if let (Some((name, _)), None) | (None, Some((name, _))) = pair {
                touched.insert(Arc::clone(name));
            } else if let (Some((name, old)), Some((_, new))) = pair
                && !Arc::ptr_eq(old, new)
            {
                touched.insert(Arc::clone(name));
            }
        }
        let can_be_meant = |name: &Name| new.get(name).is_some_and(|object| fits(object));
        let dangling = touched.iter().any(|name| counts.contains_key(name) && !can_be_meant(name));
        let unused = |name: Name| {
            let is_unused = new.contains_key(&name) && !counts.contains_key(&name);
            (name, is_unused.then_some(()))
        };
        let unused = self.unused.with(&touched.into_iter().map(unused).collect::<Vec<_>>());
        Mentions { counts, unused, dangling }
    }
}

type Named<'a, T> = (&'a Name, &'a Arc<T>);

/// Objects that are no more (−1) and those that are new (+1); one that changed is both, in this order.
fn turnover<'a, T>(old: &'a Objects<T>, new: &'a Objects<T>) -> impl Iterator<Item = (Named<'a, T>, i64)> {
    old.pairs(new).flat_map(|(before, after)| {
        let same = matches!((before, after), (Some((_, a)), Some((_, b))) if Arc::ptr_eq(a, b));
        let side = |object: Option<&'a (Name, Arc<T>)>, by| {
            object.filter(|_| !same).map(|(name, object)| ((name, object), by))
        };
        side(before, -1).into_iter().chain(side(after, 1))
    })
}

fn hash_of(route: &Route) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(&route.matches)
}

/// Routes that match the same, in the order of their names.
fn alike_among<'a>(mut rest: Vec<(&'a Name, &'a Route)>) -> Vec<Vec<(&'a Name, &'a Route)>> {
    let mut groups = Vec::new();
    while let Some((_, first)) = rest.first() {
        let matches = &first.matches;
        let (same, others) = rest.iter().partition(|(_, route)| route.matches == *matches);
        groups.push(same);
        rest = others;
    }
    groups
}

/// Of routes that match the same, the first in the router's order takes every request: those that are left none, and
/// their taker.
fn shadowed(mut routes: Vec<(&Name, &Route)>) -> Vec<(Name, Name)> {
    // Stable: equal priorities stay in the order of their names.
    routes.sort_by_key(|(_, route)| Reverse(route.priority));
    let mut shadowed = Vec::new();
    let mut everywhere: Option<&Name> = None;
    let mut on: BTreeMap<&str, &Name> = BTreeMap::new();
    for (name, route) in routes {
        let taken = |listener: &Name| on.get(listener.as_ref()).copied().or(everywhere);
        let by = match &route.listeners {
            None => everywhere,
            Some(listeners) => {
                let takers: Option<Vec<_>> = listeners.iter().map(taken).collect();
                takers.and_then(|takers| takers.first().copied())
            }
        };
        if let Some(by) = by {
            shadowed.push((Arc::clone(name), Arc::clone(by)));
            continue;
        }
        match &route.listeners {
            None => everywhere = Some(name),
            Some(listeners) => on.extend(listeners.iter().map(|l| (l.as_ref(), name))),
        }
    }
    shadowed
}

#[cfg(test)]
mod tests;
