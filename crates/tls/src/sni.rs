//! Which certificate a client is shown: name → credential, without a lock.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::Credential;

/// Something for names that clients ask for: exact ones, and wildcards that stand for one label (RFC 9525 §6.3).
#[derive(Debug)]
pub(crate) struct ByName<T> {
    exact: HashMap<Box<str>, T>,
    /// By the name without `*.`.
    wildcard: HashMap<Box<str>, T>,
}

impl<T> ByName<T> {
    /// What is for a pattern, which is in lower case.
    pub(crate) fn entry(&mut self, pattern: &str) -> &mut T
    where
        T: Default,
    {
        let (names, name) = match pattern.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, pattern),
        };
        names.entry(name.into()).or_default()
    }

    /// What was put in for a pattern.
    pub(crate) fn get(&self, pattern: &str) -> Option<&T> {
        match pattern.strip_prefix("*.") {
            Some(parent) => self.wildcard.get(parent),
            None => self.exact.get(pattern),
        }
    }

    /// What is for exactly that name, then what is for its wildcard. In any case of letters.
    pub(crate) fn find(&self, name: &str) -> [Option<&T>; 2] {
        let name = lowercase(name);
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        [self.exact.get(&*name), self.wildcard.get(parent)]
    }
}

impl<T> Default for ByName<T> {
    fn default() -> ByName<T> {
        ByName { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

/// The certificates of a listener by name. An exact name beats a wildcard; for every other name, and for none, it is
/// the first of the list.
///
/// Of several certificates for one name, the first is taken whose key the client can verify: one name may have
/// an ECDSA and an RSA certificate.
#[derive(Debug, Default)]
pub struct CertTable {
    names: ByName<Vec<Arc<Credential>>>,
    all: Vec<Arc<Credential>>,
}

impl CertTable {
    /// In the order of the document: the first one is the default.
    #[must_use]
    pub fn new(all: Vec<Arc<Credential>>) -> CertTable {
        let mut names: ByName<Vec<Arc<Credential>>> = ByName::default();
        for credential in &all {
            for name in &credential.names {
                names.entry(name).push(Arc::clone(credential));
            }
        }
        CertTable { names, all }
    }

    /// True if it was made of the very same certificates in this order.
    #[must_use]
    pub fn is_of(&self, credentials: &[Arc<Credential>]) -> bool {
        self.all.len() == credentials.len()
            && self.all.iter().zip(credentials).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// True if some certificate is for that name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.names.find(name).iter().any(Option::is_some)
    }

    /// The certificate for that name, in any case of letters, and a client that verifies those signatures.
    #[must_use]
    pub fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Credential>> {
        let named = name.map(|name| self.names.find(name)).unwrap_or_default();
        let mut named = named.into_iter().flatten().flatten();
        let first = named.clone().next();
        named
            .find(|credential| credential.key.key.choose_scheme(schemes).is_some())
            .or(first)
            .or(self.all.first())
    }
}

impl ResolvesServerCert for CertTable {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes()).map(|credential| credential.shown())
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
        let table = CertTable::new(credentials.clone());
        let found = table.find(name, schemes)?;
        credentials.iter().position(|credential| Arc::ptr_eq(credential, found))
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
