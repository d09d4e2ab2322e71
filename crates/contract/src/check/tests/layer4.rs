//! What is said of listeners and upstreams that carry no HTTP.

use super::{check_rows, upstream};

#[test]
fn what_is_carried_has_to_fit() {
    let document = |tcp: &str, route: &str| {
        format!(
            "listeners: {{ web: {{ address: ':1' }}, db: {{ address: ':2', tcp: {tcp} }} }}\n\
             upstreams: {{ api: {{ endpoints: ['http://a'] }}, pg: {{ endpoints: ['tcp://a:1'] }} }}\n\
             routes: {{ r: {route} }}"
        )
    };
    let check = |tcp: &str, route: &str, expected: &[&[&str]]| check_rows(&document(tcp, route), expected);
    check("pg", "{ forward: api }", &[]);
    check(
        "{ forward: { to: [{ upstream: pg, weight: 3 }] }, idle: 5s, connect: 1s }",
        "{ forward: api }",
        &[],
    );
    check("pq", "{ forward: api }", &[&["unknown_name listeners.db.tcp 1:", "did you mean `pg`"]]);
    check("api", "{ forward: api }", &[&["wrong_upstream listeners.db.tcp 1:", "`tcp://` or `tls://`"]]);
    check(
        "{ forward: { to: [{ upstream: pg }, { upstream: api }] } }",
        "{ forward: api }",
        &[&["wrong_upstream listeners.db.tcp.forward.to.1.upstream"]],
    );
    check("pg", "{ forward: pg }", &[&["wrong_upstream routes.r.forward", "have to be `http://`"]]);
    check(
        "pg",
        "{ forward: api, listeners: [web, db] }",
        &[&["wrong_listener routes.r.listeners.1", "`db` carries no HTTP"]],
    );
    check(
        "{ forward: pg, idel: 5s }",
        "{ forward: api }",
        &[&["unknown_key listeners.db.tcp.idel ", "`idle`"]],
    );
    check("{ forward: pg, idle: 0s }", "{ forward: api }", &[&["out_of_range listeners.db.tcp.idle"]]);
    check("{ forward: pg, connect: 25h }", "{ forward: api }", &[&["out_of_range listeners.db.tcp.connect"]]);
}

#[test]
fn datagrams_have_their_own_listeners_upstreams_and_ports() {
    let check = |listener: &str, upstream: &str, expected: &[&[&str]]| {
        check_rows(
            &format!(
                "listeners: {{ a: {{ address: ':53' }}, dns: {{ address: ':53', {listener} }} }}\n\
                 upstreams: {{ d: {{ {upstream} }} }}"
            ),
            expected,
        );
    };
    let udp = "endpoints: ['udp://a:53', 'udp://b:53']";
    check("udp: d", udp, &[]);
    check("udp: { forward: d, idle: 5s, sessions: 7 }", udp, &[]);
    check("udp: d", "endpoints: ['tcp://a:53']", &[&["wrong_upstream listeners.dns.udp", "be `udp://`"]]);
    check(
        "tcp: d",
        udp,
        &[
            &["address_clash listeners.dns.address"],
            &["wrong_upstream listeners.dns.tcp", "are `udp://`, here they have to be `tcp://`"],
        ],
    );
    check("udp: d, tcp: d", udp, &[&["no_effect listeners.dns.tcp", "forwards UDP"], &["wrong_upstream"]]);
    check("udp: d, limits: { connections: 5 }", udp, &[&["no_effect listeners.dns.limits"]]);
    check("udp: { forward: d, session: 7 }", udp, &[&["unknown_key listeners.dns.udp.session ", "sessions"]]);
    check("udp: { idle: 5s }", udp, &[&["listeners.dns.udp", "forward"]]);
    check("udp: { forward: d, sessions: 0 }", udp, &[&["value listeners.dns.udp.sessions"]]);
    check("udp: { forward: d, idle: 0s }", udp, &[&["out_of_range listeners.dns.udp.idle"]]);
    for key in ["health: {}", "pool: {}", "retries: {}", "timeouts: {}"] {
        check("udp: d", &format!("{udp}, {key}"), &[&["no_effect upstreams.d.", "datagrams are carried"]]);
    }
    check("udp: d", &format!("{udp}, balance: random, ejection: {{}}"), &[]);
    check_rows(
        "listeners: { a: { address: ':53', udp: d }, b: { address: '127.0.0.1:53', udp: d }, c: { address: 'unix:/x', udp: d }, \
         e: { address: '127.0.0.1:9090', udp: d } }\nupstreams: { d: { endpoints: ['udp://a:53'] } }",
        &[&["bad_address listeners.c.address"], &["address_clash listeners.b.address"]],
    );
}

