//! Certificates and handshakes for the tests of this crate: made in memory, shaken without sockets.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use evergate_contract::config::{ListenerTls, TlsVersion};
use evergate_kit::Keep;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ED25519, date_time_ymd,
};
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use crate::{Credential, Crypto, Pem};

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
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }
}

pub(crate) fn load(cert: &str, key: &str) -> Result<Arc<Credential>, Vec<crate::PemError>> {
    Credential::load(&Keep::new(), &Crypto::new(), pem("leaf.pem", cert), pem("leaf.key", key))
}

pub(crate) fn pem<'a>(path: &'a str, text: &'a str) -> Pem<'a> {
    Pem { path: Path::new(path), bytes: text.as_bytes() }
}

/// Midnight, in seconds since 1970.
pub(crate) fn date(year: i32, month: u8, day: u8) -> i64 {
    date_time_ymd(year, month, day).unix_timestamp()
}

pub(crate) fn listener_tls(min_version: TlsVersion) -> ListenerTls {
    ListenerTls { certificates: vec!["example".into()], min_version }
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
