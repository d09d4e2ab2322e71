mod http2;

use evergate_conf::{FileId, Format, Limits, Severity, format};

use super::*;

mod layer4;
mod tls;

fn parse(yaml: &str) -> Node {
    format::parse(yaml, Format::Yaml, FileId(1), &Limits::default())
        .unwrap_or_else(|e| panic!("{e:?}\n{yaml}"))
}

fn said(result: Result<Checked, Report>) -> Report {
    result.map_or_else(|report| report, |checked| checked.warnings().clone())
}

/// All that is found, as `code path line:column message | help`; warnings begin with `~`.
fn found(yaml: &str) -> Vec<String> {
    let report = said(check(&parse(yaml), None));
    let line = |d: &evergate_conf::Diagnostic| {
        let sign = if d.severity == Severity::Warning { "~" } else { "" };
        let (Place { line, column, .. }, help) = (d.place, d.help.as_deref().unwrap_or("-"));
        format!("{sign}{} {} {line}:{column} {} | {help}", d.code, d.path, d.message)
    };
    report.iter().map(line).collect()
}

/// Each of `expected` is found, in this order, and nothing else. Words of one row are parts of one line.
fn check_rows(yaml: &str, expected: &[&[&str]]) {
    let found = found(yaml);
    let fits = |(line, parts): (&String, &&[&str])| parts.iter().all(|part| line.contains(part));
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(fits),
        "of\n{yaml}\nfound\n{}\nexpected\n{expected:#?}",
        found.join("\n")
    );
}

/// A document around one route.
fn route(text: &str, expected: &[&[&str]]) {
    let base = "listeners: { web: { address: ':80' } }\n\
                upstreams: { api: { endpoints: ['http://a'] } }\n\
                routes:\n  used: { priority: 9, forward: api }\n  r: ";
    check_rows(&format!("{base}{text}"), expected);
}

/// A document around one upstream.
fn upstream(text: &str, expected: &[&[&str]]) {
    check_rows(&format!("routes: {{ r: {{ forward: u }} }}\nupstreams:\n  u: {text}"), expected);
}

/// A document around one listener.
fn listener(text: &str, expected: &[&[&str]]) {
    check_rows(&format!("listeners:\n  web: {text}"), expected);
}

use evergate_conf::Place;

#[test]
fn a_route_has_one_action() {
    route("{ match: { path: /a } }", &[&["no_action routes.r 5:3", "add one of `forward`"]]);
    route(
        "{ match: { path: /a }, respond: {}, redirect: { to: / }, forward: api }",
        &[
            &["two_actions routes.r.respond 5:29", "has `forward` already"],
            &["two_actions routes.r.redirect 5:42"],
        ],
    );
}

#[test]
fn changes_of_the_request_need_forward() {
    route(
        "{ match: { path: /a }, respond: {}, rewrite: { path: /b }, timeout: 1s, headers: { request: { set: { a: b } } } }",
        &[
            &["no_effect routes.r.rewrite", "`rewrite` has an effect only with `forward`"],
            &["no_effect routes.r.timeout"],
            &["no_effect routes.r.headers.request"],
        ],
    );
    route("{ match: { path: /a }, respond: {}, headers: { response: { set: { a: b } } } }", &[]);
}

#[test]
fn names_that_are_mentioned_exist() {
    route(
        "{ match: { path: /a }, listeners: [web, wep], forward: apy }",
        &[
            &["unknown_name routes.r.listeners.1 5:46 there is no listener `wep` | did you mean `web`?"],
            &["unknown_name routes.r.forward 5:61 there is no upstream `apy` | did you mean `api`?"],
        ],
    );
    route(
        "{ match: { path: /a }, forward: { to: [{ upstream: api }, { upstream: xyzzy }] } }",
        &[&["unknown_name routes.r.forward.to.1.upstream", "| -"]],
    );
    check_rows(
        "listeners: { a: { address: ':1', tls: { certificates: [x] } } }\n\
         upstreams: { u: { endpoints: ['https://a'], tls: { certificate: y } } }\n\
         routes: { r: { forward: u } }",
        &[
            &["unknown_name listeners.a.tls.certificates.0", "the document has no certificates"],
            &["unknown_name upstreams.u.tls.certificate"],
        ],
    );
}

