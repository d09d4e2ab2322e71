//! HTTP/3 of the data plane by itself: its end.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, outside of test functions")]

use std::{net::SocketAddr, path::Path, sync::Arc};

use evergate_conf::{FileId, Format, Limits};
use evergate_contract::status::Running;
use evergate_proxy::{Before, Gateway, Plane};
use evergate_reload::{Build, Generation, Inputs, Plan, RevisionId, inputs::Content};
use quinn::{Connection, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls_pki_types::CertificateDer;

/// A plane that stands for a process. It answers everything with one text.
struct Process {
    _plane: Plane,
    gateway: Arc<Gateway>,
    _control: tokio::runtime::Runtime,
}

impl Process {
    fn start(folder: &Path, says: &str) -> Process {
        let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let control = control.unwrap();
        let mut plane = Plane::new(control.handle().clone(), Before::default(), Arc::new(|_| {})).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let document = format!(
            "workers: 2\n\
             listeners: {{ web: {{ address: '127.0.0.1:0', protocols: [h3, h2], tls: {{ certificates: [c] }} }} }}\n\
             certificates: {{ c: {{ cert: '{}', key: '{}' }} }}\n\
             routes: {{ all: {{ respond: {{ body: '{says}' }} }} }}\n",
            cert.display(),
            key.display(),
        );
        let document =
            evergate_conf::format::parse(&document, Format::Yaml, FileId::NONE, &Limits::default());
        let document = document.expect("the test's own document");
        let config = Arc::new(evergate_contract::check(&document, None).expect("a sound document"));
        let mut inputs = Inputs::new();
        for path in [&cert, &key] {
            inputs.insert(path.as_path(), Content::of_file(path, None));
        }
        let id = RevisionId::new(1, document.digest());
        let mut prepare = || {
            plane.prepare(Build {
                id,
                config: &config,
                document: &document,
                inputs: &inputs,
                plan: &Plan::default(),
                live: None,
                generation: Generation::detached(id),
            })
        };
        // What the system gives for TCP may be somebody's for UDP.
        let prepared = (0..20).find_map(|_| prepare().ok()).expect("a snapshot");
        plane.publish(prepared);
        Process { gateway: plane.gateway(), _plane: plane, _control: control }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.listeners()[0].address.parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.gateway.stop();
    }
}

fn client(folder: &Path) -> Endpoint {
    let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = QuicClientConfig::try_from(config).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    endpoint
}

async fn connect(endpoint: &Endpoint, to: SocketAddr) -> Connection {
    endpoint.connect(to, "a").unwrap().await.unwrap()
}

/// `GET /`; the body of the answer, which has one frame of data.
async fn ask(connection: &Connection) -> Result<String, ConnectionError> {
    let gone = |_| connection.close_reason().expect("only a lost connection fails");
    let (mut send, mut recv) = connection.open_bi().await?;
    let _ = send.write_all(b"\x01\x08\x00\x00\xd1\xd7\xc1\x50\x01a").await;
    let _ = send.finish();
    let answer = match recv.read_to_end(4096).await {
        Ok(answer) => answer,
        // Turned away untouched: the connection is about to close.
        Err(_) if connection.close_reason().is_none() => return Err(connection.closed().await),
        Err(error) => return Err(gone(error)),
    };
    let head = 2 + usize::from(answer[1] & 0x3f);
    let head = if answer[1] < 0x40 {
        head
    } else {
        3 + (usize::from(answer[1] & 0x3f) << 8) + usize::from(answer[2])
    };
    Ok(String::from_utf8_lossy(&answer[head + 2..]).into_owned())
}

fn is_goodbye(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == 0x100_u32.into())
}

#[tokio::test]
async fn who_is_cut_off_at_the_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = client(folder.path());
    let process = Process::start(folder.path(), "one");
    let connection = connect(&endpoint, process.address()).await;
    assert_eq!(ask(&connection).await, Ok("one".to_owned()));
    // Its threads are waited for.
    tokio::task::spawn_blocking(move || drop(process)).await.unwrap();
    let end = connection.closed().await;
    assert!(is_goodbye(&end), "{end}");
}
