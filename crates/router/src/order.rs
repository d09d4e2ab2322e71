//! Which of two routes that match wins.
//!
//! Higher `priority`; then the host: exact, the longest wildcard, any; then the path: exact, the longest prefix, a regex,
//! none; then one that asks for methods; then more headers; then more query parameters; then the name. As the Gateway
//! API orders HTTPRoutes, so "the most specific matching route wins": a host with no matching route falls through
//! to wildcards that cover it, and these to routes without host.

use std::cmp::{Ordering, Reverse};

use evergate_contract::config::{Match, Route};

use crate::path::PathRule;

/// The order of two routes whose hosts are equally specific; `Less` wins. Equal only for the same name. Of paths that
/// cannot both match, equal ones stand together.
pub(crate) fn within_host(a: (&str, &Route, &PathRule), b: (&str, &Route, &PathRule)) -> Ordering {
    let key = |(name, route, path): (_, _, _)| key(name, route, path);
    key(a).cmp(&key(b))
}

type Key<'a> = (Reverse<i32>, PathKey<'a>, PastPath, &'a str);
type PathKey<'a> = (u8, Reverse<usize>, &'a str);
type PastPath = (bool, Reverse<usize>, Reverse<usize>);

fn key<'a>(name: &'a str, route: &Route, path: &'a PathRule) -> Key<'a> {
    (Reverse(route.priority), path_key(path), past_path(&route.matches), name)
}

fn path_key(path: &PathRule) -> PathKey<'_> {
    match path {
        PathRule::Exact(path) => (0, Reverse(0), path),
        PathRule::Prefix(prefix) => (1, Reverse(prefix.len()), prefix),
        PathRule::Regex(_) => (2, Reverse(0), ""),
        PathRule::Any => (3, Reverse(0), ""),
    }
}

fn past_path(matches: &Match) -> PastPath {
    (matches.methods.is_empty(), Reverse(matches.headers.len()), Reverse(matches.query.len()))
}