#[test]
fn forward_has_somewhere_to_go() {
    route("{ match: { path: /a }, forward: { to: [] } }", &[&["empty routes.r.forward.to"]]);
    route(
        "{ match: { path: /a }, forward: { to: [{ upstream: api, weight: 0 }] } }",
        &[&["no_weight routes.r.forward.to"]],
    );
    route(
        "{ match: { path: /a }, forward: { to: [{ upstream: api }, { upstream: api }] } }",
        &[&["duplicate routes.r.forward.to.1.upstream", "`api` is there twice | add up"]],
    );
}

#[test]
fn addresses_do_not_clash() {
    check_rows(
        "admin: { address: '127.0.0.1:9090' }\nlisteners:\n  a: { address: ':9090' }\n  b: { address: '1.2.3.4:80' }\n  c: { address: '0.0.0.0:80' }\n  d: { address: '1.2.3.5:80' }",
        &[
            &[
                "address_clash listeners.a.address 3:17",
                "`[::]:9090` is taken by the admin API at 127.0.0.1:9090",
            ],
            &["address_clash listeners.c.address", "taken by listener `b` at 1.2.3.4:80"],
            &["address_clash listeners.d.address", "taken by listener `c` at 0.0.0.0:80"],
        ],
    );
    check_rows(
        "listeners:\n  a: { address: '127.0.0.1:1' }\n  b: { address: '127.0.0.2:1' }\n  c: { address: '[::1]:1' }",
        &[],
    );
}

#[test]
fn listeners() {
    listener(
        "{ address: ':1', protocols: [], tls: { certificates: [] } }",
        &[&["empty listeners.web.protocols"], &["empty listeners.web.tls.certificates"]],
    );
    listener(
        "{ address: ':1', protocols: [h2, http/1.1, h2] }",
        &[&["duplicate listeners.web.protocols.2", "`h2` is there twice"]],
    );
    listener(
        "{ address: ':1', limits: { header_bytes: 1023 } }",
        &[&["out_of_range", "expected 1KiB to 1MiB, found 1023B"]],
    );
    listener("{ address: ':1', limits: { header_bytes: 1MB } }", &[]);
    listener(
        "{ address: ':1', timeouts: { header: 0s, idle: 25h, body: 1ms } }",
        &[
            &["out_of_range listeners.web.timeouts.header", "expected 1ms to 24h, found 0s"],
            &["out_of_range listeners.web.timeouts.idle"],
        ],
    );
    check_rows("listeners: { 'a b': { address: ':1' } }", &[&["bad_name listeners.\"a b\" 1:14"]]);
}

