//! Many TLS connections with one request each, one after the other on several lines: new sessions, or resumed ones.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// What is done.
#[derive(Clone)]
pub struct Plan {
    /// Who is asked.
    pub address: SocketAddr,
    /// The name that is asked for.
    pub name: String,
    /// Lines at once.
    pub lines: usize,
    /// For how long.
    pub takes: Duration,
    /// Take up earlier sessions.
    pub resumes: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Connections with a whole answer of status 200.
    pub answered: u64,
    /// Of these, with a session of an earlier one.
    pub resumed: u64,
    /// Connections without, by why.
    pub failed: Vec<String>,
    /// From the start to the last answer.
    pub took: Duration,
}

/// Runs it on the current thread, with a runtime of its own. Speaks TLS 1.3 and HTTP/1.1 only.
///
/// The certificate is not verified: that is work of the client, which shares its core with the backend.
///
/// # Errors
/// If there is no runtime to be had.
pub fn run(plan: &Plan) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (start, end) = (Instant::now(), Instant::now() + plan.takes);
    // Each line keeps its own sessions: from a store for all, those that begin at the same time take more than is there.
    let lines = (0..plan.lines).map(|_| line(plan.clone(), Arc::new(config(plan.resumes)), end));
    let set: tokio::task::JoinSet<Outcome> = {
        let _inside = runtime.enter();
        lines.collect()
    };
    let outcomes = runtime.block_on(set.join_all());
    let mut sum = Outcome { took: start.elapsed(), ..Outcome::default() };
    for one in outcomes {
        sum.answered += one.answered;
        sum.resumed += one.resumed;
        sum.failed.extend(one.failed);
    }
    Ok(sum)
}

fn config(resumes: bool) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(schemes)));
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if resumes { Resumption::in_memory_sessions(64) } else { Resumption::disabled() };
    config
}

async fn line(plan: Plan, config: Arc<ClientConfig>, end: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    while Instant::now() < end && outcome.failed.len() < 10 {
        match one(&plan, &config).await {
            Ok(resumed) => {
                outcome.answered += 1;
                outcome.resumed += u64::from(resumed);
            }
            Err(error) => outcome.failed.push(error.to_string()),
        }
    }
    outcome
}

async fn one(plan: &Plan, config: &Arc<ClientConfig>) -> std::io::Result<bool> {
    let tcp = TcpStream::connect(plan.address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(plan.name.clone()).map_err(std::io::Error::other)?;
    let mut tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", plan.name);
    tls.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    match tls.read_to_end(&mut answer).await {
        Ok(_) => {}
        // Without the closing alert, but the answer says itself how long it is.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(e) => return Err(e),
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let start = answer.get(..answer.len().min(40)).unwrap_or_default();
        return Err(std::io::Error::other(format!("answer: {:?}", String::from_utf8_lossy(start))));
    }
    Ok(tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
}

/// Takes any certificate.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
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
        self.0.clone()
    }
}
