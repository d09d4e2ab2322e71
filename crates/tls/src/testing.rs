//! Certificates and handshakes for the tests of this crate: made in memory, shaken without sockets.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use evergate_contract::config::{ListenerTls, Protocol};
use evergate_kit::Keep;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519, PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize,
    SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, Error, ServerConfig, ServerConnection,
    SupportedProtocolVersion, client::WantsClientCert,
};
use rustls_pki_types::{PrivateKeyDer, ServerName, pem::PemObject};

use crate::{CertTable, ClientRule, Credential, Crypto, Pem, Sessions, Terms};

type Date = (i32, u8, u8);

/// A certificate to be.
pub(crate) struct Maker {
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) der: Vec<u8>,
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Maker {
    /// For these names, valid today.
    pub(crate) fn new(names: &[&str]) -> Maker {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Maker { params: CertificateParams::new(names).unwrap(), key: KeyPair::generate().unwrap() }
    }

    pub(crate) fn ed25519(mut self) -> Maker {
        self.key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        self
    }

    /// Of somebody with that common name, for a client to show.
    pub(crate) fn common_name(mut self, name: &str) -> Maker {
        self.params.distinguished_name.push(DnType::CommonName, name);
        self
    }

    pub(crate) fn rsa(mut self) -> Maker {
        self.key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        self
    }

    pub(crate) fn san(mut self, san: SanType) -> Maker {
        self.params.subject_alt_names.push(san);
        self
    }

    pub(crate) fn serial(mut self, number: u64) -> Maker {
        self.params.serial_number = Some(number.into());
        self
    }

    pub(crate) fn days(mut self, from: Date, to: Date) -> Maker {
        self.params.not_before = date_time_ymd(from.0, from.1, from.2);
        self.params.not_after = date_time_ymd(to.0, to.1, to.2);
        self
    }

    /// Signed by its own key.
    pub(crate) fn own(self) -> Made {
        let cert = self.params.self_signed(&self.key).unwrap();
        Made { der: cert.der().to_vec(), cert: cert.pem(), key: self.key.serialize_pem() }
    }

    pub(crate) fn by(self, authority: &Authority) -> Made {
        let cert = self.params.signed_by(&self.key, &authority.0).unwrap();
        Made { der: cert.der().to_vec(), cert: cert.pem(), key: self.key.serialize_pem() }
    }

    /// The same certificate at each call.
    pub(crate) fn fixed() -> Vec<u8> {
        static FIXED: OnceLock<Vec<u8>> = OnceLock::new();
        FIXED.get_or_init(|| Maker::new(&["example.com", "*.example.org"]).own().der).clone()
    }
}

impl Made {
    pub(crate) fn credential(&self) -> Arc<Credential> {
        load(&self.cert, &self.key).unwrap()
    }
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let params = ca_params("Test authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// One that this one vouches for.
    pub(crate) fn below(&self, name: &str) -> Authority {
        let params = ca_params(name);
        Authority(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// A list of revoked certificates, as PEM.
    pub(crate) fn revokes(&self, serials: &[u64]) -> String {
        let (this_update, next_update) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn load(cert: &str, key: &str) -> Result<Arc<Credential>, Vec<crate::PemError>> {
    Credential::load(&Keep::new(), &Crypto::new(), pem("leaf.pem", cert), pem("leaf.key", key), None)
}

pub(crate) fn pem<'a>(path: &'a str, text: &'a str) -> Pem<'a> {
    Pem { path: Path::new(path), bytes: text.as_bytes() }
}

/// Midnight, in seconds since 1970.
pub(crate) fn date(year: i32, month: u8, day: u8) -> i64 {
    date_time_ymd(year, month, day).unix_timestamp()
}

/// The `tls` of a listener; `patch` are its keys besides `certificates`.
pub(crate) fn listener_tls(patch: &serde_json::Value) -> ListenerTls {
    let mut tls = serde_json::json!({ "certificates": ["example"] });
    tls.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    serde_json::from_value(tls).unwrap()
}

/// How a listener with these settings and certificates shakes hands.
#[expect(clippy::needless_pass_by_value, reason = "settings are written where they are used")]
pub(crate) fn server(
    tls: serde_json::Value,
    made: &[&Made],
    protocols: &[Protocol],
    sessions: &Sessions,
    client: Option<Arc<ClientRule>>,
) -> Arc<ServerConfig> {
    let (tls, credentials) = (listener_tls(&tls), made.iter().map(|made| made.credential()).collect());
    let terms = Terms::of(&tls, Arc::new(CertTable::new(credentials)), client);
    Arc::new(crate::server_config(&Crypto::new(), &terms, crate::alpn(protocols), sessions).unwrap())
}

/// A client that trusts that authority.
pub(crate) fn client(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let mut config = trusting(authority, versions).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A client that trusts that authority and shows these certificates, the first of which has this key.
pub(crate) fn client_showing(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    chain: &str,
    key: &str,
) -> Arc<ClientConfig> {
    let chain = crate::credential::chain(pem("chain", chain)).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(trusting(authority, versions).with_client_auth_cert(chain, key).unwrap())
}

fn trusting(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(crate::credential::chain(pem("ca", &authority.pem())).unwrap());
    let builder = ClientConfig::builder_with_provider(Arc::clone(Crypto::new().provider()));
    builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots)
}

/// Both ends of a handshake that succeeded.
#[derive(Debug)]
pub(crate) struct Shaken {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
}

/// Shakes hands, and carries over what follows the handshake.
pub(crate) fn shake(
    client: &Arc<ClientConfig>,
    name: &str,
    server: &Arc<ServerConfig>,
) -> Result<Shaken, Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        let refused = server.process_new_packets();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        refused?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(Shaken { client, server })
}

impl Shaken {
    /// The leaf that the client was shown.
    pub(crate) fn shown(&self) -> &[u8] {
        &self.client.peer_certificates().unwrap()[0]
    }

    pub(crate) fn alpn(&self) -> Option<&str> {
        self.client.alpn_protocol().map(|name| std::str::from_utf8(name).unwrap())
    }
}
