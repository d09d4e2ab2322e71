use super::*;
use crate::testing::{self, Authority, Made, Maker, pem, shake};
use rustls::{CertificateError, HandshakeKind, ServerConfig, server::WebPkiClientVerifier};
use serde_json::json;

const HTTP1: &[Protocol] = &[Protocol::Http1];

fn server(made: &Made) -> Arc<ServerConfig> {
    testing::server(json!({}), &[made], &[], &crate::Sessions::new().unwrap(), None)
}

/// A client that trusts what is in that file.
fn trusting(ca: &str, tls: &UpstreamTls) -> Arc<ClientConfig> {
    client_config(&Crypto::new(), tls, Some(pem("ca.pem", ca)), None, HTTP1).unwrap()
}

fn refused(shaken: Result<crate::testing::Shaken, Error>) -> CertificateError {
    match shaken {
        Err(Error::InvalidCertificate(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn trust_is_by_authority_name_and_time() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server_of = |maker: Maker| server(&maker.by(&ours));
    let good = server_of(Maker::new(&["a.test", "127.0.0.1"]));
    let tls = UpstreamTls::default();
    let client = trusting(&ours.pem(), &tls);
    assert!(shake(&client, "a.test", &good).is_ok());
    assert!(shake(&client, "127.0.0.1", &good).is_ok());
    // The other authority has the same name, so it is the signature that tells.
    assert_eq!(
        refused(shake(&trusting(&theirs.pem(), &tls), "a.test", &good)),
        CertificateError::BadSignature
    );
    assert!(shake(&trusting(&(theirs.pem() + &ours.pem()), &tls), "a.test", &good).is_ok());
    let name = refused(shake(&client, "b.test", &good));
    assert!(matches!(name, CertificateError::NotValidForNameContext { .. }), "{name:?}");
    let old = server_of(Maker::new(&["a.test"]).days((2020, 1, 1), (2021, 1, 1)));
    assert!(matches!(refused(shake(&client, "a.test", &old)), CertificateError::ExpiredContext { .. }));
    let early = server_of(Maker::new(&["a.test"]).days((2120, 1, 1), (2121, 1, 1)));
    assert!(matches!(refused(shake(&client, "a.test", &early)), CertificateError::NotValidYetContext { .. }));
}

#[test]
fn the_system_trusts_no_stranger() {
    let server = server(&Maker::new(&["a.test"]).by(&Authority::new()));
    match client_config(&Crypto::new(), &UpstreamTls::default(), None, None, HTTP1) {
        Ok(client) => assert_eq!(refused(shake(&client, "a.test", &server)), CertificateError::UnknownIssuer),
        // A machine without authorities must say so, not trust all.
        Err(error) => assert!(matches!(error, ClientError::NoSystemAuthorities(_)), "{error}"),
    }
}

#[test]
fn insecure_takes_anything() {
    let tls = UpstreamTls { insecure_skip_verify: true, ..UpstreamTls::default() };
    let client = client_config(&Crypto::new(), &tls, None, None, HTTP1).unwrap();
    let stranger = server(&Maker::new(&["a.test"]).days((2020, 1, 1), (2021, 1, 1)).own());
    assert!(shake(&client, "b.test", &stranger).is_ok());
}

#[test]
fn the_own_certificate_is_shown() {
    let authority = Authority::new();
    let made = Maker::new(&["a.test"]).by(&authority);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(credential::chain(pem("ca", &authority.pem())).unwrap());
    let provider = Arc::clone(Crypto::new().provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(Arc::new(crate::CertTable::new(vec![made.credential()])));
    let server = Arc::new(server);

    let own = Maker::new(&["gateway.test"]).by(&authority);
    let tls = UpstreamTls { certificate: Some("own".into()), ..UpstreamTls::default() };
    let ca = authority.pem();
    let client = |own: Option<&Credential>, tls: &UpstreamTls| {
        client_config(&Crypto::new(), tls, Some(pem("ca", &ca)), own, HTTP1)
    };
    let shaken = shake(&client(Some(&own.credential()), &tls).unwrap(), "a.test", &server).unwrap();
    assert_eq!(shaken.server.peer_certificates().unwrap()[0].as_ref(), own.der);
    assert!(shake(&client(None, &UpstreamTls::default()).unwrap(), "a.test", &server).is_err());
    assert!(matches!(client(None, &tls), Err(ClientError::Missing("certificate"))));
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    let server = server(&Maker::new(&["a.test"]).by(&authority));
    let client = trusting(&authority.pem(), &UpstreamTls::default());
    let kinds = [(); 2].map(|()| shake(&client, "a.test", &server).unwrap().client.handshake_kind());
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
}

#[test]
fn bad_authorities_are_refused() {
    let ca = Authority::new().pem();
    let short = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let rows = [
        (String::new(), "ca.pem: the file is empty"),
        ("words".to_owned(), "ca.pem: expected a PEM certificate, found none"),
        (ca + short, "ca.pem: certificate 2 is malformed"),
    ];
    for insecure_skip_verify in [false, true] {
        let tls = UpstreamTls { insecure_skip_verify, ..UpstreamTls::default() };
        for (text, expected) in &rows {
            let error =
                client_config(&Crypto::new(), &tls, Some(pem("ca.pem", text)), None, HTTP1).unwrap_err();
            assert_eq!(&error.to_string(), expected);
        }
    }
    let tls = UpstreamTls { ca: Some(std::path::PathBuf::from("ca.pem").into()), ..UpstreamTls::default() };
    let error = client_config(&Crypto::new(), &tls, None, None, HTTP1).unwrap_err();
    assert!(matches!(error, ClientError::Missing("ca")), "{error}");
}

#[test]
fn names_of_endpoints() {
    let rows = [
        ("https://Example.com:8443", None, Some("Example.com")),
        ("https://192.0.2.1", None, Some("192.0.2.1")),
        ("https://[2001:db8::1]:443", None, Some("2001:db8::1")),
        ("https://192.0.2.1", Some("api.test"), Some("api.test")),
        ("https://a.test", Some("[::1]"), Some("::1")),
        ("https://a.test", Some("not a name"), None),
        ("https://a.test", Some(""), None),
        ("/path", None, None),
    ];
    for (url, name, expected) in rows {
        let tls = UpstreamTls { server_name: name.map(str::to_owned), ..UpstreamTls::default() };
        let found = server_name(&url.parse().unwrap(), &tls);
        assert_eq!(
            found.as_ref().ok().map(|name| name.to_str()).as_deref(),
            expected,
            "{url} {name:?} {found:?}"
        );
    }
}

#[test]
fn offers_by_protocol() {
    let rows: [(_, &[Protocol]); 3] = [
        (UpstreamProtocol::Auto, &[Protocol::Http2, Protocol::Http1]),
        (UpstreamProtocol::Http1, &[Protocol::Http1]),
        (UpstreamProtocol::Http2, &[Protocol::Http2]),
    ];
    for (protocol, expected) in rows {
        assert_eq!(offers(protocol), expected);
    }
}
