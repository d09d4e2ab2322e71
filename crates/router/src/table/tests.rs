use std::collections::BTreeMap;

use evergate_contract::config::{Match, PathMatch, TextMatch};
use evergate_wire::Headers;
use http::{HeaderValue, Method};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::naive;

type Routes = BTreeMap<Name, Arc<Route>>;

fn rules(routes: &Routes, value: u8) -> Vec<Rule<u8>> {
    let rule = |(name, route): (&Name, &Arc<Route>)| Rule {
        name: Arc::clone(name),
        route: Arc::clone(route),
        value,
    };
    routes.iter().map(rule).collect()
}

/// The table of these rules only, out of another.
fn build(rules: Vec<Rule<u8>>, before: Option<&Table<u8>>) -> Result<Table<u8>, RuleError> {
    let nothing = Table::default();
    let before = before.unwrap_or(&nothing);
    let gone = before.rules.keys().filter(|name| !rules.iter().any(|rule| rule.name == **name));
    let gone: Vec<_> = gone.map(|name| Change::Take(Arc::clone(name))).collect();
    before.with(rules.into_iter().map(Change::Put).chain(gone))
}

fn routes(json: &str) -> Routes {
    serde_json::from_str(json).unwrap()
}

/// `METHOD host/path?query` on listener `web`.
fn ask(table: &Table<u8>, request: &str) -> String {
    let (method, target) = request.split_once(' ').unwrap();
    let slash = target.find(['/', '*']).unwrap();
    let (host, target) = target.split_at(slash);
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let (method, headers) = (Method::try_from(method).unwrap(), Headers::new());
    let host = Some(host).filter(|host| !host.is_empty());
    let head = Head { method: &method, host, path, query, headers: &headers };
    table.find("web", &head).map_or("-".to_owned(), |hit| hit.name.to_string())
}

fn check(json: &str, expected: &[(&str, &str)]) {
    let table = build(rules(&routes(json), 0), None).unwrap();
    for (request, name) in expected {
        assert_eq!(ask(&table, request), *name, "{request}");
    }
}

#[test]
fn the_most_specific_host_wins() {
    check(
        r#"{ "exact": { "match": { "hosts": ["a.example.com", "10.0.0.1", "[::1]"] } },
             "wild": { "match": { "hosts": ["*.Example.com"] } },
             "wilder": { "match": { "hosts": ["*.com"] } },
             "any": {} }"#,
        &[
            ("GET a.example.com/", "exact"),
            ("GET A.Example.COM:8080/", "exact"),
            ("GET a.example.com./", "exact"),
            ("GET 10.0.0.1:80/", "exact"),
            ("GET [0::1]:80/", "exact"),
            ("GET b.example.com/", "wild"),
            ("GET a.b.example.com/", "wild"),
            ("GET example.com/", "wilder"),
            ("GET com/", "any"),
            ("GET /", "any"),
            ("OPTIONS *", "any"),
        ],
    );
}

#[test]
fn a_host_without_a_matching_route_falls_through() {
    check(
        r#"{ "exact": { "match": { "hosts": ["a.example.com"], "path": "/x" } },
             "wild": { "match": { "hosts": ["*.example.com"], "path": "/y" } },
             "any": { "match": { "path": "/z" } } }"#,
        &[
            ("GET a.example.com/x", "exact"),
            ("GET a.example.com/y", "wild"),
            ("GET a.example.com/z", "any"),
            ("GET a.example.com/w", "-"),
            ("GET b.example.com/x", "-"),
        ],
    );
}

#[test]
fn the_most_specific_path_wins() {
    check(
        r#"{ "exact": { "match": { "path": { "exact": "/a/b" } } },
             "long": { "match": { "path": "/a/b" } },
             "short": { "match": { "path": "/a/" } },
             "regex": { "match": { "path": { "regex": "^/[a-z]+$" } } },
             "none": {} }"#,
        &[
            ("GET /a/b", "exact"),
            ("GET /a/b/", "long"),
            ("GET /a/b/c", "long"),
            ("GET /a/bc", "short"),
            ("GET /a", "short"),
            ("GET /ab", "regex"),
            ("GET /AB", "none"),
            ("OPTIONS *", "none"),
        ],
    );
}

#[test]
fn then_method_headers_query_name() {
    check(
        r#"{ "a": { "match": { "path": "/" } },
             "b": { "match": { "path": "/", "methods": ["GET"] } },
             "c": { "match": { "path": "/", "query": { "q": "1" } } },
             "d": { "match": { "path": "/", "query": { "q": "1", "r": { "present": false } } } },
             "e": { "match": { "path": "/", "headers": { "x": { "present": false } } } } }"#,
        &[("GET /", "b"), ("GET /?q=1", "b"), ("POST /?q=1", "e")],
    );
    check(
        r#"{ "a": { "match": { "path": "/" } }, "b": { "match": { "path": "/" } },
             "c": { "match": { "path": "/", "query": { "q": "1" } } },
             "d": { "match": { "path": "/", "query": { "q": "1", "r": { "present": false } } } } }"#,
        &[("GET /", "a"), ("GET /?q=1&r", "c"), ("GET /?q=1", "d")],
    );
}

