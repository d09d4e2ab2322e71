//! One handshake, looked at from the client's side: what both agreed on.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, Error, HandshakeKind, NamedGroup, ProtocolVersion,
    SignatureScheme,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption, Tls13ClientSessionValue,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{SupportedKxGroup, aws_lc_rs},
    version::TLS12,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::Authority;

const PATIENCE: Duration = Duration::from_secs(20);

/// What was agreed on, and what an answer was after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Version of TLS.
    pub version: ProtocolVersion,
    /// Cipher suite.
    pub suite: CipherSuite,
    /// Group in which keys were exchanged; none where a TLS 1.2 session was resumed.
    pub group: Option<NamedGroup>,
    /// No full handshake was needed.
    pub resumed: bool,
    /// The server's certificate, as DER.
    pub leaf: Vec<u8>,
    /// Status of `GET /`.
    pub status: u16,
}

/// Connects, asks for `/` at that name, and hangs up.
///
/// # Errors
/// In rustls's words, if the handshake or the request fails.
pub async fn look(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Result<Seen, String> {
    look_at(address, config, name, name).await
}

/// The same with a `Host` that is not the name that the handshake asks for.
///
/// # Errors
/// As [`look`].
pub async fn look_at(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
    host: &str,
) -> Result<Seen, String> {
    let seen = timeout(PATIENCE, look_now(address, config, name, host)).await;
    seen.map_err(|_| "nothing came for twenty seconds".to_owned())?.map_err(|error| error.to_string())
}

async fn look_now(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
    host: &str,
) -> std::io::Result<Seen> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let mut tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await?;
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let state = tls.get_ref().1;
    Ok(Seen {
        version: state.protocol_version().expect("a version"),
        suite: state.negotiated_cipher_suite().expect("a suite").suite(),
        group: state.negotiated_key_exchange_group().map(SupportedKxGroup::name),
        resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        leaf: state.peer_certificates().and_then(<[_]>::first).map(|leaf| leaf.to_vec()).unwrap_or_default(),
        status: status.ok_or_else(|| std::io::Error::other("no HTTP answer"))?,
    })
}

/// Takes any certificate, and keeps what was stapled to the last one (RFC 6960).
#[derive(Debug, Default)]
pub struct Stapled(Mutex<Vec<u8>>);

impl Stapled {
    /// For clients that do so.
    #[must_use]
    pub fn client(self: &Arc<Self>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("TLS versions");
        let mut config =
            builder.dangerous().with_custom_certificate_verifier(Arc::clone(self) as _).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// The response, empty if there was none.
    #[must_use]
    pub fn last(&self) -> Vec<u8> {
        self.0.lock().expect("no panic").clone()
    }
}

/// An HTTP/1.1 client that takes no tickets, and resumes by session id (TLS 1.2).
#[must_use]
pub fn by_id_only(authority: &Authority) -> Arc<ClientConfig> {
    let sessions = Resumption::in_memory_sessions(8);
    resuming(authority, sessions.tls12_resumption(Tls12Resumption::SessionIdOnly))
}

/// An HTTP/1.1 client that brings the first TLS 1.2 ticket of a server again at each connection, and forgets all later ones.
#[must_use]
pub fn first_ticket_only(authority: &Authority) -> Arc<ClientConfig> {
    resuming(authority, Resumption::store(Arc::new(FirstTicket::default())))
}

fn resuming(authority: &Authority, how: Resumption) -> Arc<ClientConfig> {
    let mut config = authority.client_of(&[&TLS12]);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = how;
    Arc::new(config)
}

#[derive(Debug, Default)]
struct FirstTicket(Mutex<Option<Tls12ClientSessionValue>>);

impl ClientSessionStore for FirstTicket {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.lock().expect("no panic").get_or_insert(session);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.lock().expect("no panic").clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

impl ServerCertVerifier for Stapled {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().expect("no panic") = ocsp_response.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
