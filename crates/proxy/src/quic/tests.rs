//! Two generations of a process on one UDP socket, each with a thread of its own as they would have processes.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread::JoinHandle,
};

use aws_lc_rs::digest;
use quinn::{Connection, ConnectionError, crypto::rustls::QuicClientConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{mpsc, oneshot};

use super::*;

const SECRET: [u8; 32] = [9; 32];
const LARGE: usize = 1 << 20;

/// A certificate, and who trusts it.
fn identity() -> (rustls::ServerConfig, quinn::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["test.local".to_owned()]).unwrap();
    let cert = CertificateDer::from(made.cert);
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let crypto = evergate_tls::Crypto::new();
    let versions = [&rustls::version::TLS13];
    let server = rustls::ServerConfig::builder_with_provider(crypto.provider().clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(crypto.provider().clone())
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h3".to_vec()];
    (server, quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap())))
}

/// A process: says its number on each stream, and then what it was told.
struct Generation {
    steering: Arc<Steering>,
    /// Ends it without a word to anybody, as a crash would.
    crash: oneshot::Sender<()>,
    accepted: mpsc::UnboundedReceiver<()>,
    thread: JoinHandle<()>,
}

impl Generation {
    fn start(number: u8, socket: &UdpSocket, tls: &rustls::ServerConfig) -> Generation {
        let steering = Arc::new(Steering::new(number, &SECRET));
        let socket = socket.try_clone().unwrap();
        let (crash, crashed) = oneshot::channel();
        let (tell, accepted) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::channel();
        let own = steering.clone();
        let mut config = ServerConfig::with_crypto(Arc::new(handshake(tls).unwrap()));
        config.transport_config(Arc::new(transport(&Http3::default())));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let endpoint = endpoint_config(&own);
                let socket = Arc::new(Steered::new(socket, None, own).unwrap());
                let runtime = Arc::new(TokioRuntime);
                let endpoint =
                    Endpoint::new_with_abstract_socket(endpoint, Some(config), socket, runtime).unwrap();
                ready.send(()).unwrap();
                let accepting = async {
                    while let Some(incoming) = endpoint.accept().await {
                        let _ = tell.send(());
                        tokio::spawn(async move { echo(number, incoming.await.unwrap()).await });
                    }
                };
                tokio::select! { _ = crashed => {}, () = accepting => {} }
            });
            drop(runtime);
        });
        started.recv().unwrap();
        Generation { steering, crash, accepted, thread }
    }

    fn crash(self) {
        self.crash.send(()).unwrap();
        self.thread.join().unwrap();
    }

    /// How many connections it has taken since the last look.
    fn taken(&mut self) -> usize {
        std::iter::from_fn(|| self.accepted.try_recv().ok()).count()
    }
}

async fn echo(number: u8, connection: Connection) {
    while let Ok((mut send, mut recv)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let told = recv.read_to_end(LARGE).await.unwrap();
            send.write_all(&[number]).await.unwrap();
            send.write_all(&told).await.unwrap();
            send.finish().unwrap();
        });
    }
}

/// Which generation answers, with what it was told.
async fn ask(connection: &Connection, told: &[u8]) -> Result<u8, ConnectionError> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(told).await.unwrap();
    send.finish().unwrap();
    let answer = recv.read_to_end(LARGE + 1).await.map_err(|_| connection.close_reason().unwrap())?;
    let hash = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes).as_ref().to_vec();
    let (number, echoed) = answer.split_first().unwrap();
    assert_eq!((echoed.len(), hash(echoed)), (told.len(), hash(told)));
    Ok(*number)
}

struct Clients {
    endpoint: Endpoint,
    server: SocketAddr,
}

impl Clients {
    async fn connect(&self) -> Connection {
        self.endpoint.connect(self.server, "test.local").unwrap().await.unwrap()
    }
}

fn stage() -> (UdpSocket, rustls::ServerConfig, Clients) {
    let (server, client) = identity();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(client);
    let clients = Clients { endpoint, server: socket.local_addr().unwrap() };
    (socket, server, clients)
}

#[tokio::test]
async fn connections_of_an_old_generation_go_on_while_the_new_one_takes_new_ones() {
    let (socket, tls, clients) = stage();
    let mut old = Generation::start(1, &socket, &tls);
    let mut kept = Vec::new();
    for _ in 0..4 {
        kept.push(clients.connect().await);
    }
    assert_eq!((ask(&kept[0], b"before").await, old.taken()), (Ok(1), 4));

    let mut new = Generation::start(2, &socket, &tls);
    old.steering.hand_over(2);
    let large = vec![7; LARGE];
    for round in 0..30 {
        let fresh = clients.connect().await;
        assert_eq!(ask(&fresh, b"to whom?").await, Ok(2));
        for connection in &kept {
            assert_eq!(ask(connection, format!("round {round}").as_bytes()).await, Ok(1));
        }
        if round % 10 == 0 {
            assert_eq!(ask(&kept[1], &large).await, Ok(1), "an upload and a download");
            assert_eq!(ask(&fresh, &large).await, Ok(2));
        }
    }
    assert_eq!((old.taken(), new.taken()), (0, 30));

    // The new one dies: no connection of the old one has noticed.
    new.crash();
    for connection in &kept {
        assert_eq!(ask(connection, b"after").await, Ok(1));
    }
}

#[tokio::test]
async fn who_had_a_connection_to_a_generation_that_died_is_told() {
    let (socket, tls, clients) = stage();
    let old = Generation::start(1, &socket, &tls);
    let connection = clients.connect().await;
    assert_eq!(ask(&connection, b"before").await, Ok(1));
    old.crash();
    let new = Generation::start(2, &socket, &tls);
    // Not after a timeout: the new one cannot read the packet, but can say that nobody will (RFC 9000 §10.3).
    assert_eq!(ask(&connection, b"after").await, Err(ConnectionError::Reset));
    assert_eq!(ask(&clients.connect().await, b"again").await, Ok(2));
    drop(new);
}

#[tokio::test]
async fn three_generations_at_once() {
    let (socket, tls, clients) = stage();
    let mut living = Vec::new();
    for number in 1..=3 {
        let generation = Generation::start(number, &socket, &tls);
        for (before, _) in &living {
            let before: &Generation = before;
            before.steering.hand_over(number);
        }
        let connection = clients.connect().await;
        living.push((generation, connection));
        for (number, (_, connection)) in (1..).zip(&living) {
            assert_eq!(ask(connection, &[0; 100_000]).await, Ok(number));
        }
    }
}
