use super::*;
use crate::testing::{self, Authority, Made, Maker, Shaken, client, pem, shake};
use evergate_contract::config::{Protocol, UpstreamTls};
use evergate_kit::keep::Carry;
use rustls::{
    AlertDescription, CipherSuite, ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion,
    SupportedProtocolVersion,
    client::{Resumption, Tls12Resumption},
    version::{TLS12, TLS13},
};
use serde_json::json;

const BOTH: &[Protocol] = &[Protocol::Http2, Protocol::Http1];

fn server(made: &[&Made], protocols: &[Protocol], sessions: &Sessions) -> Arc<ServerConfig> {
    testing::server(json!({}), made, protocols, sessions, None)
}

#[test]
fn clients_are_shown_the_certificate_they_ask_for() {
    let authority = Authority::new();
    let first = Maker::new(&["first.test", "127.0.0.1"]).by(&authority);
    let wild = Maker::new(&["*.example.com"]).by(&authority);
    let exact = Maker::new(&["www.example.com"]).by(&authority);
    let server = server(&[&first, &wild, &exact], BOTH, &Sessions::new().unwrap());
    for versions in [&[&TLS12], &[&TLS13]] {
        let client = client(&authority, versions, &[]);
        for (name, expected) in [
            ("first.test", &first),
            ("api.example.com", &wild),
            ("WWW.example.com", &exact),
            // An address is not asked for by SNI (RFC 6066 §3), so this is the default.
            ("127.0.0.1", &first),
        ] {
            assert_eq!(shake(&client, name, &server).unwrap().shown(), expected.der, "{name}");
        }
        assert!(shake(&client, "other.test", &server).is_err());
    }
}

#[test]
fn the_listener_chooses_the_protocol() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let sessions = Sessions::new().unwrap();
    let refused = Err(Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    let h1_first = &[Protocol::Http1, Protocol::Http2];
    type Row<'a> = (&'a [Protocol], &'a [&'a str], Result<Option<&'a str>, Error>);
    let rows: [Row<'_>; 7] = [
        (BOTH, &["http/1.1", "h2"], Ok(Some("h2"))),
        (h1_first, &["h2", "http/1.1"], Ok(Some("http/1.1"))),
        (BOTH, &["http/1.1"], Ok(Some("http/1.1"))),
        (&[Protocol::Http1], &["h2", "http/1.1"], Ok(Some("http/1.1"))),
        (BOTH, &[], Ok(None)),
        (&[Protocol::Http1], &["h2"], refused.clone()),
        (BOTH, &["spdy/3"], refused),
    ];
    for (protocols, offered, expected) in rows {
        let server = server(&[&made], protocols, &sessions);
        let shaken = shake(&client(&authority, &[&TLS13], offered), "a.test", &server);
        assert_eq!(
            shaken.as_ref().map(Shaken::alpn).map_err(Clone::clone),
            expected,
            "{protocols:?} {offered:?}"
        );
    }
}

