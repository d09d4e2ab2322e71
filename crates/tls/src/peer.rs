//! Who clients of a listener must be, and who they are.

use std::{fmt, sync::Arc};

use evergate_contract::config::{ClientMode, ClientNames, ClientTls};
use evergate_kit::Keep;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject};

use crate::{
    Crypto, Pem, PemError, client,
    der::{self, San},
};

/// What tells rules apart; zero is "nobody is asked".
pub(crate) type RuleId = [u8; 32];

/// Who clients must be: equal for equal settings and equal contents of files.
#[derive(Clone)]
pub struct ClientRule {
    id: RuleId,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Who a client is, by the certificate that it showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Common names of the subject, usually one.
    pub common_names: Vec<String>,
    /// Alternative names of the subject.
    pub names: Vec<San>,
}

impl ClientRule {
    /// Reads the files that a rule names: `ca` is the content of `spec.ca`, `crl` those of `spec.crl`. `None` for
    /// `mode: none`. The same settings with the same bytes are the same rule for as long as `keep` finds it in use.
    ///
    /// # Errors
    /// All that is wrong with the files.
    pub fn load(
        keep: &Keep,
        crypto: &Crypto,
        spec: &ClientTls,
        ca: Option<Pem<'_>>,
        crl: &[Pem<'_>],
    ) -> Result<Option<Arc<ClientRule>>, Vec<PemError>> {
        let Some(ca) = ca.filter(|_| spec.mode != ClientMode::None) else { return Ok(None) };
        let mut digest = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            digest.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        add(&[u8::from(spec.mode == ClientMode::Optional), spec.depth, u8::from(spec.names.is_some())]);
        let names = spec.names.clone().unwrap_or_default();
        for list in [&names.cn, &names.san] {
            add(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|name| add(name.as_bytes()));
        }
        add(ca.bytes);
        crl.iter().for_each(|crl| add(crl.bytes));
        let digest = digest.finalize();
        let make = || {
            let verifier = Arc::new(Verifier::new(crypto, spec, ca, crl)?);
            Ok(ClientRule { id: *digest.as_bytes(), verifier })
        };
        keep.try_get("client_rule", &digest.to_hex(), make).map(Some)
    }

    /// For rustls.
    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// What tells it apart; zero for none.
    pub(crate) fn id_of(rule: Option<&ClientRule>) -> RuleId {
        rule.map_or([0; 32], |rule| rule.id)
    }

    /// True if both ask for the same: a client that satisfied one has satisfied the other.
    #[must_use]
    pub fn same(one: Option<&Arc<ClientRule>>, other: Option<&Arc<ClientRule>>) -> bool {
        ClientRule::id_of(one.map(|rule| &**rule)) == ClientRule::id_of(other.map(|rule| &**rule))
    }
}

impl fmt::Debug for ClientRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRule").finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads a client's leaf certificate, which has been verified; `None` if it is not one.
    #[must_use]
    pub fn of(leaf: &CertificateDer<'_>) -> Option<Identity> {
        let facts = der::facts(leaf)?;
        Some(Identity { common_names: facts.common_names, names: facts.names })
    }

    fn is_one_of(&self, wanted: &Wanted) -> bool {
        self.common_names.iter().any(|name| wanted.common_names.contains(name))
            || self.names.iter().any(|name| wanted.names.contains(name))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self
            .common_names
            .iter()
            .map(|name| format!("CN={name}"))
            .chain(self.names.iter().map(San::to_string));
        f.write_str(&all.collect::<Vec<_>>().join(", "))
    }
}

/// Names of which a client has to have one.
#[derive(Debug)]
struct Wanted {
    common_names: Vec<String>,
    names: Vec<San>,
}

impl Wanted {
    fn new(names: &ClientNames) -> Wanted {
        let san = names.san.iter().map(|name| San::parse(name)).collect();
        Wanted { common_names: names.cn.clone(), names: san }
    }
}

/// The chain by webpki, then what the document asks for besides.
#[derive(Debug)]
struct Verifier {
    chain: Arc<dyn ClientCertVerifier>,
    wanted: Option<Wanted>,
    depth: usize,
}

impl Verifier {
    fn new(
        crypto: &Crypto,
        spec: &ClientTls,
        ca: Pem<'_>,
        crl: &[Pem<'_>],
    ) -> Result<Verifier, Vec<PemError>> {
        let builder =
            |roots| WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(crypto.provider()));
        let roots = client::authorities(ca).map_err(|error| vec![error])?;
        let (mut lists, mut errors) = (Vec::new(), Vec::new());
        for pem in crl {
            // One by one, so that what is wrong is said of the right file.
            let read = revoked(*pem).and_then(|lists| {
                let built = builder(Arc::clone(&roots)).with_crls(lists.clone()).build();
                built.map(|_| lists).map_err(|error| pem.error(format!("unusable revocation list: {error}")))
            });
            match read {
                Ok(read) => lists.extend(read),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut builder = builder(roots).with_crls(lists);
        if spec.mode == ClientMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        let chain = builder.build().map_err(|error| vec![ca.error(error.to_string())])?;
        Ok(Verifier { chain, wanted: spec.names.as_ref().map(Wanted::new), depth: usize::from(spec.depth) })
    }
}

fn revoked(pem: Pem<'_>) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem.bytes).collect();
    match lists {
        Ok(lists) if lists.is_empty() => {
            Err(pem.error("expected a PEM revocation list (X509 CRL), found none"))
        }
        Ok(lists) => Ok(lists),
        Err(_) => Err(pem.error("malformed PEM")),
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // The client is told `access_denied` for these two (RFC 8446 §6.2), and what fits of the chain.
        let denied = || Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        if intermediates.len() > self.depth {
            return Err(denied());
        }
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        if let Some(wanted) = &self.wanted
            && !Identity::of(end_entity).is_some_and(|client| client.is_one_of(wanted))
        {
            return Err(denied());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
