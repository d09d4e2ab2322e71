//! TLS of a listener.

use super::check_rows;

/// A document around the `tls` of one listener.
fn tls(text: &str, expected: &[&[&str]]) {
    check_rows(
        &format!(
            "certificates: {{ c: {{ cert: c.pem, key: c.key }}, d: {{ cert: d.pem, key: d.key }} }}\n\
             listeners:\n  used: {{ address: ':2', tls: {{ certificates: [c, d] }} }}\n  \
             web:\n    address: ':1'\n    tls: {text}"
        ),
        expected,
    );
}

#[test]
fn versions_are_in_order() {
    tls("{ certificates: [c], min_version: '1.3', max_version: '1.3' }", &[]);
    tls(
        "{ certificates: [c], min_version: '1.3', max_version: '1.2' }",
        &[&["out_of_range listeners.web.tls.max_version 6:64 `min_version` is above `max_version`"]],
    );
    tls(
        "{ certificates: [c], max_version: '1.2', names: { a.test: { min_version: '1.3' } } }",
        &[&["out_of_range listeners.web.tls.names.\"a.test\".min_version"]],
    );
    tls("{ certificates: [c], max_version: '1.4' }", &[&["listeners.web.tls.max_version", "1.4"]]);
}

#[test]
fn suites_go_with_a_version_that_is_taken() {
    tls(
        "{ certificates: [c], cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256] }",
        &[],
    );
    tls(
        "{ certificates: [c], min_version: '1.3', cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256] }",
        &[&["no_effect listeners.web.tls.cipher_suites.0", "is for TLS 1.2, which is not taken"]],
    );
    tls(
        "{ certificates: [c], names: { a.test: { max_version: '1.2', cipher_suites: [TLS_AES_128_GCM_SHA256] } } }",
        &[&["no_effect listeners.web.tls.names.\"a.test\".cipher_suites.0", "is for TLS 1.3"]],
    );
    tls(
        "{ certificates: [c], cipher_suites: [TLS_AES_128_GCM_SHA265] }",
        &[&["cipher_suites.0", "did you mean `TLS_AES_128_GCM_SHA256`?"]],
    );
    tls(
        "{ certificates: [c], cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256] }",
        &[&["duplicate listeners.web.tls.cipher_suites.1 6:71 `TLS_AES_128_GCM_SHA256` is there twice"]],
    );
}

#[test]
fn curves_go_with_the_versions() {
    tls("{ certificates: [c], curves: [] }", &[&["empty listeners.web.tls.curves"]]);
    tls("{ certificates: [c], curves: [P-256, P-256] }", &[&["duplicate", "`P-256` is there twice"]]);
    tls("{ certificates: [c], curves: [X25519MLKEM768], min_version: '1.3' }", &[]);
    tls(
        "{ certificates: [c], curves: [X25519MLKEM768] }",
        &[&["no_effect listeners.web.tls.curves", "TLS 1.3 only", "add a curve"]],
    );
}

#[test]
fn names_are_what_clients_ask_for() {
    tls(
        "{ certificates: [c], names: { a.test: { certificates: [d] }, '*.a.test': { min_version: '1.3' } } }",
        &[],
    );
    for (name, why) in [
        ("192.0.2.1", "clients do not ask for addresses"),
        ("a.*.test", "`*` stands for the first label only"),
        ("'*'", "`*` stands for the first label only"),
        ("'a b'", "write a DNS name"),
        ("-a.test", "write a DNS name"),
        ("a..test", "write a DNS name"),
    ] {
        let text = format!("{{ certificates: [c], names: {{ {name}: {{ min_version: '1.3' }} }} }}");
        tls(&text, &[&["bad_host listeners.web.tls.names.", why]]);
    }
    tls("{ certificates: [c], names: { a.test: {} } }", &[&["empty listeners.web.tls.names.\"a.test\""]]);
    let twice =
        "{ certificates: [c], names: { A.test: { min_version: '1.3' }, a.test: { min_version: '1.3' } } }";
    tls(twice, &[&["duplicate listeners.web.tls.names.\"a.test\""]]);
    tls(
        "{ certificates: [c], names: { a.test: { certificates: [] } } }",
        &[&["empty", "names.\"a.test\".certificates"]],
    );
    tls(
        "{ certificates: [c], names: { a.test: { certificates: [c, x] } } }",
        &[&[
            "unknown_name listeners.web.tls.names.\"a.test\".certificates.1 6:68 there is no certificate `x`",
        ]],
    );
    tls(
        "{ certificates: [c], names: { a.test: { cipher_suites: [] } } }",
        &[&["empty listeners.web.tls.names.\"a.test\".cipher_suites"]],
    );
}

#[test]
fn a_certificate_is_named_once() {
    tls(
        "{ certificates: [c, d, c] }",
        &[&["duplicate listeners.web.tls.certificates.2", "`c` is there twice"]],
    );
    tls("{ certificates: [] }", &[&["empty listeners.web.tls.certificates"]]);
}

#[test]
fn a_certificate_that_only_a_name_mentions_is_used() {
    check_rows(
        "certificates: { c: { cert: c.pem, key: c.key }, d: { cert: d.pem, key: d.key } }\n\
         listeners: { web: { address: ':1', tls: { certificates: [c], names: { a.test: { certificates: [d] } } } } }",
        &[],
    );
}

#[test]
fn clients_are_asked_for_what_can_be_verified() {
    tls(
        "{ certificates: [c], client: { ca: ca.pem, crl: [a.pem], names: { cn: [a], san: [b] }, depth: 1 } }",
        &[],
    );
    tls(
        "{ certificates: [c], client: { mode: optional } }",
        &[&["missing_key listeners.web.tls.client", "`ca`"]],
    );
    tls(
        "{ certificates: [c], names: { a.test: { client: {} } } }",
        &[&["missing_key listeners.web.tls.names.\"a.test\""]],
    );
    tls(
        "{ certificates: [c], client: { mode: none, ca: a, crl: [b], names: { cn: [c] } } }",
        &[&["no_effect", "client.ca"], &["no_effect", "client.crl"], &["no_effect", "client.names"]],
    );
    tls(
        "{ certificates: [c], client: { ca: a, names: {} } }",
        &[&["empty", "client.names", "no client would"]],
    );
    tls(
        "{ certificates: [c], client: { ca: a, names: { cn: [x, x] } } }",
        &[&["duplicate", "client.names.cn.1"]],
    );
    tls("{ certificates: [c], client: { ca: a, depth: 7 } }", &[&["client.depth", "7"]]);
}

#[test]
fn keys_of_tickets_change_now_and_then() {
    tls("{ certificates: [c], tickets: { enabled: false } }", &[]);
    tls(
        "{ certificates: [c], tickets: { rotate: 500ms } }",
        &[&["out_of_range listeners.web.tls.tickets.rotate"]],
    );
    tls("{ certificates: [c], tickets: { rotate: 8d } }", &[&["out_of_range", "expected 1s to 168h"]]);
}
