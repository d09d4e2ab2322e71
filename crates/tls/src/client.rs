//! Handshakes with endpoints.

use std::sync::Arc;

use evergate_contract::config::{Protocol, UpstreamProtocol, UpstreamTls};
use http::Uri;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    sign::SingleCertAndKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{Credential, Crypto, Pem, PemError, alpn, credential};

/// Why a handshake with an endpoint cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file of authorities is of no use.
    #[error(transparent)]
    Authorities(#[from] PemError),
    /// No `ca` is given, and the system has none.
    #[error("the system has no certificate authorities: {0}; set `ca`")]
    NoSystemAuthorities(String),
    /// The document names a `ca` or a `certificate` that the caller did not bring. Never done without.
    #[error("`{0}` is set but was not loaded")]
    Missing(&'static str),
    /// The name to verify is neither a DNS name nor an address.
    #[error("`{0}` is no name that a certificate can be for")]
    Name(String),
    /// The cryptography does not go with it.
    #[error(transparent)]
    Tls(#[from] Error),
}

/// How the gateway shakes hands with an upstream's endpoints: TLS 1.2 or 1.3, resuming where it can. `ca` is the
/// content of `tls.ca` and `own` the certificate that `tls` names, each if set. Sessions belong to the result, so
/// it is to be kept while its arguments stay the same.
///
/// # Errors
/// If the authorities are of no use, or something that `tls` names was not brought.
pub fn client_config(
    crypto: &Crypto,
    tls: &UpstreamTls,
    ca: Option<Pem<'_>>,
    own: Option<&Credential>,
    protocols: &[Protocol],
) -> Result<Arc<ClientConfig>, ClientError> {
    if tls.ca.is_some() && ca.is_none() {
        return Err(ClientError::Missing("ca"));
    }
    if tls.certificate.is_some() && own.is_none() {
        return Err(ClientError::Missing("certificate"));
    }
    let provider = crypto.provider();
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    // Read even if nothing is verified: a broken file is a fault of the document either way.
    let given = ca.map(authorities).transpose()?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::clone(provider))))
    } else {
        builder.with_root_certificates(match given {
            Some(roots) => roots,
            None => crypto.system()?,
        })
    };
    let mut config = match own {
        Some(own) => {
            let resolver: Arc<dyn ResolvesClientCert> =
                Arc::new(SingleCertAndKey::from(Arc::clone(&own.key)));
            builder.with_client_cert_resolver(resolver)
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(protocols);
    Ok(Arc::new(config))
}

/// What is offered by ALPN to the endpoints of an upstream, the best first.
#[must_use]
pub fn offers(protocol: UpstreamProtocol) -> &'static [Protocol] {
    match protocol {
        UpstreamProtocol::Auto => &[Protocol::Http2, Protocol::Http1],
        UpstreamProtocol::Http1 => &[Protocol::Http1],
        UpstreamProtocol::Http2 => &[Protocol::Http2],
    }
}

/// The name that an endpoint's certificate must be for, which is also asked for by SNI unless it is an address:
/// `tls.server_name`, else the host of the URL.
///
/// # Errors
/// If it is neither a DNS name nor an address.
pub fn server_name(endpoint: &Uri, tls: &UpstreamTls) -> Result<ServerName<'static>, ClientError> {
    let name = tls.server_name.as_deref().or(endpoint.host()).unwrap_or_default();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let parsed = ServerName::try_from(address.unwrap_or(name).to_owned());
    parsed.map_err(|_| ClientError::Name(name.to_owned()))
}

pub(crate) fn authorities(pem: Pem<'_>) -> Result<Arc<RootCertStore>, PemError> {
    let mut roots = RootCertStore::empty();
    for (i, authority) in credential::chain(pem)?.into_iter().enumerate() {
        roots.add(authority).map_err(|_| pem.error(format!("certificate {} is malformed", i + 1)))?;
    }
    Ok(Arc::new(roots))
}

/// Takes any certificate, for `insecure_skip_verify`: whoever answers is believed. Only that the other side has the
/// key of what it shows is still checked, for there is no reason not to.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