#[test]
fn versions_are_between_the_lowest_and_the_highest() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let refused = Err(Error::AlertReceived(AlertDescription::ProtocolVersion));
    let (v1_2, v1_3) = (Ok(Some(ProtocolVersion::TLSv1_2)), Ok(Some(ProtocolVersion::TLSv1_3)));
    let rows: [(_, &[&'static SupportedProtocolVersion], _); 8] = [
        (json!({}), &[&TLS12], v1_2.clone()),
        (json!({}), &[&TLS13], v1_3.clone()),
        (json!({}), &[&TLS12, &TLS13], v1_3.clone()),
        (json!({ "min_version": "1.3" }), &[&TLS12, &TLS13], v1_3),
        (json!({ "min_version": "1.3" }), &[&TLS12], refused.clone()),
        (json!({ "max_version": "1.2" }), &[&TLS12, &TLS13], v1_2.clone()),
        (json!({ "max_version": "1.2" }), &[&TLS12], v1_2),
        (json!({ "max_version": "1.2" }), &[&TLS13], refused),
    ];
    for (tls, versions, expected) in rows {
        let server = testing::server(tls.clone(), &[&made], BOTH, &Sessions::new().unwrap(), None);
        let shaken = shake(&client(&authority, versions, &[]), "a.test", &server);
        assert_eq!(shaken.map(|shaken| shaken.client.protocol_version()), expected, "{tls} {versions:?}");
    }
}

/// What a handshake with these settings agrees on: the suite, and the group in which keys were exchanged.
fn agreed(
    tls: serde_json::Value,
    client: &Arc<ClientConfig>,
    made: &Made,
) -> Result<(CipherSuite, NamedGroup), Error> {
    let server = testing::server(tls, &[made], BOTH, &Sessions::new().unwrap(), None);
    let shaken = shake(client, "a.test", &server)?;
    let group = shaken.server.negotiated_key_exchange_group().unwrap().name();
    Ok((shaken.server.negotiated_cipher_suite().unwrap().suite(), group))
}

#[test]
fn suites_are_those_of_the_list_in_its_order() {
    use CipherSuite as Suite;
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let suite = |list: &[&str], versions: &[&'static SupportedProtocolVersion]| {
        agreed(json!({ "cipher_suites": list }), &client(&authority, versions, &[]), &made)
            .map(|agreed| agreed.0)
    };
    let (aes, chacha) = ("TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256");
    let (old_aes, old_chacha) =
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    assert_eq!(suite(&[], &[&TLS13]), Ok(Suite::TLS13_AES_256_GCM_SHA384), "the best of both");
    assert_eq!(suite(&[chacha, aes], &[&TLS13]), Ok(Suite::TLS13_CHACHA20_POLY1305_SHA256));
    assert_eq!(suite(&[aes, chacha], &[&TLS13]), Ok(Suite::TLS13_AES_128_GCM_SHA256));
    assert_eq!(suite(&[old_chacha], &[&TLS12]), Ok(Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256));
    assert_eq!(suite(&[old_aes, old_chacha], &[&TLS12]), Ok(Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256));
    // A version that is not mentioned keeps its own.
    assert_eq!(suite(&[old_chacha], &[&TLS13]), Ok(Suite::TLS13_AES_256_GCM_SHA384));
    assert_eq!(suite(&[aes], &[&TLS12]), Ok(Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384));
    // A suite for the other kind of key is of no use.
    let refused = Err(Error::AlertReceived(AlertDescription::HandshakeFailure));
    assert_eq!(suite(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], &[&TLS12]), refused);
}

#[test]
fn every_suite_of_the_document_can_be_had() {
    let authority = Authority::new();
    let (ecdsa, rsa) = (Maker::new(&["a.test"]).by(&authority), Maker::new(&["a.test"]).rsa().by(&authority));
    let schema = serde_json::to_value(schemars::schema_for!(config::CipherSuite)).unwrap();
    let names: Vec<&str> =
        schema["enum"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names.len(), Crypto::new().provider().cipher_suites.len());
    for name in names {
        let made = if name.contains("_RSA_") { &rsa } else { &ecdsa };
        let versions = if name.contains("_WITH_") { &TLS12 } else { &TLS13 };
        let got =
            agreed(json!({ "cipher_suites": [name] }), &client(&authority, &[versions], &[]), made).unwrap();
        assert_eq!(format!("{:?}", got.0).replace("TLS13_", "TLS_"), name);
    }
}

#[test]
fn keys_are_exchanged_in_the_groups_of_the_list() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let rows = [
        ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
        ("X25519", NamedGroup::X25519),
        ("P-256", NamedGroup::secp256r1),
        ("P-384", NamedGroup::secp384r1),
    ];
    for (name, group) in rows {
        let tls = json!({ "curves": [name] });
        let agreed = agreed(tls, &client(&authority, &[&TLS13], &[]), &made).map(|agreed| agreed.1);
        assert_eq!(agreed, Ok(group));
        // By default the client's first choice, whatever that is.
        let mut provider = (**Crypto::new().provider()).clone();
        provider.kx_groups.retain(|known| known.name() == group);
        let builder =
            ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13]);
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(crate::credential::chain(pem("ca", &authority.pem())).unwrap());
        let only = Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth());
        assert_eq!(super::tests::agreed(json!({}), &only, &made).map(|agreed| agreed.1), Ok(group));
    }
}

