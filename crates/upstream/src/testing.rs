//! What the tests of this crate share: a worker, endpoints that follow a script, bodies that come when told.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::Future,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use evergate_contract::{Fault, config::Upstream};
use evergate_kit::{Keep, deadline::Clock};
use evergate_testkit::io::BoxIo;
use evergate_tls::{Crypto, Pem};
use evergate_wire::{Body, BodyError, Frame, Headers, Outbox, Payload, RequestParts, proxy_protocol::Said};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, LocalSet, spawn_local},
};
use tokio_rustls::TlsAcceptor;

use crate::{Build, Cluster, Incoming, Local, Outgoing, send};

/// Runs a test as a worker runs: one thread. Fails if it hangs.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs")
    })
}

/// Lets all that can go on go on: other tasks, and what the kernel has to tell.
pub(crate) async fn settle() {
    for _ in 0..300 {
        tokio::task::yield_now().await;
    }
}

/// A worker.
pub(crate) struct Rig {
    pub(crate) keep: Keep,
    pub(crate) crypto: Crypto,
    pub(crate) clock: Rc<Clock>,
    pub(crate) outbox: Rc<Outbox>,
    pub(crate) local: Local,
    pub(crate) ca: Option<String>,
    /// Runs the outbox, once something is sent.
    sending: OnceCell<JoinHandle<()>>,
    ticking: Option<JoinHandle<()>>,
}

impl Rig {
    /// One whose clock goes.
    pub(crate) fn new() -> Rig {
        let mut rig = Rig::stopped();
        let clock = rig.clock.clone();
        rig.ticking = Some(spawn_local(async move {
            loop {
                clock.tick(Instant::now());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }));
        rig
    }

    /// One whose clock the test moves.
    pub(crate) fn stopped() -> Rig {
        let clock = Clock::new(Instant::now());
        let outbox = Rc::<Outbox>::default();
        let local = Local::new(clock.clone(), outbox.clone(), 0, 1);
        Rig {
            keep: Keep::new(),
            crypto: Crypto::new(),
            clock,
            outbox,
            local,
            ca: None,
            sending: OnceCell::new(),
            ticking: None,
        }
    }

    pub(crate) fn cluster(&self, spec: Value) -> Arc<Cluster> {
        let spec: Arc<Upstream> = Arc::new(serde_json::from_value(spec).expect("an upstream"));
        let path = std::path::Path::new("ca.pem");
        let ca = self.ca.as_ref().map(|pem| Pem { path, bytes: pem.as_bytes() });
        let cx = Build { keep: &self.keep, crypto: &self.crypto, ca, own: None };
        Cluster::build(&"up".into(), &spec, &cx).expect("a cluster")
    }

    /// Lets what is written go out.
    pub(crate) fn start(&self) {
        self.sending.get_or_init(|| spawn_local(self.outbox.clone().run()));
    }

    pub(crate) async fn send(&self, cluster: &Arc<Cluster>, ask: Ask) -> Result<Incoming, Fault> {
        self.start();
        let Ask { parts, body, upgrade, timeout, interim } = ask;
        let informational =
            &mut |status: StatusCode, headers: Headers| interim.borrow_mut().push((status, headers));
        send(
            &self.local,
            cluster,
            Outgoing { parts, body, upgrade, timeout, client: Said::Nothing, informational },
        )
        .await
    }

    /// Sends, and reads the body to its end.
    pub(crate) async fn whole(&self, cluster: &Arc<Cluster>, ask: Ask) -> Result<(u16, String), Fault> {
        let incoming = self.send(cluster, ask).await?;
        let status = incoming.parts.status.as_u16();
        Ok((status, text(incoming.body).await.expect("a whole body")))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.get() {
            sending.abort();
        }
        if let Some(ticking) = &self.ticking {
            ticking.abort();
        }
    }
}

/// A request to send.
pub(crate) struct Ask {
    pub(crate) parts: RequestParts,
    pub(crate) body: Payload,
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) interim: Rc<RefCell<Vec<(StatusCode, Headers)>>>,
}

/// `GET /x`, for the host `gate`.
pub(crate) fn ask(line: &str) -> Ask {
    let (method, uri) = line.split_once(' ').unwrap();
    let parts =
        Request::builder().method(method).uri(uri).header("host", "gate").body(()).unwrap().into_parts().0;
    Ask { parts: parts.into(), body: Payload::Empty, upgrade: None, timeout: None, interim: Rc::default() }
}

impl Ask {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Ask {
        self.parts.headers.append(HeaderName::from_static(name), value.parse::<HeaderValue>().unwrap());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Payload>) -> Ask {
        self.body = body.into();
        self
    }

    pub(crate) fn upgrade(mut self, to: &'static str) -> Ask {
        self.upgrade = Some(HeaderValue::from_static(to));
        self
    }

    pub(crate) fn within(mut self, ms: u64) -> Ask {
        self.timeout = Some(Duration::from_millis(ms));
        self
    }
}

/// A body that comes in pieces, as they are pushed; it ends when the sender is dropped.
pub(crate) fn piped() -> (Pieces, Payload) {
    let (sender, receiver) = unbounded_channel();
    (Pieces(sender), Payload::Stream(Box::new(Piped { receiver, length: None })))
}

