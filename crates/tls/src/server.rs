//! Handshakes with clients of the gateway.

use std::{fmt, sync::Arc};

use evergate_contract::config::{ListenerTls, Protocol, TlsVersion};
use rustls::{
    Error, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::Ticketer,
    server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions},
    version::{TLS12, TLS13},
};

use crate::{CertTable, Credential, Crypto, alpn};

/// What lets clients resume a session: kept by the listener's name, so that neither a new certificate nor
/// any other change costs them a full handshake. Not to be shared between listeners.
pub struct Sessions {
    tickets: Arc<dyn ProducesTickets>,
    cache: Arc<dyn StoresServerSessions>,
}

/// Sessions remembered for clients that take no tickets (TLS 1.2 session ids), about 200 bytes each.
const CACHED_SESSIONS: usize = 4096;

/// A browser opens several connections at once, and a ticket is used once (RFC 8446 appendix C.4); each one
/// costs a message in the handshake.
const TICKETS: usize = 2;

impl Sessions {
    /// With new ticket keys. They change by themselves every six hours and live for twelve.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new() -> Result<Sessions, Error> {
        Ok(Sessions { tickets: Ticketer::new()?, cache: ServerSessionMemoryCache::new(CACHED_SESSIONS) })
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// How a listener shakes hands. `credentials` are those that `tls` names, in its order; `protocols` are offered
/// by ALPN, the first that the client knows is taken, and a client that offers only others is refused.
///
/// # Errors
/// If the cryptography does not go with the TLS versions.
pub fn server_config(
    crypto: &Crypto,
    tls: &ListenerTls,
    credentials: &[Arc<Credential>],
    protocols: &[Protocol],
    sessions: &Sessions,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(crypto.provider()));
    let mut config = builder
        .with_protocol_versions(versions(tls.min_version))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(CertTable::new(credentials)));
    config.alpn_protocols = alpn(protocols);
    config.ticketer = Arc::clone(&sessions.tickets);
    config.session_storage = Arc::clone(&sessions.cache);
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static FROM_13: &[&SupportedProtocolVersion] = &[&TLS13];
    match least {
        TlsVersion::V1_2 => FROM_12,
        TlsVersion::V1_3 => FROM_13,
    }
}

#[cfg(test)]
mod tests;