#[test]
fn priority_overrides_all() {
    check(
        r#"{ "exact": { "match": { "hosts": ["a.b"], "path": { "exact": "/x" } } },
             "high": { "priority": 2, "match": { "hosts": ["*.b"], "path": { "regex": "x" } } },
             "higher": { "priority": 3, "match": { "path": "/x/y" } },
             "low": { "priority": -1, "match": { "hosts": ["a.b"], "path": { "exact": "/z" } } },
             "any": {} }"#,
        &[("GET a.b/x", "high"), ("GET a.b/x/y", "higher"), ("GET c.d/x", "any"), ("GET a.b/z", "any")],
    );
}

#[test]
fn a_route_serves_on_its_listeners() {
    check(
        r#"{ "other": { "listeners": ["admin"], "match": { "path": "/a" } }, "here": { "listeners": ["web"] } }"#,
        &[("GET /a", "here")],
    );
}

#[test]
fn a_regex_that_does_not_compile_names_its_route() {
    let routes = routes(r#"{ "a": {}, "b": { "match": { "path": { "regex": "(" } } } }"#);
    let error = build(rules(&routes, 0), None).unwrap_err();
    assert!(error.to_string().starts_with("route `b`: unclosed group"), "{error}");
}

#[test]
fn one_change_costs_one_host() {
    let value = 0;
    let route = |i: usize| {
        let json = format!(
            r#"{{ "match": {{ "hosts": ["h{}.example"], "path": {{ "regex": "^/{i}$" }} }} }}"#,
            i / 2
        );
        Arc::new(serde_json::from_str::<Route>(&json).unwrap())
    };
    let mut routes: Routes = (0..2000).map(|i| (format!("r{i}").into(), route(i))).collect();
    let first = build(rules(&routes, value), None).unwrap();
    assert_eq!(first.work(), Work { rules: 2000, hosts: 1000 });

    let same = build(rules(&routes, value), Some(&first)).unwrap();
    assert_eq!(same.work(), Work::default());

    routes.insert("r7".into(), route(8));
    let second = build(rules(&routes, value), Some(&same)).unwrap();
    assert_eq!(second.work(), Work { rules: 1, hosts: 2 });
    assert_eq!(ask(&second, "GET h4.example/8"), "r7");
    assert_eq!(ask(&second, "GET h3.example/7"), "-");
    assert_eq!(ask(&first, "GET h3.example/7"), "r7");

    // A new value is a new answer, but the expressions stay.
    let mut changed = rules(&routes, value);
    changed[0].value = 1;
    let third = build(changed, Some(&second)).unwrap();
    assert_eq!(third.work(), Work { rules: 1, hosts: 1 });
    assert_eq!(third.rules["r0"].rule.value, 1);
    assert!(Arc::ptr_eq(&third.rules["r0"].when, &second.rules["r0"].when));

    routes.retain(|name, _| &**name != "r10" && &**name != "r11");
    let fourth = build(rules(&routes, value), Some(&third)).unwrap();
    // `r0` went back to its old value; of `h5.example` nothing is left to put in order.
    assert_eq!(fourth.work(), Work { rules: 1, hosts: 1 });
    assert_eq!(ask(&fourth, "GET h5.example/10"), "-");
}

/// Few words, so that random rules meet random requests.
fn any_match() -> impl Strategy<Value = Match> {
    let hosts = select(vec!["a.b.c", "*.b.c", "*.c", "A.b.c", "c", "*.a.b.c"]);
    let paths = select(vec!["/", "/a", "/a/", "/a/b", "/a/b/a", "/a-a", "/ab", "/a//b"]);
    let path =
        (0..3, paths, select(vec!["^/a", "b$", "/[ab]/", ""])).prop_map(|(kind, path, regex)| match kind {
            0 => PathMatch::Exact(path.to_owned()),
            1 => PathMatch::Prefix(path.to_owned()),
            _ => PathMatch::Regex(regex.to_owned()),
        });
    let text =
        (0..4, select(vec!["1", "12", ""]), any::<bool>()).prop_map(|(kind, text, there)| match kind {
            0 => TextMatch::Exact(text.to_owned()),
            1 => TextMatch::Prefix(text.to_owned()),
            2 => TextMatch::Regex(text.to_owned()),
            _ => TextMatch::Present(there),
        });
    let texts = || {
        let names = select(vec!["x".to_owned(), "y".to_owned()]);
        proptest::collection::btree_map(names, text.clone(), 0..=2)
    };
    let methods = vec(select(vec!["GET".to_owned(), "POST".to_owned()]), 0..2);
    let mostly_none = |s| prop_oneof![3 => Just(BTreeMap::new()), 1 => s];
    (
        vec(hosts, 0..3),
        option::weighted(0.8, path),
        methods,
        mostly_none(texts().boxed()),
        mostly_none(texts().boxed()),
    )
        .prop_map(|(hosts, path, methods, headers, query)| Match {
            hosts: hosts.into_iter().map(str::to_owned).collect(),
            path,
            methods,
            headers,
            query,
        })
}

fn any_route() -> impl Strategy<Value = Route> {
    let listeners = option::weighted(0.2, vec(select(vec!["web", "admin"]), 1..3));
    let priority = prop_oneof![4 => Just(0), 1 => -1..3];
    (any_match(), listeners, priority).prop_map(|(matches, listeners, priority)| {
        let mut route: Route = serde_json::from_str("{}").unwrap();
        route.matches = matches;
        route.listeners = listeners.map(|names| names.into_iter().map(Into::into).collect());
        route.priority = priority;
        route
    })
}

fn any_routes() -> impl Strategy<Value = Routes> {
    let route = any_route().prop_map(Arc::new);
    proptest::collection::btree_map("[a-e][a-e]?".prop_map(|name| Name::from(name.as_str())), route, 0..12)
}

#[derive(Clone, Debug)]
struct Request {
    listener: &'static str,
    method: Method,
    host: Option<&'static str>,
    path: &'static str,
    query: Option<&'static str>,
    headers: Headers,
}

impl Request {
    fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            host: self.host,
            path: self.path,
            query: self.query,
            headers: &self.headers,
        }
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    let hosts = select(vec!["a.b.c", "A.B.C:80", "x.a.b.c", "b.c", "x.c.", "c", "d", ".c"]);
    let paths = select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/a/x", "/a-a/b", "/ab", "/a//b/c", "*"]);
    let queries = select(vec!["x", "x=1", "x=12&y=1", "y&x=1", "x=2&x=1", "&"]);
    let headers = vec((select(vec!["x", "y"]), select(vec!["1", "12", ""])), 0..3);
    let method = select(vec![Method::GET, Method::POST]);
    (select(vec!["web", "admin"]), method, option::weighted(0.9, hosts), paths, option::of(queries), headers)
        .prop_map(|(listener, method, host, path, query, headers)| {
            let headers = headers
                .into_iter()
                .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v)));
            Request { listener, method, host, path, query, headers: headers.collect() }
        })
}