#[test]
fn upstreams() {
    upstream("{ endpoints: [] }", &[&["empty upstreams.u.endpoints"]]);
    upstream(
        "{ endpoints: ['http://A', { url: 'http://a:80/', weight: 2 }] }",
        &[&["duplicate upstreams.u.endpoints.1", "`http://a:80` is there twice | give it a `weight`"]],
    );
    upstream("{ endpoints: ['http://a', 'https://a'], tls: {} }", &[]);
    upstream("{ endpoints: ['http://a'], tls: {} }", &[&["no_effect upstreams.u.tls"]]);
    upstream("{ endpoints: [{ url: 'http://a', weight: 0 }] }", &[&["no_weight upstreams.u.endpoints"]]);
    upstream(
        "{ endpoints: ['https://a'], tls: { insecure_skip_verify: true, ca: x.pem, server_name: 'a:1' } }",
        &[&["no_effect upstreams.u.tls.ca"], &["bad_host upstreams.u.tls.server_name"]],
    );
    for name in ["a.b", "10.0.0.1", "::1"] {
        upstream(&format!("{{ endpoints: ['https://a'], tls: {{ server_name: '{name}' }} }}"), &[]);
    }
    upstream(
        "{ endpoints: ['http://a'], health: { host: x, interval: 1ms, timeout: 0s } }",
        &[
            &["out_of_range upstreams.u.health.interval"],
            &["out_of_range upstreams.u.health.timeout"],
            &["no_effect upstreams.u.health.host"],
        ],
    );
    upstream(
        "{ endpoints: ['http://a'], health: { host: 'a b', path: health } }",
        &[&["bad_path upstreams.u.health.path"], &["bad_host upstreams.u.health.host"]],
    );
    upstream("{ endpoints: ['http://a'], health: { host: 'a:1', path: '/health?deep=1' } }", &[]);
    upstream(
        "{ endpoints: ['http://a'], ejection: { duration: 0s }, timeouts: { connect: 0s, response: 0s, body: 0s, idle: 0s } }",
        &[
            &["out_of_range upstreams.u.ejection.duration"],
            &["out_of_range upstreams.u.timeouts.connect"],
            &["out_of_range upstreams.u.timeouts.response"],
            &["out_of_range upstreams.u.timeouts.body"],
            &["out_of_range upstreams.u.timeouts.idle"],
        ],
    );
}

#[test]
fn hosts() {
    for (host, why) in [
        ("", "empty"),
        ("*", "leave `hosts` out"),
        ("*.", "empty"),
        ("a.*.b", "only at its start"),
        ("*a.b", "only at its start"),
        ("a:80", "port"),
        ("[::1]:80", "port"),
        ("[::x]", "IPv6"),
        ("bücher.example", "xn--"),
        ("a..b", "single dots"),
        ("a.b.", "single dots"),
        ("a b", "letters"),
        ("http://a", "port"),
    ] {
        route(
            &format!("{{ match: {{ hosts: [ok, '{host}'] }}, respond: {{}} }}"),
            &[&["bad_host routes.r.match.hosts.1", why]],
        );
    }
    route("{ match: { hosts: [Example.com, '*.example.com', '10.0.0.1', '[::1]', a_b] }, respond: {} }", &[]);
    route("{ match: { hosts: [a.b, A.B] }, respond: {} }", &[&["duplicate routes.r.match.hosts.1"]]);
}

#[test]
fn paths() {
    for (path, why) in [
        ("v1", "did you mean `/v1`?"),
        ("/a?b", "query"),
        ("/a b", "percent-encoded"),
        ("/é", "percent-encoded"),
        ("/a/../b", "`..` segments"),
        ("/a/%2E", "`..` segments"),
        ("/%zz", "hexadecimal"),
        ("/a%0", "hexadecimal"),
        ("/%00", "not by 00"),
    ] {
        route(
            &format!("{{ match: {{ path: '{path}' }}, respond: {{}} }}"),
            &[&["bad_path routes.r.match.path ", why]],
        );
        route(
            &format!("{{ match: {{ path: {{ exact: '{path}' }} }}, respond: {{}} }}"),
            &[&["bad_path routes.r.match.path.exact ", why]],
        );
    }
    for path in ["/", "/a/", "/a//b", "/%C3%A9", "/a.b/..c", "/{x}"] {
        route(&format!("{{ match: {{ path: '{path}' }}, respond: {{}} }}"), &[]);
    }
    route(
        "{ match: { path: { regex: '^/(a' } }, respond: {} }",
        &[&["bad_regex routes.r.match.path.regex", "unclosed group"]],
    );
}

