//! The obvious slow matcher: asks every rule, keeps those that hold, takes the first in the order of the design.
//! Written from the documentation rather than from the table, whose oracle it is.

use std::cmp::Reverse;

use evergate_contract::config::{Match, PathMatch, Route, TextMatch};
use regex::Regex;

use crate::head::Head;

pub(crate) fn find<'r>(rules: &[(&'r str, &Route)], listener: &str, head: &Head<'_>) -> Option<&'r str> {
    let holds = |(_, route): &&(&str, &Route)| {
        let on = route.listeners.as_ref().is_none_or(|names| names.iter().any(|n| &**n == listener));
        on && path(&route.matches, head) && past_path(&route.matches, head)
    };
    let ranked = rules.iter().filter(holds).filter_map(|(name, route)| {
        let host = host(&route.matches, head.host)?;
        let m = &route.matches;
        let path = match &m.path {
            Some(PathMatch::Exact(_)) => (0, Reverse(0)),
            Some(PathMatch::Prefix(p)) => (1, Reverse(p.trim_end_matches('/').len())),
            Some(PathMatch::Regex(_)) => (2, Reverse(0)),
            None => (3, Reverse(0)),
        };
        let rest = (m.methods.is_empty(), Reverse(m.headers.len()), Reverse(m.query.len()));
        Some((Reverse(route.priority), host, path, rest, *name))
    });
    ranked.min().map(|(.., name)| name)
}

/// How specific the best matching host is: 0 exact, 1 wildcard by length, 2 any.
fn host(matches: &Match, authority: Option<&str>) -> Option<(u8, Reverse<usize>)> {
    if matches.hosts.is_empty() {
        return Some((2, Reverse(0)));
    }
    let host = authority?.to_lowercase();
    let host = host.split(':').next().unwrap().trim_end_matches('.');
    let rank = |pattern: &String| {
        let pattern = pattern.to_lowercase();
        match pattern.strip_prefix('*') {
            Some(suffix) => {
                let covers = host.ends_with(suffix) && host.len() > suffix.len();
                covers.then_some((1, Reverse(suffix.len())))
            }
            None => (pattern == host).then_some((0, Reverse(0))),
        }
    };
    matches.hosts.iter().filter_map(rank).min()
}

fn path(matches: &Match, head: &Head<'_>) -> bool {
    match &matches.path {
        None => true,
        Some(PathMatch::Exact(path)) => head.path == path,
        Some(PathMatch::Prefix(prefix)) => {
            let prefix: Vec<_> = prefix.trim_end_matches('/').split('/').collect();
            head.path.split('/').collect::<Vec<_>>().starts_with(&prefix)
        }
        Some(PathMatch::Regex(regex)) => Regex::new(regex).unwrap().is_match(head.path),
    }
}

fn past_path(matches: &Match, head: &Head<'_>) -> bool {
    let header = |(name, text): (&String, &TextMatch)| {
        let values: Vec<_> =
            head.headers.get_all(&name.parse().unwrap()).map(|v| std::str::from_utf8(v).unwrap()).collect();
        holds(text, &values)
    };
    let parameter = |(name, text): (&String, &TextMatch)| {
        let pairs = head.query.into_iter().flat_map(|query| query.split('&'));
        let mut values =
            pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).filter(|(n, _)| n == name).map(|(_, v)| v);
        holds(text, &values.next().into_iter().collect::<Vec<_>>())
    };
    (matches.methods.is_empty() || matches.methods.iter().any(|m| m == head.method.as_str()))
        && matches.headers.iter().all(header)
        && matches.query.iter().all(parameter)
}

fn holds(text: &TextMatch, values: &[&str]) -> bool {
    let holds = |value: &&str| match text {
        TextMatch::Exact(text) => value == text,
        TextMatch::Prefix(text) => value.starts_with(text.as_str()),
        TextMatch::Regex(text) => Regex::new(text).unwrap().is_match(value),
        TextMatch::Present(_) => true,
    };
    if let TextMatch::Present(there) = text { *there != values.is_empty() } else { values.iter().any(holds) }
}
