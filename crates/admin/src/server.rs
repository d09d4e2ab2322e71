//! The server of the API: its sockets are settings like any other, moved without losing a call.
//!
//! A change binds what it needs first ([`Admin::prepare`]); the switch ([`Admin::adopt`]) cannot fail. Calls
//! that are under way on a socket that goes are answered, then their connections close; event streams end.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{Router, response::Response};
use evergate_contract::config;
use evergate_kit::Fds;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
    sync::{Semaphore, broadcast, watch},
};

use crate::{
    access::{Access, Via},
    bind::{self, BindError, TcpSocket, UnixSocket},
    health::{self, HealthChange},
};

/// Connections that one socket serves at once; further ones wait in its backlog.
const CONNECTIONS_MAX: usize = 512;
/// For the head of a request; an idle connection is closed after the same time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Read buffer of a connection, and so the bound on a request's head.
const BUFFER_MAX: usize = 64 << 10;
/// Pause after an `accept` that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The file in the data directory that says where the API is.
const WHEREABOUTS: &str = "admin.json";

/// The admin API as a server. Clones are the same server.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    fds: Fds,
    data_dir: PathBuf,
    doors: Mutex<Doors>,
    started: Instant,
    access: watch::Sender<Access>,
    phase: watch::Sender<Phase>,
    health: broadcast::Sender<HealthChange>,
    router: watch::Sender<Option<Router>>,
}

/// Whether the gateway wants new work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It does.
    #[default]
    Serving,
    /// It is going down.
    Draining,
}

#[derive(Default)]
struct Doors {
    tcp: Option<Door<SocketAddr, TcpSocket>>,
    unix: Option<Door<PathBuf, UnixSocket>>,
}

/// A socket that takes calls. Dropping it closes the socket; its connections finish what they do.
struct Door<W, L> {
    /// As the document has it; a port of 0 stays 0 here.
    wanted: W,
    socket: Arc<L>,
    state: watch::Sender<DoorState>,
}

/// What the connections of a door are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DoorState {
    closed: bool,
    /// Connections of an older epoch finish what they do and close.
    epoch: u64,
}

/// What a change of the admin settings needs, bound and ready. Dropping it undoes all.
#[must_use]
pub struct Prepared {
    access: Access,
    tcp: Option<(SocketAddr, TcpSocket)>,
    unix: Option<(PathBuf, UnixSocket)>,
}

/// Where a running gateway's API is, as its data directory says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The process.
    pub pid: u32,
    /// The Unix socket.
    pub socket: PathBuf,
    /// The TCP address; a port of 0 in the document is a real one here.
    pub address: SocketAddr,
}

impl Whereabouts {
    /// Reads where the gateway of a data directory is. It may be gone since.
    ///
    /// # Errors
    /// `NotFound` if no gateway runs on it.
    pub fn read(data_dir: &Path) -> io::Result<Whereabouts> {
        serde_json::from_slice(&fs::read(data_dir.join(WHEREABOUTS))?).map_err(io::Error::from)
    }

    fn write(&self, data_dir: &Path) -> io::Result<()> {
        let draft = data_dir.join(".admin.json.new");
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::rename(draft, data_dir.join(WHEREABOUTS))
    }
}

/// What a handler may know of the connection that a call came on.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) via: Via,
    /// Who, as far as the socket tells: an address, or `uid 1000`.
    pub(crate) name: Arc<str>,
    door: watch::Receiver<DoorState>,
    epoch: u64,
}

impl Caller {
    /// Completes when the connection should end soon.
    pub(crate) async fn asked_to_go(mut self) {
        let epoch = self.epoch;
        let _ = self.door.wait_for(|s| s.closed || s.epoch != epoch).await;
    }
}

