#![expect(clippy::needless_pass_by_value, reason = "settings are written where they are used")]

use super::*;
use crate::{
    Sessions,
    testing::{self, Authority, Made, Maker, Shaken, client, client_showing, pem, shake},
};
use rcgen::SanType;
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, ServerConfig,
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};

struct Stage {
    /// Vouches for servers.
    servers: Authority,
    /// Vouches for clients.
    clients: Authority,
    leaf: Made,
    sessions: Sessions,
}

impl Stage {
    fn new() -> Stage {
        let servers = Authority::new();
        let leaf = Maker::new(&["a.test"]).by(&servers);
        Stage { leaf, servers, clients: Authority::new(), sessions: Sessions::new().unwrap() }
    }

    fn rule(&self, spec: Value, lists: &[&str]) -> Result<Option<Arc<ClientRule>>, Vec<PemError>> {
        let mut whole = json!({ "ca": "ca.pem" });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: ClientTls = serde_json::from_value(whole).unwrap();
        let ca = self.clients.pem();
        let lists: Vec<Pem<'_>> = lists.iter().map(|list| pem("list.pem", list)).collect();
        ClientRule::load(&Keep::new(), &Crypto::new(), &spec, Some(pem("ca.pem", &ca)), &lists)
    }

    fn server(&self, spec: Value, lists: &[&str]) -> Arc<ServerConfig> {
        let rule = self.rule(spec, lists).unwrap();
        testing::server(json!({}), &[&self.leaf], &[], &self.sessions, rule)
    }

    fn nobody(&self) -> Arc<ClientConfig> {
        client(&self.servers, &[&TLS13, &TLS12], &[])
    }

    fn showing(&self, made: &Made) -> Arc<ClientConfig> {
        client_showing(&self.servers, &[&TLS13, &TLS12], &made.cert, &made.key)
    }
}

