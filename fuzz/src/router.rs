//! Requests against rules, and what rules make of a path.

use std::sync::{Arc, OnceLock};

use evergate_contract::config::Route;
use evergate_router::{Change, Head, Rule, Table, normalized};
use evergate_wire::Headers;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

/// Rules of every kind that compete for the same requests.
fn rules() -> &'static [(&'static str, Value)] {
    static RULES: OnceLock<Vec<(&str, Value)>> = OnceLock::new();
    RULES.get_or_init(|| {
        vec![
            ("any", json!({})),
            ("host", json!({ "hosts": ["a.example.com"] })),
            ("wild", json!({ "hosts": ["*.example.com"], "path": "/v1" })),
            ("wilder", json!({ "hosts": ["*.a.example.com", "*.com"] })),
            ("exact", json!({ "path": { "exact": "/v1/users" } })),
            ("prefix", json!({ "path": "/v1" })),
            ("deeper", json!({ "path": "/v1/users/", "methods": ["GET", "PUT"] })),
            ("regex", json!({ "path": { "regex": "^/v[0-9]+/(?<rest>.*)$" } })),
            ("query", json!({ "query": { "a": "1", "b": { "regex": "^x" } } })),
            ("header", json!({ "headers": { "x-a": { "present": true }, "x-b": { "prefix": "b" } } })),
            ("method", json!({ "methods": ["POST"], "path": "/v1/users" })),
        ]
    })
}

fn rule(name: &str, matches: &Value) -> Option<Rule<()>> {
    let route: Route = serde_json::from_value(json!({ "match": matches, "respond": {} })).ok()?;
    Some(Rule { name: name.into(), route: Arc::new(route), value: () })
}

/// Lines: method, host, target, then headers. The answer does not depend on how the table came to be.
pub(crate) fn route(data: &[u8]) {
    static TABLES: OnceLock<Option<[Table<()>; 2]>> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let all = || rules().iter().filter_map(|(name, matches)| rule(name, matches)).map(Change::Put);
        let whole = Table::default().with(all()).ok()?;
        let before = Table::default().with(all().step_by(2)).ok()?;
        Some([whole, before.with(all()).ok()?])
    });
    let Some([whole, grown]) = tables else { unreachable!("the rules are good") };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let (Some(method), Some(host), Some(target)) = (lines.next(), lines.next(), lines.next()) else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let Ok(normal) = normalized(path) else { return };
    assert_eq!(normalized(&normal).as_deref().ok(), Some(normal.as_ref()), "normal twice is not normal");
    let headers = headers(lines);
    let head = Head { method: &method, host: Some(host), path: &normal, query, headers: &headers };
    let hit = whole.find("web", &head);
    assert_eq!(hit.as_ref().map(|h| h.name), grown.find("web", &head).map(|h| h.name), "grown");
    assert!(hit.is_some(), "one rule takes everything");
    if let Some(rest) = hit.and_then(|h| h.path.rest(&normal)) {
        assert!(normal.ends_with(rest) && (rest.is_empty() || rest.starts_with(['/', '*'])), "rest {rest}");
    }
}

/// Header lines, those that are none left out.
pub(crate) fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Lines: kind of match, pattern, what it becomes, path, query. A path in a document never leads to another host.
pub(crate) fn rewrite(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let [kind, pattern, to, path, query] = lines.as_slice() else { return };
    let Ok(path) = normalized(path) else { return };
    // Of regexes that are long, most is time in a compiler that is not ours.
    if pattern.len() > 200 || !matches!(*kind, "exact" | "prefix" | "regex") {
        return;
    }
    let Some(rule) = rule("r", &json!({ "path": { *kind: pattern } })) else { return };
    let Ok(table) = Table::default().with([Change::Put(rule)]) else { return };
    let headers = Headers::new();
    let head = Head { method: &Method::GET, host: None, path: &path, query: None, headers: &headers };
    let Some(hit) = table.find("web", &head) else { return };
    assert!(hit.path.rewrite(to, &path).starts_with('/'), "a path that is none");
    let location = hit.path.redirect(to, &path, Some(query));
    let elsewhere = location.get(1..).is_some_and(|rest| rest.starts_with(['/', '\\']));
    assert!(!to.starts_with('/') || location.starts_with('/') && !elsewhere, "leads away: {location}");
}
