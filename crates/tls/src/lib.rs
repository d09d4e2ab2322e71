//! Certificates and handshakes, for both sides of the gateway.
//!
//! From pinned PEM bytes to what rustls wants: [`Credential`] (a chain with its key), [`CertTable`] (which of
//! them a client is shown), [`ClientRule`] (who a client must be), and the configurations of [`server`] and [`client`]
//! handshakes. All of it is made while a snapshot is built. Must not know: sockets, files, who serves or forwards what.

mod by_id;
mod der;
mod ocsp;
mod sessions;
mod suite;
mod tickets;

pub mod client;
pub mod credential;
pub mod peer;
pub mod quic;
pub mod server;
pub mod sni;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use evergate_contract::config::Protocol;
use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
};

pub use client::{ClientError, client_config, server_name};
pub use credential::{Credential, Lapse, Validity};
pub use der::San;
pub use ocsp::OcspError;
pub use peer::{ClientRule, Identity};
pub use quic::quic_config;
pub use server::{Handshake, ServerTls, Terms, server_config};
pub use sessions::Sessions;
pub use sni::CertTable;
pub use tickets::ImportError;

/// What all handshakes share: the cryptography (aws-lc) and the system's authorities. One for the process,
/// passed by reference; nothing is installed as a process-wide default.
#[derive(Debug)]
pub struct Crypto {
    provider: Arc<CryptoProvider>,
    system: OnceLock<Arc<RootCertStore>>,
    reads: AtomicU64,
}

/// A PEM file as the revision pinned it. The path is only for messages.
#[derive(Clone, Copy, Debug)]
pub struct Pem<'a> {
    /// Where the bytes came from.
    pub path: &'a Path,
    /// The content.
    pub bytes: &'a [u8],
}

/// Why a PEM file cannot be used. Never shows its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct PemError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Crypto {
    /// With the authorities of the system yet to be read.
    #[must_use]
    pub fn new() -> Crypto {
        Crypto {
            provider: Arc::new(aws_lc_rs::default_provider()),
            system: OnceLock::new(),
            reads: AtomicU64::new(0),
        }
    }

    /// The cryptography, for who builds a handshake of another kind.
    #[must_use]
    pub fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// How many certificates were read and checked with it.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The system's authorities, read once, at the first call that finds any.
    fn system(&self) -> Result<Arc<RootCertStore>, ClientError> {
        if let Some(roots) = self.system.get() {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A system's bundle may hold what webpki cannot read; one odd authority is no reason to trust none.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why =
                found.errors.first().map_or_else(|| "none are installed".to_owned(), ToString::to_string);
            return Err(ClientError::NoSystemAuthorities(why));
        }
        Ok(Arc::clone(self.system.get_or_init(|| Arc::new(roots))))
    }
}

impl Default for Crypto {
    fn default() -> Crypto {
        Crypto::new()
    }
}

impl Pem<'_> {
    fn error(&self, reason: impl Into<String>) -> PemError {
        PemError { path: self.path.to_owned(), reason: reason.into() }
    }
}

/// The ALPN names of protocols over TCP, in their order (RFC 7301).
#[must_use]
pub fn alpn(protocols: &[Protocol]) -> Vec<Vec<u8>> {
    let name = |protocol: &Protocol| match protocol {
        Protocol::Http1 => Some(b"http/1.1".to_vec()),
        Protocol::Http2 => Some(b"h2".to_vec()),
        Protocol::Http3 => None,
    };
    protocols.iter().filter_map(name).collect()
}

#[cfg(test)]
mod testing;
