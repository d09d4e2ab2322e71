//! A certificate chain with its private key, read from PEM and checked.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use evergate_kit::Keep;
use rustls::{Error, InconsistentKeys, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer, pem, pem::PemObject};

use crate::{
    Crypto, Pem, PemError,
    der::{self, San},
    ocsp::{self, OcspError},
};

/// A chain with its key, ready for handshakes: the key is that of the leaf.
#[derive(Debug)]
pub struct Credential {
    /// For rustls.
    pub key: Arc<CertifiedKey>,
    /// The same with an OCSP response, and when that ends.
    stapled: Option<(Arc<CertifiedKey>, Option<i64>)>,
    /// Why the OCSP response that was given is not stapled.
    pub not_stapled: Option<OcspError>,
    /// The DNS names it is good for, in lower case; a wildcard as `*.example.com`.
    pub names: Vec<Box<str>>,
    /// From when until when the leaf is valid.
    pub validity: Validity,
}

/// A span of time in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its begin.
    pub from: i64,
    /// Its end.
    pub until: i64,
}

/// Why clients will refuse a certificate today or soon. It is served all the same: refusing a document for it would
/// keep out the other changes, the next certificate among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// It ends in so many seconds, which are less than a week.
    Ending(u64),
    /// It begins to be valid in so many seconds.
    NotYetValid(u64),
    /// It ended so many seconds ago.
    Expired(u64),
}

/// A week: time enough to mend what should have renewed it.
const SOON: u64 = 7 * 86_400;

impl Credential {
    /// Reads a chain, leaf first, and the leaf's key; `ocsp` is a response in DER to staple. The same bytes are read once
    /// for as long as `keep` finds the result in use.
    ///
    /// # Errors
    /// All that is wrong with either file. What is wrong with `ocsp` is in [`Credential::not_stapled`].
    pub fn load(
        keep: &Keep,
        crypto: &Crypto,
        cert: Pem<'_>,
        key: Pem<'_>,
        ocsp: Option<&[u8]>,
    ) -> Result<Arc<Credential>, Vec<PemError>> {
        let mut digest = blake3::Hasher::new();
        for bytes in [cert.bytes, key.bytes] {
            digest.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
        digest.update(ocsp.unwrap_or_default());
        keep.try_get("credential", &digest.finalize().to_hex(), || {
            crypto.reads.fetch_add(1, Ordering::Relaxed);
            Credential::read(crypto, cert, key, ocsp)
        })
    }

    /// What a client is shown now.
    pub(crate) fn shown(&self) -> Arc<CertifiedKey> {
        let fresh = |until: &Option<i64>| until.is_none_or(|until| seconds(SystemTime::now()) <= until);
        let stapled = self.stapled.as_ref().filter(|(_, until)| fresh(until));
        Arc::clone(stapled.map_or(&self.key, |(key, _)| key))
    }

    fn read(
        crypto: &Crypto,
        cert: Pem<'_>,
        key: Pem<'_>,
        ocsp: Option<&[u8]>,
    ) -> Result<Credential, Vec<PemError>> {
        let signing = private_key(key).and_then(|der| {
            let unusable = |error| key.error(format!("unusable private key: {}", reason(&error)));
            crypto.provider().key_provider.load_private_key(der).map_err(unusable)
        });
        let (signing, chain) = match (signing, chain(cert)) {
            (Ok(signing), Ok(chain)) => (signing, chain),
            (signing, chain) => return Err([chain.err(), signing.err()].into_iter().flatten().collect()),
        };
        let facts = leaf(cert, &chain).map_err(|error| vec![error])?;
        let (names, validity) =
            (dns_names(&facts), Validity { from: facts.not_before, until: facts.not_after });
        let (staple, not_stapled) =
            match ocsp.map(|ocsp| ocsp::staple(ocsp, &facts, seconds(SystemTime::now()))) {
                Some(Ok(staple)) => (Some(staple), None),
                Some(Err(error)) => (None, Some(error)),
                None => (None, None),
            };
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(vec![key.error(mismatch(cert, &certified))]);
            }
            Err(error) => return Err(vec![cert.error(format!("unusable certificate: {}", reason(&error)))]),
        }
        let stapled = staple.map(|staple| {
            let key = CertifiedKey { ocsp: Some(staple.response), ..certified.clone() };
            (Arc::new(key), staple.until)
        });
        Ok(Credential { key: Arc::new(certified), stapled, not_stapled, names, validity })
    }
}

impl Validity {
    /// Whether clients will refuse it at that time, or within a week of it.
    #[must_use]
    pub fn lapse(self, now: SystemTime) -> Option<Lapse> {
        let now = seconds(now);
        if now < self.from {
            Some(Lapse::NotYetValid(self.from.abs_diff(now)))
        } else if now > self.until {
            Some(Lapse::Expired(self.until.abs_diff(now)))
        } else {
            Some(self.until.abs_diff(now)).filter(|left| *left < SOON).map(Lapse::Ending)
        }
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> i64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
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

fn leaf<'a>(pem: Pem<'_>, chain: &'a [CertificateDer<'static>]) -> Result<der::Facts<'a>, PemError> {
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

/// The names that clients may ask for; what can never match is left out.
fn dns_names(facts: &der::Facts<'_>) -> Vec<Box<str>> {
    let dns_name = |name: &San| match name {
        San::Dns(name) => {
            DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok().then(|| name.as_str().into())
        }
        _ => None,
    };
    facts.names.iter().filter_map(dns_name).collect()
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
            Lapse::Ending(seconds) => write!(f, "ends in {}", about(*seconds)),
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