#[test]
fn methods_headers_and_query() {
    route(
        "{ match: { methods: [GET, get, GET, 'A B'] }, respond: {} }",
        &[
            &["duplicate routes.r.match.methods.2"],
            &["bad_method routes.r.match.methods.1", "did you mean `GET`?"],
            &["bad_method routes.r.match.methods.3"],
        ],
    );
    route(
        "{ match: { headers: { x-a: a, X-A: b, 'a b': c, host: h, n: \"a\\nb\", p: { prefix: \"\\n\" }, r: { regex: '[' } } }, respond: {} }",
        &[
            &["duplicate routes.r.match.headers.x-a"],
            &["bad_header routes.r.match.headers.\"a b\""],
            &["reserved_header routes.r.match.headers.host", "use `match.hosts`"],
            &["bad_header routes.r.match.headers.n"],
            &["bad_header routes.r.match.headers.p.prefix"],
            &["bad_regex routes.r.match.headers.r.regex"],
        ],
    );
    route(
        "{ match: { query: { '': a, q: { regex: '(' }, x: { present: false } } }, respond: {} }",
        &[&["empty routes.r.match.query.\"\""], &["bad_regex routes.r.match.query.q.regex"]],
    );
}

#[test]
fn header_changes() {
    route(
        "{ match: { path: /a }, forward: api, headers: { request: { set: { Host: a, x: \"a\\r\\nb\" }, add: { Upgrade: b }, remove: [Content-Length, host, X, x] }, response: { set: { host: ok, 'é': a }, remove: [connection] } } }",
        &[
            &["bad_header routes.r.headers.request.set.x"],
            &["reserved_header routes.r.headers.request.set.Host", "use `rewrite.host`"],
            &["reserved_header routes.r.headers.request.add.Upgrade"],
            &["duplicate routes.r.headers.request.remove.3"],
            &["reserved_header routes.r.headers.request.remove.0"],
            &["reserved_header routes.r.headers.request.remove.1", "use `rewrite.host`"],
            &["bad_header routes.r.headers.response.set.é"],
            &["reserved_header routes.r.headers.response.remove.0"],
        ],
    );
    route(
        "{ match: { path: /a }, forward: api, headers: { request: { set: { a: 'b' }, add: { a: c }, remove: [a] } } }",
        &[],
    );
    route(
        "{ match: { path: /a }, respond: { headers: { A: b, a: ' c', transfer-encoding: chunked } } }",
        &[
            &["duplicate routes.r.respond.headers.a"],
            &["bad_header routes.r.respond.headers.a", "blanks"],
            &["reserved_header routes.r.respond.headers.transfer-encoding"],
        ],
    );
}

#[test]
fn rewrites() {
    for (rewrite, row) in [
        ("{ path: v2 }", &["bad_path routes.r.rewrite.path", "does not start with `/`"][..]),
        ("{ path: '/a?b' }", &["bad_path routes.r.rewrite.path", "query"]),
        ("{ path: /$2 }", &["unknown_group routes.r.rewrite.path", "no group `2`"]),
        ("{ path: /$nam }", &["unknown_group routes.r.rewrite.path", "no group `nam`"]),
        ("{ host: 'a b' }", &["bad_host routes.r.rewrite.host"]),
        ("{ host: 'u@a' }", &["bad_host routes.r.rewrite.host"]),
    ] {
        route(
            &format!(
                "{{ match: {{ path: {{ regex: '^/(?<name>a)' }} }}, forward: api, rewrite: {rewrite} }}"
            ),
            &[row],
        );
    }
    route(
        "{ match: { path: { regex: '^/(?<name>a)' } }, forward: api, rewrite: { path: /$1/$name, host: 'a:80' } }",
        &[],
    );
    route("{ match: { path: /a }, forward: api, rewrite: { path: /$5, host: '[::1]:80' } }", &[]);
}