fn alert(shaken: Result<Shaken, Error>) -> Option<AlertDescription> {
    match shaken {
        Ok(_) => None,
        Err(Error::AlertReceived(alert)) => Some(alert),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_is_required_or_may_be_shown() {
    let stage = Stage::new();
    let ours = Maker::new(&["client.test"]).common_name("ours").by(&stage.clients);
    let strange = Maker::new(&["client.test"]).by(&Authority::new());
    let late = Maker::new(&["client.test"]).days((2020, 1, 1), (2021, 1, 1)).by(&stage.clients);
    let (required, optional) =
        (stage.server(json!({}), &[]), stage.server(json!({ "mode": "optional" }), &[]));
    for versions in [&[&TLS12], &[&TLS13]] {
        let showing = |made: &Made| client_showing(&stage.servers, versions, &made.cert, &made.key);
        let nobody = client(&stage.servers, versions, &[]);
        assert_eq!(alert(shake(&showing(&ours), "a.test", &required)), None);
        let without = alert(shake(&nobody, "a.test", &required));
        assert!(
            matches!(
                without,
                Some(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure)
            ),
            "{without:?}"
        );
        assert_eq!(alert(shake(&nobody, "a.test", &optional)), None);
        for server in [&required, &optional] {
            // The other authority has the same name.
            assert_eq!(
                alert(shake(&showing(&strange), "a.test", server)),
                Some(AlertDescription::DecryptError)
            );
            assert_eq!(
                alert(shake(&showing(&late), "a.test", server)),
                Some(AlertDescription::CertificateExpired)
            );
        }
    }
    let shaken = shake(&stage.showing(&ours), "a.test", &optional).unwrap();
    let who = Identity::of(&shaken.server.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(who.to_string(), "CN=ours, client.test");
    assert!(stage.rule(json!({ "mode": "none" }), &[]).unwrap().is_none());
}

#[test]
fn of_names_one_is_enough() {
    let stage = Stage::new();
    let maker = || Maker::new(&["Client.test", "192.0.2.7"]).common_name("ops");
    let uri = SanType::URI("spiffe://a/b".try_into().unwrap());
    let email = SanType::Rfc822Name("ops@a.test".try_into().unwrap());
    let client = stage.showing(&maker().san(uri).san(email).by(&stage.clients));
    let refused = Some(AlertDescription::AccessDenied);
    let rows = [
        (json!({ "cn": ["ops"] }), None),
        (json!({ "cn": ["Ops"] }), refused),
        (json!({ "cn": ["dev"] }), refused),
        (json!({ "cn": ["dev", "ops"] }), None),
        (json!({ "cn": ["dev"], "san": ["client.TEST"] }), None),
        (json!({ "cn": ["client.test"] }), refused),
        (json!({ "san": ["ops"] }), refused),
        (json!({ "san": ["192.0.2.7"] }), None),
        (json!({ "san": ["192.0.2.8"] }), refused),
        (json!({ "san": ["spiffe://a/b"] }), None),
        (json!({ "san": ["spiffe://a/B"] }), refused),
        (json!({ "san": ["ops@a.test"] }), None),
        (json!({ "san": ["*.test"] }), refused),
    ];
    for (names, expected) in rows {
        let server = stage.server(json!({ "names": names }), &[]);
        assert_eq!(alert(shake(&client, "a.test", &server)), expected, "{names}");
    }
    // Where a certificate may be shown, one that is shown has to be right.
    let server = stage.server(json!({ "mode": "optional", "names": { "cn": ["dev"] } }), &[]);
    assert_eq!(alert(shake(&client, "a.test", &server)), refused);
    assert_eq!(alert(shake(&stage.nobody(), "a.test", &server)), None);
}

#[test]
fn what_is_revoked_is_refused_and_every_authority_needs_a_list() {
    let stage = Stage::new();
    let below = stage.clients.below("Below");
    let [good, bad] = [7, 8].map(|n| Maker::new(&["client.test"]).serial(n).by(&stage.clients));
    let deep = Maker::new(&["client.test"]).serial(9).by(&below);
    let deep = Made { cert: deep.cert + &below.pem(), ..deep };
    let (list, none) = (stage.clients.revokes(&[8]), stage.clients.revokes(&[]));
    let (list_below, none_below) = (below.revokes(&[9]), below.revokes(&[]));
    let revoked = Some(AlertDescription::CertificateRevoked);
    let rows: [(&Made, &[&str], _); 8] = [
        (&good, &[], None),
        (&bad, &[], None),
        (&good, &[&list], None),
        (&bad, &[&list], revoked),
        (&bad, &[&none], None),
        (&deep, &[&none, &none_below], None),
        (&deep, &[&none, &list_below], revoked),
        (&deep, &[&none], Some(AlertDescription::UnknownCA)),
    ];
    for (i, (made, lists, expected)) in rows.into_iter().enumerate() {
        let server = stage.server(json!({}), lists);
        assert_eq!(alert(shake(&stage.showing(made), "a.test", &server)), expected, "row {i}");
    }
}

#[test]
fn a_chain_is_as_long_as_it_may_be() {
    let stage = Stage::new();
    let (one, mut chain) = (stage.clients.below("One"), String::new());
    let two = one.below("Two");
    let leaf = Maker::new(&["client.test"]).by(&two);
    chain.push_str(&(leaf.cert.clone() + &two.pem() + &one.pem()));
    let client = stage.showing(&Made { cert: chain, ..leaf });
    for (depth, expected) in [(0, false), (1, false), (2, true), (6, true)] {
        let server = stage.server(json!({ "depth": depth }), &[]);
        assert_eq!(alert(shake(&client, "a.test", &server)).is_none(), expected, "{depth}");
    }
}

#[test]
fn a_session_is_resumed_under_its_rule_only() {
    let stage = Stage::new();
    let ours = Maker::new(&["client.test"]).serial(7).by(&stage.clients);
    let (open, required) = (
        testing::server(json!({}), &[&stage.leaf], &[], &stage.sessions, None),
        stage.server(json!({}), &[]),
    );
    for versions in [&[&TLS12], &[&TLS13]] {
        // Let in without a certificate, a client cannot come in by its ticket where one is required.
        let nobody = client(&stage.servers, versions, &[]);
        shake(&nobody, "a.test", &open).unwrap();
        assert!(shake(&nobody, "a.test", &required).is_err());
        let client = client_showing(&stage.servers, versions, &ours.cert, &ours.key);
        let kind = |server: &Arc<ServerConfig>| {
            let shaken = shake(&client, "a.test", server)?;
            assert_eq!(
                shaken.server.peer_certificates().map(<[_]>::len),
                Some(1),
                "known again by its ticket"
            );
            Ok(shaken.server.handshake_kind().unwrap())
        };
        assert_eq!(kind(&required), Ok(HandshakeKind::Full));
        assert_eq!(kind(&required), Ok(HandshakeKind::Resumed));
        assert_eq!(
            kind(&stage.server(json!({}), &[])),
            Ok(HandshakeKind::Resumed),
            "an equal rule is the same"
        );
        // Its certificate is revoked meanwhile: the ticket helps no more.
        let revoked = stage.server(json!({}), &[&stage.clients.revokes(&[7])]);
        assert_eq!(kind(&revoked), Err(Error::AlertReceived(AlertDescription::CertificateRevoked)));
    }
}

#[test]
fn equal_rules_are_the_same() {
    let stage = Stage::new();
    let list = stage.clients.revokes(&[1]);
    let specs: [(Value, &[&str]); 7] = [
        (json!({}), &[]),
        (json!({ "mode": "optional" }), &[]),
        (json!({ "depth": 2 }), &[]),
        (json!({ "names": { "cn": ["a"] } }), &[]),
        (json!({ "names": { "san": ["a"] } }), &[]),
        (json!({ "names": { "cn": ["a", "b"] } }), &[]),
        (json!({}), &[&list]),
    ];
    let rules = || specs.iter().map(|(spec, lists)| stage.rule(spec.clone(), lists).unwrap());
    for (i, one) in rules().enumerate() {
        assert!(!ClientRule::same(one.as_ref(), None));
        for (j, other) in rules().enumerate() {
            assert_eq!(ClientRule::same(one.as_ref(), other.as_ref()), i == j, "{i} {j}");
        }
    }
    assert!(ClientRule::same(None, None));
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let stage = Stage::new();
    let said = |lists: &[&str]| {
        let errors = stage.rule(json!({}), lists).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(said(&["words"]), ["list.pem: expected a PEM revocation list (X509 CRL), found none"]);
    let odd = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
    assert!(said(&[odd])[0].starts_with("list.pem: unusable revocation list: "), "{:?}", said(&[odd]));
    assert_eq!(said(&["-----BEGIN X509 CRL-----\nMAA="]), ["list.pem: malformed PEM"]);
    let spec: ClientTls = serde_json::from_value(json!({ "ca": "ca.pem" })).unwrap();
    let error =
        ClientRule::load(&Keep::new(), &Crypto::new(), &spec, Some(pem("ca.pem", "words")), &[]).unwrap_err();
    assert_eq!(error[0].to_string(), "ca.pem: expected a PEM certificate, found none");
}
