use super::*;
use crate::testing::{Authority, Made, Maker, Shaken, listener_tls, pem, shake};
use evergate_contract::config::UpstreamTls;
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, ProtocolVersion,
    client::{Resumption, Tls12Resumption},
    server::NoServerSessionStorage,
};

const BOTH: &[Protocol] = &[Protocol::Http2, Protocol::Http1];

fn server(
    made: &[&Made],
    least: TlsVersion,
    protocols: &[Protocol],
    sessions: &Sessions,
) -> Arc<ServerConfig> {
    let credentials: Vec<_> = made.iter().map(|made| made.credential()).collect();
    server_config(&Crypto::new(), &listener_tls(least), &credentials, protocols, sessions).unwrap()
}

/// A client that trusts that authority.
fn client(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(crate::credential::chain(pem("ca", &authority.pem())).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::clone(Crypto::new().provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[test]
fn clients_are_shown_the_certificate_they_ask_for() {
    let authority = Authority::new();
    let first = Maker::new(&["first.test", "127.0.0.1"]).by(&authority);
    let wild = Maker::new(&["*.example.com"]).by(&authority);
    let exact = Maker::new(&["www.example.com"]).by(&authority);
    let server = server(&[&first, &wild, &exact], TlsVersion::V1_2, BOTH, &Sessions::new().unwrap());
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
        let server = server(&[&made], TlsVersion::V1_2, protocols, &sessions);
        let shaken = shake(&client(&authority, &[&TLS13], offered), "a.test", &server);
        assert_eq!(
            shaken.as_ref().map(Shaken::alpn).map_err(Clone::clone),
            expected,
            "{protocols:?} {offered:?}"
        );
    }
}

#[test]
fn the_lowest_version_holds() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let sessions = Sessions::new().unwrap();
    let refused = Err(Error::AlertReceived(AlertDescription::ProtocolVersion));
    let rows: [(_, &[&'static SupportedProtocolVersion], _); 5] = [
        (TlsVersion::V1_2, &[&TLS12], Ok(Some(ProtocolVersion::TLSv1_2))),
        (TlsVersion::V1_2, &[&TLS13], Ok(Some(ProtocolVersion::TLSv1_3))),
        (TlsVersion::V1_2, &[&TLS12, &TLS13], Ok(Some(ProtocolVersion::TLSv1_3))),
        (TlsVersion::V1_3, &[&TLS12, &TLS13], Ok(Some(ProtocolVersion::TLSv1_3))),
        (TlsVersion::V1_3, &[&TLS12], refused),
    ];
    for (least, versions, expected) in rows {
        let server = server(&[&made], least, BOTH, &sessions);
        let shaken = shake(&client(&authority, versions, &[]), "a.test", &server);
        assert_eq!(shaken.map(|shaken| shaken.client.protocol_version()), expected, "{least:?} {versions:?}");
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
        assert_eq!(kind(&server(&[&old], TlsVersion::V1_2, BOTH, &sessions)), (full, full));
        assert_eq!(kind(&server(&[&new], TlsVersion::V1_2, BOTH, &sessions)), (resumed, resumed));
        // With other ticket keys the client's sessions are worth nothing.
        assert_eq!(kind(&server(&[&new], TlsVersion::V1_2, BOTH, &Sessions::new().unwrap())), (full, full));
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
    let tickets_only = Sessions { cache: Arc::new(NoServerSessionStorage {}), ..Sessions::new().unwrap() };
    let by_ticket = server(&[&made], TlsVersion::V1_2, BOTH, &tickets_only);
    let by_both = server(&[&made], TlsVersion::V1_2, BOTH, &Sessions::new().unwrap());
    for versions in [&[&TLS12], &[&TLS13]] {
        assert!(resumes(&client(&authority, versions, &[]), &by_ticket));
    }
    let ids_only = || {
        let mut config = (*client(&authority, &[&TLS12], &[])).clone();
        config.resumption =
            Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
        Arc::new(config)
    };
    assert!(resumes(&ids_only(), &by_both));
    assert!(!resumes(&ids_only(), &by_ticket));
}

#[test]
fn a_client_gets_two_tickets() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let server = server(&[&made], TlsVersion::V1_3, BOTH, &Sessions::new().unwrap());
    let shaken = shake(&client(&authority, &[&TLS13], &[]), "a.test", &server).unwrap();
    assert_eq!(shaken.client.tls13_tickets_received(), 2);
}

#[test]
fn of_upstream_settings_the_default_meets_a_listener() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let server = server(&[&made], TlsVersion::V1_2, BOTH, &Sessions::new().unwrap());
    let (crypto, tls) = (Crypto::new(), UpstreamTls::default());
    let client = crate::client_config(&crypto, &tls, Some(pem("ca", &authority.pem())), None, BOTH).unwrap();
    let shaken = shake(&client, "a.test", &server).unwrap();
    assert_eq!(
        (shaken.alpn(), shaken.client.protocol_version()),
        (Some("h2"), Some(ProtocolVersion::TLSv1_3))
    );
}