#[test]
fn http3_has_the_same_ports_as_datagrams() {
    check_rows(
        "certificates: { c: { cert: a, key: b } }\n\
         listeners: { a: { address: ':443', tls: { certificates: [c] }, protocols: [h3, h2] }, b: { address: ':443', udp: d } }\n\
         upstreams: { d: { endpoints: ['udp://a:53'] } }",
        &[&["address_clash listeners.b.address", "taken by listener `a`"]],
    );
}

#[test]
fn passthrough_is_by_names() {
    let check = |tls: &str, names: &str, expected: &[&[&str]]| {
        check_rows(
            &format!(
                "certificates: {{ c: {{ cert: a, key: b }} }}\n\
                 listeners: {{ l: {{ address: ':1', passthrough: {{ {names} }}{tls} }}, o: {{ address: ':2', tls: {{ certificates: [c] }} }} }}\n\
                 upstreams: {{ u: {{ endpoints: ['tcp://a:1'] }}, s: {{ endpoints: ['tls://a:1'] }} }}\n\
                 routes: {{ r: {{ respond: {{}}, listeners: [o] }} }}",
            ),
            expected,
        );
    };
    let (tls, unused) = (", tls: { certificates: [c] }", &["~unused upstreams.s"][..]);
    check(tls, "a.b: u, '*.b': { forward: u, idle: 1s }", &[unused]);
    check("", "a.b: u", &[unused]);
    check("", "a.b: u, A.b: u", &[&["duplicate listeners.l.passthrough.\"a.b\""]]);
    for bad in ["'*'", "a.*", "'[::1]'", "127.0.0.1", "a:443", "''"] {
        check(tls, &format!("{bad}: u"), &[&["bad_host listeners.l.passthrough", "by TLS"]]);
    }
    check(
        tls,
        "a.b: { forward: u, conect: 1s }",
        &[&["unknown_key listeners.l.passthrough.\"a.b\".conect", "`connect`"]],
    );
    check(tls, "a.b: x", &[&["unknown_name listeners.l.passthrough.\"a.b\""]]);
    check(tls, "a.b: s", &[&["wrong_upstream listeners.l.passthrough.\"a.b\"", "passed on as it came"]]);
    check(", protocols: [h2]", "a.b: u", &[&["no_effect listeners.l.protocols", "forwards TCP"]]);
    check(", timeouts: { handshake: 1s }", "a.b: u", &[unused]);
}

#[test]
fn what_http_needs_has_no_effect_on_streams() {
    check_rows(
        "listeners: { db: { address: ':2', tcp: pg, protocols: [h2], limits: { connections: 5, headers: 7 }, \
         timeouts: { handshake: 1s, idle: 1s } } }\n\
         upstreams:\n  pg: { endpoints: ['tcp://a:1'], pool: { idle: 1 }, protocol: h2, timeouts: { connect: 1s, body: 1s }, \
         health: { path: /a, interval: 1s } }",
        &[
            &["no_effect listeners.db.protocols", "`protocols` has no effect: the listener forwards TCP"],
            &["no_effect listeners.db.limits.headers"],
            &["no_effect listeners.db.timeouts.handshake"],
            &["no_effect listeners.db.timeouts.idle"],
            &["no_effect upstreams.pg.pool", "streams are carried"],
            &["no_effect upstreams.pg.protocol"],
            &["no_effect upstreams.pg.timeouts.body"],
            &["no_effect upstreams.pg.health.path"],
        ],
    );
    upstream("{ endpoints: ['http://a', 'tcp://a:1'] }", &[&["mixed_endpoints upstreams.u.endpoints.1"]]);
}
