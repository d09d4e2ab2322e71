//! Authorities and certificates made for one test.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RevokedCertParams, RsaKeySize, date_time_ymd,
};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    WantsVerifier,
    client::WantsClientCert,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{WantsServerCert, WebPkiClientVerifier},
    version::TLS12,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Who signs certificates, and whom clients of this test trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What leads from it to the one at the top: nothing for that one itself.
    chain: Vec<CertificateDer<'static>>,
}

/// A certificate with its key.
pub struct Leaf {
    /// The certificate as PEM.
    pub cert: String,
    /// Its key as PEM.
    pub key: String,
    /// The certificate as DER: who was shown this was shown this very one.
    pub der: CertificateDer<'static>,
    key_der: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority("Test authority"), key).expect("a certificate");
        Authority { issuer, chain: Vec::new() }
    }

    /// One that this one vouches for. Its certificates are shown with what leads up to here.
    #[must_use]
    pub fn below(&self) -> Authority {
        let (params, key) = (authority("Test authority below"), KeyPair::generate().expect("a key"));
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("a certificate");
        let chain = std::iter::once(issuer.der().clone()).chain(self.chain.iter().cloned()).collect();
        Authority { issuer, chain }
    }

    /// Its own certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names; each call makes another one.
    #[must_use]
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.signed(&params(names, "Test leaf"), &KeyPair::generate().expect("a key"))
    }

    /// The same with an RSA key.
    #[must_use]
    pub fn rsa_leaf(&self, names: &[&str]) -> Leaf {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
        self.signed(&params(names, "Test leaf"), &key)
    }

    /// The same, valid for so many days from yesterday.
    #[must_use]
    pub fn leaf_for_days(&self, names: &[&str], days: i64) -> Leaf {
        let mut params = params(names, "Test leaf");
        let second = |days: i64| {
            date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_days().saturating_add_signed(days) * 86_400)
        };
        (params.not_before, params.not_after) = (second(-1), second(days));
        self.signed(&params, &KeyPair::generate().expect("a key"))
    }

    /// A certificate for a client with that common name and number.
    #[must_use]
    pub fn badge(&self, common_name: &str, number: u64) -> Leaf {
        let mut params = params(&[], common_name);
        params.serial_number = Some(number.into());
        self.signed(&params, &KeyPair::generate().expect("a key"))
    }

    /// A list of the certificates with these numbers as revoked, as PEM.
    #[must_use]
    pub fn revokes(&self, numbers: &[u64]) -> String {
        let (this_update, next_update) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: (*number).into(),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list").pem().expect("a list")
    }

    fn signed(&self, params: &CertificateParams, key: &KeyPair) -> Leaf {
        let cert = params.signed_by(key, &self.issuer).expect("a certificate");
        let key_der = PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS#8 key");
        let (der, chain) = (cert.der().clone(), self.chain.clone());
        Leaf { cert: cert.pem(), key: key.serialize_pem(), der, key_der, chain }
    }

    /// For clients that trust this authority alone and offer these protocols.
    #[must_use]
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = self.client_of(rustls::ALL_VERSIONS);
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// For clients that trust this authority alone and show that certificate.
    #[must_use]
    pub fn client_showing(&self, badge: &Leaf) -> Arc<ClientConfig> {
        let builder = self.trusting(rustls::ALL_VERSIONS);
        let shown = std::iter::once(&badge.der).chain(&badge.chain).cloned().collect();
        let mut config =
            builder.with_client_auth_cert(shown, badge.key_der.clone_key()).expect("a matching key");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }

    /// For clients that trust this authority alone and speak these TLS versions.
    #[must_use]
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.trusting(versions).with_no_client_auth()
    }

    /// For HTTP/1.1 clients that trust this authority alone and can do no more than this. Suites of TLS 1.2 alone: they speak no
    /// other version.
    #[must_use]
    pub fn client_by(&self, provider: CryptoProvider) -> ClientConfig {
        let is_new = |suite: &SupportedCipherSuite| matches!(suite, SupportedCipherSuite::Tls13(_));
        let versions: &[&'static SupportedProtocolVersion] =
            if provider.cipher_suites.iter().any(is_new) { rustls::ALL_VERSIONS } else { &[&TLS12] };
        let builder =
            ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions);
        let mut config =
            builder.expect("TLS versions").with_root_certificates(self.roots()).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    fn trusting(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("TLS versions")
            .with_root_certificates(self.roots())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        roots
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Leaf {
    /// Writes both files into a folder, as `<name>.pem` and `<name>.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.key")), &self.key).expect("key written");
        std::fs::write(folder.join(format!("{name}.pem")), &self.cert).expect("certificate written");
    }

    /// For a server that shows this certificate and speaks these protocols.
    #[must_use]
    pub fn server(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let mut config = self.shown(versions().with_no_client_auth());
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// For an HTTP/1.1 server that wants a certificate of this authority from its clients.
    #[must_use]
    pub fn server_for(&self, clients: &Authority) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.roots()), provider);
        let verifier = verifier.build().expect("an authority");
        Arc::new(self.shown(versions().with_client_cert_verifier(verifier)))
    }

    fn shown(&self, builder: ConfigBuilder<ServerConfig, WantsServerCert>) -> ServerConfig {
        builder.with_single_cert(vec![self.der.clone()], self.key_der.clone_key()).expect("a matching key")
    }
}

fn authority(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("valid names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

fn unix_days() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}

fn versions() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
}