impl Admin {
    /// A server without sockets. Its connections run on `runtime`; relative to `data_dir` is the socket that a
    /// document does not name, and the note that tells the command line where to call. Sockets in `fds` are taken in
    /// place of new ones.
    #[must_use]
    pub fn new(runtime: Handle, fds: Fds, data_dir: PathBuf) -> Admin {
        let inner = Inner {
            runtime,
            fds,
            data_dir,
            doors: Mutex::default(),
            started: Instant::now(),
            access: watch::Sender::new(Access::default()),
            phase: watch::Sender::new(Phase::default()),
            health: broadcast::Sender::new(health::BEHIND_MAX),
            router: watch::Sender::new(None),
        };
        Admin { inner: Arc::new(inner) }
    }

    /// Binds what the settings ask for and this server has not. What is served stays untouched.
    ///
    /// # Errors
    /// If a socket cannot be had.
    pub fn prepare(&self, settings: &config::Admin) -> Result<Prepared, BindError> {
        let _runtime = self.inner.runtime.enter();
        let address = settings.address.0;
        let path = match &settings.socket {
            Some(path) => path.as_path().to_owned(),
            None => self.inner.data_dir.join("evergate.sock"),
        };
        let doors = self.doors();
        let tcp = match &doors.tcp {
            Some(door) if door.wanted == address => None,
            own => {
                Some((address, bind::tcp(address, own.as_ref().map(|d| d.socket.as_ref()), &self.inner.fds)?))
            }
        };
        let unix = match &doors.unix {
            Some(door) if door.wanted == path => None,
            _ => Some((path.clone(), bind::unix(&path, &self.inner.fds)?)),
        };
        Ok(Prepared { access: Access::new(settings.token.as_ref()), tcp, unix })
    }

    /// Switches to what was prepared. A changed token counts from the next request of every connection.
    pub fn adopt(&self, prepared: Prepared) {
        let _runtime = self.inner.runtime.enter();
        let mut doors = self.doors();
        let access_changed = self.inner.access.send_if_modified(|old| {
            let changed = *old != prepared.access;
            *old = prepared.access;
            changed
        });
        if access_changed && let Some(door) = &doors.tcp {
            // Event streams that an old token opened end too.
            door.state.send_modify(|s| s.epoch += 1);
        }
        let moved = prepared.tcp.is_some() || prepared.unix.is_some();
        if let Some((wanted, socket)) = prepared.tcp {
            doors.tcp = Some(self.open(wanted, socket));
        }
        if let Some((wanted, socket)) = prepared.unix {
            doors.unix = Some(self.open(wanted, socket));
        }
        if moved || access_changed {
            self.announce(&doors);
        }
    }

    /// Answers calls by these routes from now on; calls that came earlier waited.
    pub(crate) fn answer_by(&self, router: Router) {
        self.inner.router.send_replace(Some(router));
    }

    /// Says on `/readyz` that the gateway wants no new work. It goes on answering.
    pub fn drain(&self) {
        self.inner.phase.send_replace(Phase::Draining);
    }

    /// Tells the event streams. Does not block.
    pub fn health_changed(&self, change: HealthChange) {
        // Nobody may be listening.
        let _ = self.inner.health.send(change);
    }

    pub(crate) fn health(&self) -> broadcast::Receiver<HealthChange> {
        self.inner.health.subscribe()
    }

    pub(crate) fn started(&self) -> Instant {
        self.inner.started
    }

    pub(crate) fn phase(&self) -> watch::Receiver<Phase> {
        self.inner.phase.subscribe()
    }

    pub(crate) fn access(&self) -> watch::Receiver<Access> {
        self.inner.access.subscribe()
    }

