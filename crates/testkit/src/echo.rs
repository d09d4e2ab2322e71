//! A backend that speaks no HTTP: it says its name, then says again what it hears; and a client for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    client::{Door, Failure},
    io::BoxIo,
    ports,
};

/// Longer than anything that is not hanging.
const PATIENCE: Duration = Duration::from_secs(20);
/// The piece that is sent back at once.
const PIECE: usize = 16 << 10;

/// A backend: greets with its name and a line end, then echoes. When the client has said all, so has it.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    name: String,
    tls: Option<Arc<ServerConfig>>,
    counts: Arc<Counts>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    all: AtomicUsize,
    open: AtomicUsize,
    /// Streams that ended by a fault.
    broken: AtomicUsize,
}

impl Echo {
    /// In clear text.
    pub async fn start(name: &str) -> Echo {
        Echo::anywhere(name, None).await
    }

    /// Over TLS.
    pub async fn start_tls(name: &str, tls: Arc<ServerConfig>) -> Echo {
        Echo::anywhere(name, Some(tls)).await
    }

    async fn anywhere(name: &str, tls: Option<Arc<ServerConfig>>) -> Echo {
        let listener = ports::listen().await;
        let address = listener.local_addr().expect("an address");
        let mut echo = Echo { address, name: name.to_owned(), tls, counts: Arc::default(), task: None };
        echo.take(listener);
        echo
    }

    /// Listens again.
    pub async fn open(&mut self) {
        self.take(TcpListener::bind(self.address).await.expect("a free address"));
    }

    fn take(&mut self, listener: TcpListener) {
        let (name, tls, counts) = (self.name.clone(), self.tls.clone(), Arc::clone(&self.counts));
        self.task = Some(tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).expect("a socket");
                tokio::spawn(talk(io, name.clone(), tls.clone(), Arc::clone(&counts)));
            }
        }));
    }

    /// Listens no more; streams that are open go on.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // However it ends, the socket is closed then.
            let _ = task.await;
        }
    }

    /// `tcp://` or `tls://` and its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "tls" } else { "tcp" }, self.address)
    }

    /// Streams so far.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.counts.all.load(Ordering::Acquire)
    }

    /// Streams that are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.counts.open.load(Ordering::Acquire)
    }

    /// Streams that were broken off.
    #[must_use]
    pub fn broken(&self) -> usize {
        self.counts.broken.load(Ordering::Acquire)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn talk(io: TcpStream, name: String, tls: Option<Arc<ServerConfig>>, counts: Arc<Counts>) {
    counts.all.fetch_add(1, Ordering::AcqRel);
    counts.open.fetch_add(1, Ordering::AcqRel);
    let talked = match tls {
        None => echo(io, &name).await,
        Some(config) => match TlsAcceptor::from(config).accept(io).await {
            Ok(io) => echo(io, &name).await,
            Err(error) => Err(error),
        },
    };
    counts.broken.fetch_add(usize::from(talked.is_err()), Ordering::AcqRel);
    counts.open.fetch_sub(1, Ordering::AcqRel);
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut io: S, name: &str) -> std::io::Result<()> {
    io.write_all(format!("{name}\n").as_bytes()).await?;
    io.flush().await?;
    let mut piece = vec![0; PIECE];
    loop {
        let n = io.read(&mut piece).await?;
        if n == 0 {
            return io.shutdown().await;
        }
        io.write_all(&piece[..n]).await?;
        io.flush().await?;
    }
}

/// A client's stream to an [`Echo`].
pub struct Talk {
    /// The connection.
    pub io: BoxIo,
    /// The name that the backend said.
    pub name: String,
}

impl Talk {
    /// Connects and waits to be greeted.
    ///
    /// # Errors
    /// If there is no connection, or no greeting comes.
    pub async fn open(door: &Door) -> Result<Talk, Failure> {
        let (io, _) = door.dial().await?;
        Talk::over(io).await
    }

    /// Waits for the greeting on a connection that is there.
    ///
    /// # Errors
    /// If none comes.
    pub async fn over(io: BoxIo) -> Result<Talk, Failure> {
        let mut talk = Talk { io, name: String::new() };
        let greeting = async {
            loop {
                match talk.io.read_u8().await? {
                    b'\n' => return Ok::<(), std::io::Error>(()),
                    byte => talk.name.push(char::from(byte)),
                }
            }
        };
        timeout(PATIENCE, greeting).await.map_err(|_| Failure::Late)?.map_err(Failure::from)?;
        Ok(talk)
    }

    /// Says something and hears it again.
    ///
    /// # Errors
    /// If the stream breaks, or hangs.
    pub async fn echo(&mut self, text: &str) -> Result<(), Failure> {
        let mut heard = vec![0; text.len()];
        let work = async {
            self.io.write_all(text.as_bytes()).await?;
            self.io.flush().await?;
            self.io.read_exact(&mut heard).await
        };
        timeout(PATIENCE, work).await.map_err(|_| Failure::Late)?.map_err(Failure::from)?;
        assert_eq!(heard, text.as_bytes(), "another echo");
        Ok(())
    }

    /// Says all, ends its own direction, and hears all that comes to the end.
    ///
    /// # Errors
    /// If the stream breaks, or hangs.
    pub async fn rest(self, all: &[u8]) -> Result<Vec<u8>, Failure> {
        let (mut from, mut to) = tokio::io::split(self.io);
        let mut heard = Vec::new();
        let say = async {
            to.write_all(all).await?;
            to.shutdown().await
        };
        let work = async { tokio::try_join!(say, from.read_to_end(&mut heard)) };
        timeout(PATIENCE, work).await.map_err(|_| Failure::Late)?.map_err(Failure::from)?;
        Ok(heard)
    }

    /// Waits until the other side ends it. `Ok`: with a goodbye and nothing before it.
    ///
    /// # Errors
    /// If it breaks, or stays.
    pub async fn closed(&mut self) -> Result<(), Failure> {
        let mut heard = Vec::new();
        let end = timeout(PATIENCE, self.io.read_to_end(&mut heard)).await;
        end.map_err(|_| Failure::Late)?.map_err(Failure::from)?;
        assert!(heard.is_empty(), "more was said: {heard:?}");
        Ok(())
    }
}
