//! A certificate chain with its private key, read from PEM and checked.

use std::{fmt, sync::Arc, time::SystemTime};

use evergate_kit::Keep;
use rustls::{Error, InconsistentKeys, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer, pem, pem::PemObject};

use crate::{Crypto, Pem, PemError, der};

/// A chain with its key, ready for handshakes: the key is that of the leaf.
#[derive(Debug)]
pub struct Credential {
    /// For rustls.
    pub key: Arc<CertifiedKey>,
    /// The DNS names it is good for, in lower case; a wildcard as `*.example.com`.
    pub names: Vec<Box<str>>,
    /// When the leaf begins to be valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when the leaf is valid, in seconds since 1970.
    pub not_after: i64,
}

/// Why clients will refuse a certificate today. It is served all the same: refusing a document for it would
/// keep out the other changes, the next certificate among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// It begins to be valid in so many seconds.
    NotYetValid(u64),
    /// It ended so many seconds ago.
    Expired(u64),
}

impl Credential {
    /// Reads a chain, leaf first, and the leaf's key. The same bytes are read once for as long as `keep` finds
    /// the result in use.
    ///
    /// # Errors
    /// All that is wrong with either file.
    pub fn load(
        keep: &Keep,
        crypto: &Crypto,
        cert: Pem<'_>,
        key: Pem<'_>,
    ) -> Result<Arc<Credential>, Vec<PemError>> {
        let mut digest = blake3::Hasher::new();
        digest.update(&(cert.bytes.len() as u64).to_le_bytes()).update(cert.bytes).update(key.bytes);
        keep.try_get("credential", &digest.finalize().to_hex(), || Credential::read(crypto, cert, key))
    }

    fn read(crypto: &Crypto, cert: Pem<'_>, key: Pem<'_>) -> Result<Credential, Vec<PemError>> {
        let signing = private_key(key).and_then(|der| {
            let unusable = |error| key.error(format!("unusable private key: {}", reason(&error)));
            crypto.provider().key_provider.load_private_key(der).map_err(unusable)
        });
        let facts = chain(cert).and_then(|chain| Ok((leaf(cert, &chain)?, chain)));
        let (signing, facts, chain) = match (signing, facts) {
            (Ok(signing), Ok((facts, chain))) => (signing, facts, chain),
            (signing, facts) => return Err([facts.err(), signing.err()].into_iter().flatten().collect()),
        };
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(vec![key.error(mismatch(cert, &certified))]);
            }
            Err(error) => return Err(vec![cert.error(format!("unusable certificate: {}", reason(&error)))]),
        }
        Ok(Credential {
            key: Arc::new(certified),
            names: facts.dns_names.iter().filter_map(|name| dns_name(name)).collect(),
            not_before: facts.not_before,
            not_after: facts.not_after,
        })
    }

    /// Whether clients will refuse it at that time.
    #[must_use]
    pub fn lapse(&self, now: SystemTime) -> Option<Lapse> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
        if now < self.not_before {
            Some(Lapse::NotYetValid(self.not_before.abs_diff(now)))
        } else if now > self.not_after {
            Some(Lapse::Expired(self.not_after.abs_diff(now)))
        } else {
            None
        }
    }
}

/// All certificates of a file; at least one.
pub(crate) fn chain(pem: Pem<'_>) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.bytes).collect();
    let chain = read.map_err(|error| pem.error(malformed(&error)))?;
    if chain.is_empty() { Err(pem.error(absent(pem.bytes, "certificate"))) } else { Ok(chain) }
}

fn private_key(pem: Pem<'_>) -> Result<PrivateKeyDer<'static>, PemError> {
    match PrivateKeyDer::from_pem_slice(pem.bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(pem.error(absent(pem.bytes, "private key"))),
        Err(error) => Err(pem.error(malformed(&error))),
    }
}

/// Says what is wrong without quoting the text, which may be a key.
fn malformed(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "malformed PEM: a BEGIN line has no END line",
        pem::Error::IllegalSectionStart { .. } => "malformed PEM: a BEGIN line is not closed by five hyphens",
        pem::Error::Base64Decode(_) => "malformed PEM: a section is not base64",
        _ => "malformed PEM",
    }
}

fn leaf(pem: Pem<'_>, chain: &[CertificateDer<'static>]) -> Result<der::Facts, PemError> {
    let facts = chain.first().and_then(|leaf| der::facts(leaf));
    facts.ok_or_else(|| pem.error("the first certificate is malformed"))
}

/// Says why a file has none of what is wanted, by what it does have.
fn absent(bytes: &[u8], wanted: &str) -> String {
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    if bytes.iter().all(u8::is_ascii_whitespace) {
        "the file is empty".to_owned()
    } else if bytes.first() == Some(&0x30) {
        format!("expected a PEM {wanted}, found DER; convert it with `openssl … -inform der -outform pem`")
    } else if has("BEGIN ENCRYPTED PRIVATE KEY") {
        "the private key is encrypted; decrypt it with `openssl pkey`".to_owned()
    } else if has("PRIVATE KEY-----") {
        format!("expected a PEM {wanted}, found a private key; are `cert` and `key` swapped?")
    } else if has("BEGIN CERTIFICATE") {
        format!("expected a PEM {wanted}, found a certificate; are `cert` and `key` swapped?")
    } else {
        format!("expected a PEM {wanted}, found none")
    }
}

/// Says how the key and the chain do not go together.
fn mismatch(cert: Pem<'_>, certified: &CertifiedKey) -> String {
    let later =
        certified.cert.iter().skip(1).any(|other| {
            CertifiedKey::new(vec![other.clone()], Arc::clone(&certified.key)).keys_match().is_ok()
        });
    let path = cert.path.display();
    if later {
        format!("the key belongs to a later certificate of {path}; the leaf must come first")
    } else {
        format!("the key does not belong to the certificate in {path}")
    }
}

/// A name that clients may ask for, in lower case; `None` for what can never match.
fn dns_name(name: &str) -> Option<Box<str>> {
    let name = name.to_ascii_lowercase();
    DnsName::try_from(name.strip_prefix("*.").unwrap_or(&name)).ok()?;
    Some(name.into())
}

/// What rustls says of it, without the words in front that it puts before every error.
fn reason(error: &Error) -> String {
    match error {
        Error::General(text) => text.clone(),
        Error::InvalidCertificate(why) => why.to_string(),
        other => other.to_string(),
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lapse::NotYetValid(seconds) => write!(f, "not valid for another {}", about(*seconds)),
            Lapse::Expired(seconds) => write!(f, "expired {} ago", about(*seconds)),
        }
    }
}

/// A length of time for people, in its largest whole unit.
fn about(seconds: u64) -> String {
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let fits = units.into_iter().find(|(size, _)| seconds >= *size);
    let (size, unit) = fits.unwrap_or((1, "second"));
    let count = seconds / size;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
