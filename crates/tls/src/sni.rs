//! Which certificate a client is shown: name → credential, without a lock.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::Credential;

/// The certificates of a listener by name. An exact name beats a wildcard, which stands for one label
/// (RFC 9525 §6.3); for every other name, and for none, it is the first of the list.
///
/// Of several certificates for one name, the first is taken whose key the client can verify: one name may have
/// an ECDSA and an RSA certificate.
#[derive(Debug, Default)]
pub struct CertTable {
    exact: Names,
    /// By the name without `*.`.
    wildcard: Names,
    default: Option<Arc<CertifiedKey>>,
}

type Names = HashMap<Box<str>, Vec<Arc<CertifiedKey>>>;

impl CertTable {
    /// In the order of the document: the first one is the default.
    #[must_use]
    pub fn new(credentials: &[Arc<Credential>]) -> CertTable {
        let first = credentials.first().map(|first| Arc::clone(&first.key));
        let mut table = CertTable { default: first, ..CertTable::default() };
        for credential in credentials {
            for name in &credential.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, &**name),
                };
                names.entry(name.into()).or_default().push(Arc::clone(&credential.key));
            }
        }
        table
    }

    /// The certificate for that name, in any case of letters, and a client that verifies those signatures.
    #[must_use]
    pub fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let named = name.map(|name| self.named(&lowercase(name))).unwrap_or_default();
        let fits = named.iter().copied().flatten().find(|key| key.key.choose_scheme(schemes).is_some());
        fits.or_else(|| named.iter().copied().flatten().next()).or(self.default.as_ref()).cloned()
    }

    /// Those for exactly that name, then those for its wildcard.
    fn named(&self, name: &str) -> [&[Arc<CertifiedKey>]; 2] {
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        [(&self.exact, name), (&self.wildcard, parent)]
            .map(|(names, name)| names.get(name).map_or(&[][..], Vec::as_slice))
    }
}

impl ResolvesServerCert for CertTable {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}

fn lowercase(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, Maker};

    const ANY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

    /// Which of the certificates is shown for a name, by its place in the list.
    fn shown(made: &[Made], name: Option<&str>, schemes: &[SignatureScheme]) -> Option<usize> {
        let credentials: Vec<_> = made.iter().map(Made::credential).collect();
        let key = CertTable::new(&credentials).find(name, schemes)?;
        credentials.iter().position(|credential| Arc::ptr_eq(&credential.key, &key))
    }

    #[test]
    fn exact_beats_wildcard_beats_the_first() {
        let made = [
            Maker::new(&["first.test"]).own(),
            Maker::new(&["*.example.com", "*.deep.example.com"]).own(),
            Maker::new(&["www.example.com", "Upper.Example.Com"]).own(),
        ];
        let rows = [
            (Some("first.test"), 0),
            (Some("www.example.com"), 2),
            (Some("WWW.Example.COM"), 2),
            (Some("upper.example.com"), 2),
            (Some("api.example.com"), 1),
            (Some("a.deep.example.com"), 1),
            (Some("a.b.example.com"), 0),
            (Some("example.com"), 0),
            (Some("other.test"), 0),
            (Some("com"), 0),
            (Some(""), 0),
            (None, 0),
        ];
        for (name, expected) in rows {
            assert_eq!(shown(&made, name, ANY), Some(expected), "{name:?}");
        }
    }

    #[test]
    fn of_equal_names_the_first_the_client_can_verify() {
        let made = [
            Maker::new(&["example.com"]).own(),
            Maker::new(&["example.com"]).ed25519().own(),
            Maker::new(&["*.com"]).own(),
        ];
        let ask = |schemes: &[SignatureScheme]| shown(&made, Some("example.com"), schemes);
        assert_eq!(ask(ANY), Some(0));
        assert_eq!(ask(&[SignatureScheme::ED25519]), Some(1));
        assert_eq!(ask(&[SignatureScheme::ECDSA_NISTP256_SHA256]), Some(0));
        assert_eq!(ask(&[SignatureScheme::RSA_PSS_SHA256]), Some(0));
        let only_wildcard_fits = [Maker::new(&["example.com"]).ed25519().own(), Maker::new(&["*.com"]).own()];
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        assert_eq!(shown(&only_wildcard_fits, Some("example.com"), &schemes), Some(1));
    }

    #[test]
    fn nothing_to_show() {
        assert_eq!(shown(&[], Some("example.com"), ANY), None);
    }
}