/// The same, with a length told beforehand.
pub(crate) fn piped_of(length: u64) -> (Pieces, Payload) {
    let (sender, receiver) = unbounded_channel();
    (Pieces(sender), Payload::Stream(Box::new(Piped { receiver, length: Some(length) })))
}

pub(crate) struct Pieces(UnboundedSender<Result<Frame, BodyError>>);

impl Pieces {
    pub(crate) fn push(&self, text: &'static str) {
        self.0.send(Ok(Frame::Data(Bytes::from_static(text.as_bytes())))).unwrap();
    }

    pub(crate) fn trailer(&self, name: &'static str, value: &'static str) {
        let mut map = HeaderMap::new();
        map.insert(name, HeaderValue::from_static(value));
        self.0.send(Ok(Frame::Trailers(map.into()))).unwrap();
    }

    pub(crate) fn fail(&self, e: BodyError) {
        self.0.send(Err(e)).unwrap();
    }
}

struct Piped {
    receiver: UnboundedReceiver<Result<Frame, BodyError>>,
    length: Option<u64>,
}

impl Body for Piped {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        self.receiver.poll_recv(cx)
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// A whole body, and its trailers behind it in brackets.
pub(crate) async fn text(mut body: Payload) -> Result<String, BodyError> {
    let mut all = String::new();
    while let Some(frame) = body.frame().await {
        match frame? {
            Frame::Data(data) => all.push_str(&String::from_utf8_lossy(&data)),
            Frame::Trailers(map) => all.push_str(&format!("{map:?}")),
        }
    }
    Ok(all)
}

/// An endpoint that does with each connection what its script says.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) seen: Rc<Seen>,
    task: JoinHandle<()>,
}

/// What an endpoint has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: Cell<usize>,
    pub(crate) heads: RefCell<Vec<String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `script` is given each connection with its number from 0; the connection closes when it ends.
    pub(crate) async fn start<F>(script: impl Fn(Peer, usize) -> F + 'static) -> Server
    where
        F: Future<Output = ()> + 'static,
    {
        Server::start_tls(None, script).await
    }

    pub(crate) async fn start_tls<F>(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(Peer, usize) -> F + 'static,
    ) -> Server
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let seen = Rc::new(Seen::default());
        let noted = seen.clone();
        let task = spawn_local(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                let number = noted.connections.get();
                noted.connections.set(number + 1);
                let io: BoxIo = match &tls {
                    None => Box::new(io),
                    Some(config) => match TlsAcceptor::from(config.clone()).accept(io).await {
                        Ok(io) => Box::new(io),
                        Err(_) => continue,
                    },
                };
                spawn_local(script(
                    Peer { io, buf: BytesMut::new(), seen: noted.clone(), requests: 0 },
                    number,
                ));
            }
        });
        Server { url, seen, task }
    }

    /// Says the same to every request, for as long as connections last.
    pub(crate) async fn always(answer: &'static str) -> Server {
        Server::start(move |mut peer, _| async move {
            while peer.head().await.is_some() {
                peer.say(answer).await;
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.get()
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.heads.borrow().clone()
    }
}

/// The other side of a connection.
pub(crate) struct Peer {
    pub(crate) io: BoxIo,
    buf: BytesMut,
    seen: Rc<Seen>,
    requests: usize,
}

impl Peer {
    /// Speaks over a stream that came another way.
    pub(crate) fn over(io: BoxIo) -> Peer {
        Peer { io, buf: BytesMut::new(), seen: Rc::default(), requests: 0 }
    }

    /// Connections that the endpoint has seen so far.
    pub(crate) fn seen_connections(&self) -> usize {
        self.seen.connections.get()
    }

    /// Requests on this connection so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// The connection, for who speaks another protocol.
    pub(crate) fn into_io(self) -> BoxIo {
        self.io
    }

    /// The next request's head; nothing if the connection ends.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let head = self.until("\r\n\r\n").await?;
        self.requests += 1;
        self.seen.heads.borrow_mut().push(head.clone());
        Some(head)
    }

    /// All up to and with the text.
    pub(crate) async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.buf.windows(end.len()).position(|w| w == end.as_bytes()) {
                return Some(String::from_utf8(self.buf.split_to(at + end.len()).to_vec()).unwrap());
            }
            if self.io.read_buf(&mut self.buf).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// So many bytes of text.
    pub(crate) async fn take(&mut self, n: usize) -> String {
        String::from_utf8(self.take_bytes(n).await).unwrap()
    }

    /// So many bytes.
    pub(crate) async fn take_bytes(&mut self, n: usize) -> Vec<u8> {
        while self.buf.len() < n {
            assert_ne!(self.io.read_buf(&mut self.buf).await.unwrap(), 0, "closed too early");
        }
        self.buf.split_to(n).to_vec()
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.say_bytes(text.as_bytes()).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        // The gateway may have gone away; what it says to that is what the test looks at.
        let _ = self.io.write_all(bytes).await;
        let _ = self.io.flush().await;
    }

    /// Stays until the other side goes.
    pub(crate) async fn stay(mut self) {
        while matches!(self.io.read_buf(&mut self.buf).await, Ok(n) if n > 0) {}
    }
}
