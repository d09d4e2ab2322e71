//! Handshakes within QUIC (RFC 9001): those of the listener's TLS, with what QUIC asks for.

use std::sync::Arc;

use rustls::{
    Error, ServerConfig, Tls13CipherSuite,
    crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    quic::{ServerConnection, Suite, Version},
};

/// How HTTP/3 shakes hands on a listener whose TLS is `tls`, and what first packets are sealed with (RFC 9001 §5.2).
/// Nothing is taken before the handshake is done: it could be sent again by somebody else.
///
/// # Errors
/// If that TLS may not be 1.3, or has no cipher suite for QUIC.
pub fn quic_config(tls: &ServerConfig) -> Result<(Arc<ServerConfig>, Suite), Error> {
    let mut config = tls.clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    config.max_early_data_size = 0;
    let config = Arc::new(config);
    // The first connection would find out what is missing; who is to be told is here now.
    ServerConnection::new(config.clone(), Version::V1, Vec::new())?;
    let initial = TLS13_AES_128_GCM_SHA256.tls13().and_then(Tls13CipherSuite::quic_suite);
    Ok((config, initial.ok_or(Error::General("no cipher suite for first packets".to_owned()))?))
}