    /// Where it can be called, once something was adopted.
    #[must_use]
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        whereabouts(&self.doors())
    }

    /// Stops taking calls, and completes when those under way are answered.
    pub async fn close(&self) {
        let Doors { tcp, unix } = std::mem::take(&mut *self.doors());
        // The process that has taken over has written its own.
        if !self.inner.fds.has_left() {
            let _ = fs::remove_file(self.inner.data_dir.join(WHEREABOUTS));
        }
        tokio::join!(close(tcp), close(unix));
        self.inner.router.send_replace(None);
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.inner.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open<W, L: Listener>(&self, wanted: W, socket: L) -> Door<W, L> {
        let socket = Arc::new(socket);
        let state = watch::Sender::new(DoorState::default());
        let router = self.inner.router.subscribe();
        tokio::spawn(accept_all(Arc::clone(&socket), router, state.subscribe()));
        Door { wanted, socket, state }
    }

    fn announce(&self, doors: &Doors) {
        let Some(found) = whereabouts(doors) else { return };
        if let Err(error) = found.write(&self.inner.data_dir) {
            let folder = self.inner.data_dir.display();
            tracing::warn!(%error, %folder, "the command line will not find the admin API by itself");
        }
        if !found.address.ip().is_loopback() && self.inner.access.borrow().is_open() {
            let address = found.address;
            tracing::warn!(%address, "the admin API is open to all who reach it: set `admin.token`");
        }
    }
}

fn whereabouts(doors: &Doors) -> Option<Whereabouts> {
    let address = doors.tcp.as_ref()?.socket.listener.local_addr().ok()?;
    Some(Whereabouts { pid: std::process::id(), socket: doors.unix.as_ref()?.wanted.clone(), address })
}

/// Completes when the last connection has ended.
async fn close<W, L>(door: Option<Door<W, L>>) {
    let Some(door) = door else { return };
    let state = door.state.clone();
    drop(door);
    state.closed().await;
}

impl<W, L> Drop for Door<W, L> {
    fn drop(&mut self) {
        self.state.send_modify(|s| s.closed = true);
    }
}

/// A socket that connections come from.
trait Listener: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    const VIA: Via;

    /// The next connection, and who it is.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Arc<str>)>> + Send;
}

impl Listener for TcpSocket {
    type Stream = tokio::net::TcpStream;
    const VIA: Via = Via::Tcp;

    async fn next(&self) -> io::Result<(Self::Stream, Arc<str>)> {
        let (stream, peer) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, peer.ip().to_string().into()))
    }
}

impl Listener for UnixSocket {
    type Stream = tokio::net::UnixStream;
    const VIA: Via = Via::Unix;

    async fn next(&self) -> io::Result<(Self::Stream, Arc<str>)> {
        let (stream, _) = self.listener.accept().await?;
        let who = stream.peer_cred().map_or("unix".to_owned(), |c| format!("uid {}", c.uid()));
        Ok((stream, who.into()))
    }
}

/// Serves each connection until the door closes; then those that are in the backlog, and no more.
async fn accept_all<L: Listener>(
    socket: Arc<L>,
    router: watch::Receiver<Option<Router>>,
    door: watch::Receiver<DoorState>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut closing = door.clone();
    let mut closing = pin!(closing.wait_for(|s| s.closed));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            biased;
            accepted = socket.next() => accepted,
            _ = &mut closing => return,
        };
        match accepted {
            Ok((stream, name)) => {
                let epoch = door.borrow().epoch;
                let caller = Caller { via: L::VIA, name, door: door.clone(), epoch };
                let router = router.clone();
                tokio::spawn(async move {
                    serve(stream, caller, router).await;
                    drop(place);
                });
            }
            Err(error) if ends_one(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the admin API cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// True if the error is that of one connection, not of the socket.
fn ends_one(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::Interrupted | K::NotConnected | K::InvalidInput
    )
}

async fn serve<S>(stream: S, caller: Caller, mut router: watch::Receiver<Option<Router>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let api = match router.wait_for(Option::is_some).await.map(|r| r.clone()) {
        Ok(Some(router)) => TowerToHyperService::new(router),
        _ => return,
    };
    let going = caller.clone().asked_to_go();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        let answer = api.call(request);
        async move { Ok::<Response, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_MAX);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = going => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection ended");
    }
}

#[cfg(test)]
mod tests;
