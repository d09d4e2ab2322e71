//! A backend that does what the request tells it to, and remembers who asked.
//!
//! It speaks HTTP/1.1 and HTTP/2, in clear text or over TLS, and chooses by the client's first bytes or ALPN.
//! The request says in `x-do` how to behave; without it the backend echoes what it was asked as JSON:
//!
//! | `x-do` | behaviour |
//! |---|---|
//! | `status 404` | that status, with an empty body |
//! | `slow 300` | echoes after so many milliseconds |
//! | `bytes 100000` | so many bytes of noise, their hash in `x-hash` |
//! | `return` | sends the request's body back as it comes |
//! | `hold` | answers once [`Backend::release`] is called |
//! | `events` | a server-sent event, then one for each [`Backend::release`]; three in all |
//! | `stall` | half of a body, then nothing |
//! | `trailers` | echoes with trailers |
//! | `hints` | `103` with a `link`, then echoes |
//! | `early 413` | that status before the body was read, then closes |
//! | `close` | closes without an answer |
//! | `goaway` | HTTP/2: echoes and closes the connection politely |
//! | `raw name` | the bytes given to [`Backend::script`], then closes |

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    h1::Fields,
    io::{BoxIo, speaks_h2},
    ports,
};

mod http1;
mod http2;

/// Requests that are remembered.
const SEEN_MAX: usize = 100_000;

/// A running backend. It ends, with its connections, when this is dropped.
pub struct Backend {
    /// Its address.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
    tls: Option<Arc<ServerConfig>>,
}

struct Shared {
    name: String,
    requests: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    seen: Mutex<Vec<Value>>,
    scripts: Mutex<BTreeMap<String, Vec<u8>>>,
    released: watch::Sender<usize>,
    health: watch::Sender<u16>,
}

impl Backend {
    /// In clear text on a free port of its own. It says its name in `x-backend`.
    pub async fn start(name: &str) -> Backend {
        Backend::anywhere(name, None).await
    }

    /// Over TLS.
    pub async fn start_tls(name: &str, tls: Arc<ServerConfig>) -> Backend {
        Backend::anywhere(name, Some(tls)).await
    }

    async fn anywhere(name: &str, tls: Option<Arc<ServerConfig>>) -> Backend {
        let listener = ports::listen().await;
        let mut backend = Backend::made(name, listener.local_addr().expect("an address"), tls);
        backend.take(listener);
        backend
    }

    /// At a given address. Panics if it is taken.
    pub async fn serve(name: &str, address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Backend {
        let mut backend = Backend::made(name, address, tls);
        backend.open().await;
        backend
    }

    fn made(name: &str, address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Backend {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            seen: Mutex::default(),
            scripts: Mutex::default(),
            released: watch::channel(0).0,
            health: watch::channel(200).0,
        });
        Backend { address, shared, task: None, tls }
    }

    /// Starts to listen again after [`Backend::stop`], at the same address.
    pub async fn open(&mut self) {
        self.take(TcpListener::bind(self.address).await.expect("a free address"));
    }

    fn take(&mut self, listener: TcpListener) {
        self.address = listener.local_addr().expect("an address");
        let shared = Arc::clone(&self.shared);
        self.task = Some(tokio::spawn(accept(listener, shared, self.tls.clone())));
    }

    /// Stops listening and drops all connections.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its host name and port, with a name that a certificate can be made for.
    #[must_use]
    pub fn named_url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Requests that have come, health checks aside.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// Connections that have come.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// What was asked, as it is echoed, and forgets it.
    #[must_use]
    pub fn take_seen(&self) -> Vec<Value> {
        std::mem::take(&mut self.shared.seen.lock().expect("no panic"))
    }

    /// Bytes for `x-do: raw <name>`.
    pub fn script(&self, name: &str, bytes: &[u8]) {
        self.shared.scripts.lock().expect("no panic").insert(name.to_owned(), bytes.to_vec());
    }

    /// Lets every request that holds go on by one step.
    pub fn release(&self) {
        self.shared.released.send_modify(|n| *n += 1);
    }

    /// The status of `/health`.
    pub fn health(&self, status: u16) {
        self.shared.health.send_replace(status);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// An address that takes no connection and refuses none: the queue of a socket that nobody accepts from is full.
pub struct Silent {
    /// Where.
    pub address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    /// Fills a queue.
    pub async fn start() -> Silent {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free address");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        // The kernel sends the first packet again after a second: who is not taken by then waits for that.
        while let Ok(Ok(tcp)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            waiting.push(tcp);
        }
        Silent { address, _listener: listener, _waiting: waiting }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => if let Ok((tcp, _)) = taken {
                shared.connections.fetch_add(1, Ordering::AcqRel);
                connections.spawn(connection(tcp, Arc::clone(&shared), tls.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Counts an open connection while it lives.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn connection(tcp: TcpStream, shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) {
    shared.open.fetch_add(1, Ordering::AcqRel);
    let open = Open(Arc::clone(&shared));
    let _ = tcp.set_nodelay(true);
    let io: BoxIo = match tls {
        None => Box::new(tcp),
        Some(config) => match TlsAcceptor::from(config).accept(tcp).await {
            Ok(tls) => Box::new(tls),
            Err(_) => return,
        },
    };
    // A client that goes away in the middle is no fault of the backend.
    if let Ok((h2, io)) = speaks_h2(io).await {
        let _ = if h2 { http2::serve(&shared, io).await } else { http1::serve(&shared, io).await };
    }
    drop(open);
}

/// A request, whatever it came by.
struct Asked {
    method: String,
    target: String,
    version: &'static str,
    fields: Fields,
}

impl Asked {
    /// The words of `x-do`.
    fn act(&self) -> (&str, &str) {
        let act = self.fields.get("x-do").unwrap_or("echo");
        act.split_once(' ').unwrap_or((act, ""))
    }

    /// The number in `x-do`.
    fn number(&self) -> usize {
        self.act().1.parse().unwrap_or(0)
    }

    /// What is echoed of the head.
    fn json(&self, shared: &Shared) -> Value {
        let mut fields: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.fields.0 {
            fields.entry(name.to_ascii_lowercase()).or_default().push(value);
        }
        json!({
            "backend": shared.name,
            "method": self.method,
            "target": self.target,
            "version": self.version,
            "fields": fields,
        })
    }
}

impl Shared {
    /// Counts and remembers; says the status of a health check if it is one.
    fn note(&self, asked: &Asked) -> Option<u16> {
        if asked.target == "/health" {
            return Some(*self.health.borrow());
        }
        self.requests.fetch_add(1, Ordering::AcqRel);
        let mut seen = self.seen.lock().expect("no panic");
        if seen.len() < SEEN_MAX {
            seen.push(asked.json(self));
        }
        None
    }

    /// Waits for so many further calls of [`Backend::release`] after `from`.
    async fn until(&self, from: usize, steps: usize) {
        let _ = self.released.subscribe().wait_for(|n| *n >= from + steps).await;
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.add("x-backend", &self.name);
        fields
    }
}

/// The echo of a whole request.
fn echo(shared: &Shared, asked: &Asked, length: usize, hash: u64, trailers: &Fields) -> Vec<u8> {
    let mut echo = asked.json(shared);
    echo["body_length"] = json!(length);
    echo["body_hash"] = json!(hash.to_string());
    echo["trailers"] = trailers.0.iter().map(|(n, v)| (n.to_ascii_lowercase(), json!(v))).collect();
    let mut text = echo.to_string().into_bytes();
    text.push(b'\n');
    text
}