#[test]
fn responses_and_redirects() {
    for status in [204, 205, 304] {
        route(
            &format!("{{ match: {{ path: /a }}, respond: {{ status: {status}, body: x }} }}"),
            &[&["no_body routes.r.respond.body"]],
        );
    }
    for (to, why) in [
        ("//evil", "`//` begins"),
        ("/\\evil", "backslash"),
        ("javascript:alert(1)", "neither"),
        ("ftp://a/b", "scheme"),
        ("a/b", ""),
        ("", ""),
        ("/a b", "blanks"),
        ("https://", ""),
        ("https://u:p@h/", "user"),
        ("https://$1/", "host"),
    ] {
        route(
            &format!("{{ match: {{ path: /a }}, redirect: {{ to: '{to}' }} }}"),
            &[&["bad_target routes.r.redirect.to", why]],
        );
    }
    route("{ match: { path: /a }, redirect: { to: \"/a\\r\\nx: y\" } }", &[&["bad_target"]]);
    for to in ["/", "/new?a=b#c", "https://example.com", "https://example.com:8443/x/*", "/*"] {
        route(&format!("{{ match: {{ path: /a }}, redirect: {{ to: '{to}' }} }}"), &[]);
    }
    route(
        "{ match: { path: { exact: /a } }, redirect: { to: '/b/*' } }",
        &[&["no_prefix routes.r.redirect.to"]],
    );
    route(
        "{ match: { path: { regex: '^/(a)' } }, redirect: { to: '/b/$2' } }",
        &[&["unknown_group routes.r.redirect.to"]],
    );
    route(
        "{ match: { path: /a }, files: { root: x, index: [a/b, ..] } }",
        &[&["bad_index", "`a/b`"], &["bad_index"]],
    );
}

#[test]
fn what_nobody_reaches_is_a_warning() {
    check_rows(
        "certificates: { c: { cert: a, key: b } }\n\
         listeners: { x: { address: ':1' }, y: { address: ':2' } }\n\
         upstreams: { u: { endpoints: ['http://a'] } }\n\
         routes:\n  \
           a: { match: { path: /p }, respond: {} }\n  \
           b: { match: { path: /p }, listeners: [x], respond: {} }\n  \
           c: { match: { path: /p }, priority: 1, listeners: [y], respond: {} }\n  \
           d: { match: { path: /p }, listeners: [x, y], respond: {} }\n  \
           e: { match: { path: /q }, listeners: [x], respond: {} }\n  \
           f: { match: { path: /q }, listeners: [y], respond: {} }\n  \
           g: { match: { path: /q }, respond: {} }",
        &[
            &["~unused upstreams.u 3:14", "nothing forwards to it"],
            &["~unused certificates.c"],
            &["~unreachable routes.b 6:3", "`a` matches the same"],
            &["~unreachable routes.d", "`a` matches the same"],
        ],
    );
}

#[test]
fn a_token_can_be_sent() {
    check_rows("admin: { token: { literal: 'a b' } }", &[&["bad_token admin.token"]]);
    check_rows(
        "admin: { token: { literal: hunter2 } }\nreload: { debounce: 11s }",
        &[&["out_of_range reload.debounce"]],
    );
}

#[test]
fn what_stayed_is_not_checked_again_with_the_same_answer() {
    let first = "listeners: { a: { address: ':1' } }\nupstreams: { u: { endpoints: ['http://a'] } }\nroutes: { r: { forward: u } }";
    let document = parse(first);
    let checked = check(&document, None).unwrap();
    for (second, good) in [
        (first.to_owned(), true),
        (first.replace("u: {", "v: {"), false),
        (first.replace("forward: u", "respond: {}"), true),
        (first.replace("forward: u", "forward: u, timeout: 0s"), false),
        (first.replace("forward: u", "forwrd: u"), false),
        (first.replace("':1'", "'127.0.0.1:9090'"), false),
        (first.replace("a: { address: ':1' }", "'a b': { address: 5 }"), false),
    ] {
        let second = parse(&second);
        let (again, anew) = (check(&second, Some((&document, &checked))), check(&second, None));
        assert_eq!(anew.is_ok(), good, "{second:?}");
        assert_eq!(again.as_deref().ok(), anew.as_deref().ok());
        assert_eq!(said(again), said(anew));
    }
}