#[test]
fn a_client_gets_the_kind_of_key_that_it_verifies() {
    let authority = Authority::new();
    let (ecdsa, rsa) = (Maker::new(&["a.test"]).by(&authority), Maker::new(&["a.test"]).rsa().by(&authority));
    let only = |kind: &str| {
        let mut config = (*client(&authority, &[&TLS12], &[])).clone();
        let mut provider = (**Crypto::new().provider()).clone();
        provider.cipher_suites.retain(|suite| format!("{suite:?}").contains(kind));
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(crate::credential::chain(pem("ca", &authority.pem())).unwrap());
        let made = builder.with_protocol_versions(&[&TLS12]).unwrap().with_root_certificates(roots);
        config.clone_from(&made.with_no_client_auth());
        Arc::new(config)
    };
    for order in [[&ecdsa, &rsa], [&rsa, &ecdsa]] {
        let server = server(&order, BOTH, &Sessions::new().unwrap());
        let any = client(&authority, &[&TLS13], &[]);
        assert_eq!(shake(&any, "a.test", &server).unwrap().shown(), order[0].der, "the first that fits");
        // TLS 1.2 says it by the suite.
        assert_eq!(shake(&only("ECDSA"), "a.test", &server).unwrap().shown(), ecdsa.der);
        assert_eq!(shake(&only("_RSA_"), "a.test", &server).unwrap().shown(), rsa.der);
    }
}

#[test]
fn sessions_outlive_a_new_certificate() {
    let authority = Authority::new();
    let (old, new) = (Maker::new(&["a.test"]).by(&authority), Maker::new(&["a.test"]).by(&authority));
    let sessions = Sessions::new().unwrap();
    for versions in [&[&TLS12], &[&TLS13]] {
        let client = client(&authority, versions, &[]);
        let kind = |server: &Arc<ServerConfig>| {
            let shaken = shake(&client, "a.test", server).unwrap();
            (shaken.client.handshake_kind(), shaken.server.handshake_kind())
        };
        let (full, resumed) = (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed));
        assert_eq!(kind(&server(&[&old], BOTH, &sessions)), (full, full));
        assert_eq!(kind(&server(&[&new], BOTH, &sessions)), (resumed, resumed));
        // With other ticket keys the client's sessions are worth nothing.
        assert_eq!(kind(&server(&[&new], BOTH, &Sessions::new().unwrap())), (full, full));
    }
}

/// Whether a second handshake is resumed.
fn resumes(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> bool {
    let kinds = [(); 2].map(|()| shake(client, "a.test", server).unwrap().server.handshake_kind());
    assert_eq!(kinds[0], Some(HandshakeKind::Full));
    kinds[1] == Some(HandshakeKind::Resumed)
}

#[test]
fn sessions_live_in_tickets_and_in_the_cache() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let mut by_ticket = (*server(&[&made], BOTH, &Sessions::new().unwrap())).clone();
    by_ticket.session_storage = Arc::new(NoServerSessionStorage {});
    let by_ticket = Arc::new(by_ticket);
    let by_both = server(&[&made], BOTH, &Sessions::new().unwrap());
    for versions in [&[&TLS12], &[&TLS13]] {
        assert!(resumes(&client(&authority, versions, &[]), &by_ticket));
    }
    assert!(resumes(&ids_only(&authority), &by_both));
    assert!(!resumes(&ids_only(&authority), &by_ticket));
}

/// A client that takes no tickets.
fn ids_only(authority: &Authority) -> Arc<ClientConfig> {
    let mut config = (*client(authority, &[&TLS12], &[])).clone();
    config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
    Arc::new(config)
}