/// What a table holds: hosts with their rules in order.
fn shape(table: &Table<u8>) -> BTreeMap<HostKey, Vec<Name>> {
    let names = |host: &HostRules<u8>| host.rules().iter().map(|rule| Arc::clone(&rule.rule.name)).collect();
    let exact = table.exact.iter().map(|(host, rules)| (HostKey::Exact(host.into()), names(rules)));
    let wildcard = table.wildcard.iter().map(|(host, rules)| (HostKey::Wildcard(host.into()), names(rules)));
    let any = table.any.iter().map(|rules| (HostKey::Any, names(rules)));
    exact.chain(wildcard).chain(any).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_table_answers_as_the_naive_matcher(routes in any_routes(), requests in vec(any_request(), 1..40)) {
        let table = build(rules(&routes, 0), None).unwrap();
        let all: Vec<_> = routes.iter().map(|(name, route)| (&**name, &**route)).collect();
        for request in requests {
            let head = request.head();
            let found = table.find(request.listener, &head).map(|hit| &**hit.name);
            prop_assert_eq!(found, naive::find(&all, request.listener, &head), "{:?}", request);
        }
    }

    #[test]
    fn a_rebuilt_table_is_a_built_one(
        mut first in any_routes(), second in any_routes(), keep in any::<u16>(), requests in vec(any_request(), 1..20),
    ) {
        let value = 0;
        let before = build(rules(&first, value), None).unwrap();
        // Some routes stay the same allocation, some change, some come, some go.
        let mut bit = 0;
        first.retain(|_, _| { bit += 1; keep >> (bit % 16) & 1 == 1 });
        let mut after = second;
        after.extend(first);
        let rebuilt = build(rules(&after, value), Some(&before)).unwrap();
        let built = build(rules(&after, value), None).unwrap();
        prop_assert_eq!(shape(&rebuilt), shape(&built));
        for request in requests {
            let name = |table: &Table<u8>| {
                table.find(request.listener, &request.head()).map(|hit| Arc::clone(hit.name))
            };
            prop_assert_eq!(name(&rebuilt), name(&built), "{:?}", request);
        }
    }
}