/// Problems of several kinds in one document: all that is wrong, and nothing that only follows from it.
#[test]
fn every_problem_at_once() {
    let all = |yaml: &str, expected: &[(&str, &str)]| {
        let report = said(check(&parse(yaml), None));
        let mut found: Vec<_> = report.iter().map(|d| (d.path.as_str(), d.code.as_ref())).collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{yaml}\n{report}");
    };
    // What cannot be read in one object hides nothing of another.
    all(
        "routes:\n  a: { respnd: {} }\n  b: { forward: nowhere }\n  c: { match: { path: v1 }, respond: {} }",
        &[
            ("routes.a.respnd", "unknown_key"),
            ("routes.b.forward", "unknown_name"),
            ("routes.c.match.path", "bad_path"),
        ],
    );
    all(
        "admin: { token: { literal: 'a b' } }\nlog: { level: loud }\nreload: { debounce: 11s }\nworkers: many\n\
         listeners: { 'x y': { adress: 1 }, a: { address: ':1' }, b: { address: ':1' } }\nrouts: {}",
        &[
            ("admin.token", "bad_token"),
            ("listeners.\"x y\"", "bad_name"),
            ("listeners.\"x y\".adress", "unknown_key"),
            ("listeners.b.address", "address_clash"),
            ("log.level", "value"),
            ("reload.debounce", "out_of_range"),
            ("routs", "unknown_key"),
            ("workers", "value"),
        ],
    );
    // Who is mentioned is there, though it cannot be read; who uses it perhaps cannot either.
    all(
        "certificates: { c: { crt: x, key: y }, d: { cert: x, key: y } }\n\
         listeners: { w: { address: ':1', tls: { certificates: [c, x] } }, v: { address: 5 } }\n\
         upstreams: { u: { endpoints: 5 }, s: { endpoints: ['https://a'], tls: { certificate: c } } }\n\
         routes:\n  a: { forward: u, listeners: [w, v, y] }\n  b: { match: { path: /b }, frward: s }",
        &[
            ("certificates.c.crt", "unknown_key"),
            ("listeners.w.tls.certificates.1", "unknown_name"),
            ("listeners.v.address", "type"),
            ("upstreams.u.endpoints", "type"),
            ("routes.a.listeners.2", "unknown_name"),
            ("routes.b.frward", "unknown_key"),
        ],
    );
    // The same of a section that is misspelt, or is no map.
    all(
        "upstream: { u: { endpoints: ['http://a'] } }\nlisteners: 5\n\
         routes:\n  a: { match: { path: /a }, forward: u, listeners: [w] }\n  b: { match: { path: /b }, forward: x }",
        &[("listeners", "type"), ("routes.b.forward", "unknown_name"), ("upstream", "unknown_key")],
    );
    // Where the admin API listens is not known.
    for (admin, path, code) in [
        ("admin: { adress: ':1' }", "admin.adress", "unknown_key"),
        ("admn: { address: ':1' }", "admn", "unknown_key"),
        ("admin: 5", "admin", "type"),
    ] {
        all(&format!("{admin}\nlisteners: {{ w: {{ address: ':9090' }} }}"), &[(path, code)]);
    }
    // What is certain is said beside errors, what they may cause is not.
    all(
        "upstreams: { u: { endpoints: ['http://a'] } }\n\
         routes: { a: { respond: {} }, b: { respond: {} }, c: { match: { path: /c }, forward: x } }",
        &[("routes.b", "unreachable"), ("routes.c.forward", "unknown_name")],
    );
    for document in ["5", "[]", "text"] {
        all(document, &[("", "type")]);
    }
}

#[test]
fn the_nearest_name_may_be_one_that_cannot_be_read() {
    check_rows(
        "upstreams: { api: { endpoints: 5 } }\nroutes: { r: { forward: apy } }",
        &[&["type upstreams.api.endpoints"], &["unknown_name routes.r.forward", "did you mean `api`?"]],
    );
}
