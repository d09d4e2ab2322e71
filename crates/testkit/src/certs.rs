//! Authorities and certificates made for one test.

use std::{path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion, WantsVerifier,
    crypto::aws_lc_rs,
    server::{WantsServerCert, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Who signs certificates, and whom clients of this test trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
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
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        let key = KeyPair::generate().expect("a key");
        Authority { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// Its own certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names; each call makes another one.
    #[must_use]
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.distinguished_name.push(DnType::CommonName, "Test leaf");
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key_der = PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS#8 key");
        Leaf { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone(), key_der }
    }

    /// For clients that trust this authority alone and offer these protocols.
    #[must_use]
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut config = self.client_of(rustls::ALL_VERSIONS);
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// For clients that trust this authority alone and speak these TLS versions.
    #[must_use]
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("TLS versions")
            .with_root_certificates(self.roots())
            .with_no_client_auth()
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

fn versions() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
}
