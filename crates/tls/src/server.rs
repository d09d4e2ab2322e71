//! Handshakes with clients of the gateway.

use std::sync::Arc;

use evergate_contract::config::{self, CipherSuite, Curve, Name, NameTls, TlsVersion};
use rustls::{
    Error, ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{CertTable, ClientRule, Crypto, Sessions, sni::ByName, suite};

/// A browser opens several connections at once, and a ticket is used once (RFC 8446 appendix C.4); each one
/// costs a message in the handshake.
const TICKETS: usize = 2;

/// The settings of one handshake, with what they name.
#[derive(Clone)]
pub struct Terms<'a> {
    /// Lowest version.
    pub min_version: TlsVersion,
    /// Highest version.
    pub max_version: TlsVersion,
    /// The best first; empty: all.
    pub cipher_suites: &'a [CipherSuite],
    /// Groups for the exchange of keys.
    pub curves: &'a [Curve],
    /// What clients are shown.
    pub certificates: Arc<CertTable>,
    /// Who they must be.
    pub client: Option<Arc<ClientRule>>,
    /// Whether and how they resume.
    pub tickets: &'a config::Tickets,
}

impl<'a> Terms<'a> {
    /// Those of a listener.
    #[must_use]
    pub fn of(
        tls: &'a config::ListenerTls,
        certificates: Arc<CertTable>,
        client: Option<Arc<ClientRule>>,
    ) -> Terms<'a> {
        Terms {
            min_version: tls.min_version,
            max_version: tls.max_version,
            cipher_suites: &tls.cipher_suites,
            curves: &tls.curves,
            certificates,
            client,
            tickets: &tls.tickets,
        }
    }

    /// The listener's, where a name has none of its own. What the name has of certificates and rule is for the caller to put in.
    #[must_use]
    pub fn named(&self, name: &'a NameTls) -> Terms<'a> {
        Terms {
            min_version: name.min_version.unwrap_or(self.min_version),
            max_version: name.max_version.unwrap_or(self.max_version),
            cipher_suites: name.cipher_suites.as_deref().unwrap_or(self.cipher_suites),
            ..self.clone()
        }
    }
}

/// How a listener shakes hands under these terms. `alpn` is offered, the first that the client knows is taken, and a
/// client that offers only others is refused.
///
/// # Errors
/// If the cryptography does not go with the TLS versions.
pub fn server_config(
    crypto: &Crypto,
    terms: &Terms<'_>,
    alpn: Vec<Vec<u8>>,
    sessions: &Sessions,
) -> Result<ServerConfig, Error> {
    let provider = suite::provider(crypto.provider(), terms.cipher_suites, terms.curves);
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&suite::versions(terms.min_version, terms.max_version))?;
    let builder = match &terms.client {
        Some(rule) => builder.with_client_cert_verifier(rule.verifier()),
        None => builder.with_no_client_auth(),
    };
    let certificates: Arc<dyn ResolvesServerCert> = Arc::clone(&terms.certificates) as _;
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = alpn;
    // The best of both, and a list that somebody wrote is in the order that they want.
    config.ignore_client_order = true;
    if terms.tickets.enabled {
        let rule = ClientRule::id_of(terms.client.as_deref());
        let rotate = *terms.tickets.rotate;
        config.ticketer = sessions.tickets(rotate, rule);
        config.session_storage = sessions.by_id(rotate, rule);
        config.send_tls13_tickets = TICKETS;
    } else {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// How a listener shakes hands, by the name that a client asks for.
#[derive(Debug)]
pub struct ServerTls {
    default: Arc<Handshake>,
    names: ByName<Option<Arc<Handshake>>>,
    strict: bool,
    sessions: Arc<Sessions>,
}

/// One way to shake hands.
#[derive(Debug)]
pub struct Handshake {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// Who the client must be.
    pub rule: Option<Arc<ClientRule>>,
    certificates: Arc<CertTable>,
}

impl Handshake {
    /// Under these terms; arguments and errors are those of [`server_config`].
    ///
    /// # Errors
    /// If the cryptography does not go with the TLS versions.
    pub fn new(
        crypto: &Crypto,
        terms: &Terms<'_>,
        alpn: Vec<Vec<u8>>,
        sessions: &Sessions,
    ) -> Result<Arc<Handshake>, Error> {
        let config = Arc::new(server_config(crypto, terms, alpn, sessions)?);
        let (rule, certificates) = (terms.client.clone(), Arc::clone(&terms.certificates));
        Ok(Arc::new(Handshake { config, rule, certificates }))
    }
}

impl ServerTls {
    /// `names` have handshakes of their own. `strict`: a client that asks for no name, or for one that is unknown, is refused.
    /// `sessions` are those of all of them, kept as long as this is.
    #[must_use]
    pub fn new(
        default: Arc<Handshake>,
        names: Vec<(Name, Arc<Handshake>)>,
        strict: bool,
        sessions: Arc<Sessions>,
    ) -> ServerTls {
        let mut by_name: ByName<Option<Arc<Handshake>>> = ByName::default();
        for (name, handshake) in names {
            *by_name.entry(&name.to_ascii_lowercase()) = Some(handshake);
        }
        ServerTls { default, names: by_name, strict, sessions }
    }

    /// The handshake for a name that a client asks for. `None`: it is to be told `unrecognized_name` (RFC 6066 §3).
    #[must_use]
    pub fn choose(&self, name: Option<&str>) -> Option<&Arc<Handshake>> {
        let named = name.and_then(|name| self.named(name));
        let known = || name.is_some_and(|name| self.default.certificates.knows(name));
        named.or_else(|| (!self.strict || known()).then_some(&self.default))
    }

    /// Who a client must be to ask for something of this host.
    #[must_use]
    pub fn rule_of(&self, host: &str) -> Option<&Arc<ClientRule>> {
        self.named(host).unwrap_or(&self.default).rule.as_ref()
    }

    /// Who a client must be whose name has no handshake of its own.
    #[must_use]
    pub fn rule(&self) -> Option<&Arc<ClientRule>> {
        self.default.rule.as_ref()
    }

    /// What lets its clients resume.
    #[must_use]
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// The certificates of the default handshake, or of exactly that name or wildcard of the document.
    #[must_use]
    pub fn certificates(&self, pattern: Option<&str>) -> Option<&Arc<CertTable>> {
        let handshake = match pattern {
            None => &self.default,
            Some(pattern) => self.names.get(&pattern.to_ascii_lowercase())?.as_ref()?,
        };
        Some(&handshake.certificates)
    }

    fn named(&self, name: &str) -> Option<&Arc<Handshake>> {
        self.names.find(name).into_iter().flatten().flatten().next()
    }

    /// One configuration for all names, for who cannot look at a client's first words before choosing one: QUIC. Names that ask
    /// clients for something else than the listener does are refused, and come by TCP.
    #[must_use]
    pub fn for_all_names(self: &Arc<Self>) -> ServerConfig {
        let mut config = (*self.default.config).clone();
        config.cert_resolver = Arc::new(AllNames(Arc::clone(self)));
        config
    }
}

/// The certificates of all names under the default's terms.
#[derive(Debug)]
struct AllNames(Arc<ServerTls>);

impl ResolvesServerCert for AllNames {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let AllNames(tls) = self;
        let handshake = tls.choose(hello.server_name())?;
        let same = ClientRule::same(handshake.rule.as_ref(), tls.default.rule.as_ref());
        if same { handshake.certificates.resolve(hello) } else { None }
    }
}

#[cfg(test)]
mod tests;