#[test]
fn without_tickets_every_handshake_is_a_full_one() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let sessions = Sessions::new().unwrap();
    let off = testing::server(json!({ "tickets": { "enabled": false } }), &[&made], BOTH, &sessions, None);
    for versions in [&[&TLS12], &[&TLS13]] {
        let client = client(&authority, versions, &[]);
        assert!(!resumes(&client, &off));
        assert!(resumes(&client, &server(&[&made], BOTH, &sessions)));
        // What was given before is worth nothing while it is off, and something again after.
        let full = shake(&client, "a.test", &off).unwrap();
        assert_eq!(full.server.handshake_kind(), Some(HandshakeKind::Full));
        let again = shake(&client, "a.test", &server(&[&made], BOTH, &sessions)).unwrap();
        assert_eq!(again.server.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn sessions_are_handed_on_to_another_process() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    for client in
        [client(&authority, &[&TLS12], &[]), client(&authority, &[&TLS13], &[]), ids_only(&authority)]
    {
        let (old, new) = (Sessions::new().unwrap(), Sessions::new().unwrap());
        shake(&client, "a.test", &server(&[&made], BOTH, &old)).unwrap();
        new.restore(&old.save()).unwrap();
        let shaken = shake(&client, "a.test", &server(&[&made], BOTH, &new)).unwrap();
        assert_eq!(shaken.server.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn a_client_gets_two_tickets() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let server = server(&[&made], BOTH, &Sessions::new().unwrap());
    let shaken = shake(&client(&authority, &[&TLS13], &[]), "a.test", &server).unwrap();
    assert_eq!(shaken.client.tls13_tickets_received(), 2);
}

#[test]
fn of_upstream_settings_the_default_meets_a_listener() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let server = server(&[&made], BOTH, &Sessions::new().unwrap());
    let (crypto, tls) = (Crypto::new(), UpstreamTls::default());
    let client = crate::client_config(&crypto, &tls, Some(pem("ca", &authority.pem())), None, BOTH).unwrap();
    let shaken = shake(&client, "a.test", &server).unwrap();
    assert_eq!(
        (shaken.alpn(), shaken.client.protocol_version()),
        (Some("h2"), Some(ProtocolVersion::TLSv1_3))
    );
}

/// A listener whose default certificate is for `first.test` and `*.wild.test`, with other handshakes for some names.
fn by_names(strict: bool, made: &Made, names: &[(&str, Option<Arc<ClientRule>>)]) -> Arc<ServerTls> {
    let (tls, sessions) = (testing::listener_tls(&json!({})), Arc::new(Sessions::new().unwrap()));
    let table = Arc::new(CertTable::new(vec![made.credential()]));
    let handshake = |rule| {
        let terms = Terms::of(&tls, Arc::clone(&table), rule);
        Handshake::new(&Crypto::new(), &terms, Vec::new(), &sessions).unwrap()
    };
    let names = names.iter().map(|(name, rule)| ((*name).into(), handshake(rule.clone()))).collect();
    Arc::new(ServerTls::new(handshake(None), names, strict, Arc::clone(&sessions)))
}

#[test]
fn a_name_has_its_own_handshake_and_strange_ones_are_refused_if_strict() {
    let made = Maker::new(&["first.test", "*.wild.test"]).own();
    let names = [("exact.test", None), ("*.Some.test", None), ("a.some.test", None), ("b.wild.test", None)];
    let (open, strict) = (by_names(false, &made, &names), by_names(true, &made, &names));
    let own = |tls: &ServerTls, name| tls.choose(name).map(|found| !Arc::ptr_eq(found, &tls.default));
    let rows = [
        (Some("exact.test"), Some(true), Some(true)),
        (Some("EXACT.test"), Some(true), Some(true)),
        (Some("x.some.test"), Some(true), Some(true)),
        (Some("a.some.test"), Some(true), Some(true)),
        (Some("x.y.some.test"), Some(false), None),
        (Some("some.test"), Some(false), None),
        (Some("first.test"), Some(false), Some(false)),
        (Some("b.wild.test"), Some(true), Some(true)),
        (Some("c.wild.test"), Some(false), Some(false)),
        (Some("other.test"), Some(false), None),
        (None, Some(false), None),
    ];
    for (name, not_strict, if_strict) in rows {
        assert_eq!((own(&open, name), own(&strict, name)), (not_strict, if_strict), "{name:?}");
    }
    let [exact, wild] = [Some("a.some.test"), Some("x.some.test")].map(|name| open.choose(name).unwrap());
    assert!(!Arc::ptr_eq(exact, wild), "exact beats wildcard");
}

#[test]
fn one_configuration_for_all_names_leaves_out_those_that_ask_clients_for_something_else() {
    let authority = Authority::new();
    let made = Maker::new(&["open.test", "admin.test", "plain.test"]).by(&authority);
    let spec = serde_json::from_value(json!({ "ca": "ca.pem" })).unwrap();
    let ca = authority.pem();
    let keep = evergate_kit::Keep::new();
    let rule = ClientRule::load(&keep, &Crypto::new(), &spec, Some(pem("ca.pem", &ca)), &[]).unwrap();
    for strict in [false, true] {
        let tls = by_names(strict, &made, &[("admin.test", rule.clone()), ("plain.test", None)]);
        let config = Arc::new(tls.for_all_names());
        let client = client(&authority, &[&TLS13], &[]);
        for name in ["open.test", "plain.test"] {
            assert_eq!(shake(&client, name, &config).unwrap().shown(), made.der, "{name}");
        }
        assert!(shake(&client, "admin.test", &config).is_err());
        assert!(tls.rule_of("ADMIN.test").is_some() && tls.rule_of("open.test").is_none());
    }
}
