//! One client: where to connect, what to ask, what came back, and in what way it failed.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    h1::{self, Fields, Framing, Head, Line},
    io::BoxIo,
};

mod http2;
mod http3;

pub use http2::Exchange;
pub(crate) use http2::{header_map, send_all};

/// Longer than anything that is not hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// `Host`, or `:authority`.
    pub host: String,
    /// Further fields.
    pub fields: Fields,
    /// The body.
    pub body: Bytes,
    /// Sent after the body, which is then chunked.
    pub trailers: Fields,
    /// Send the body chunked, without its length.
    pub chunked: bool,
}

impl Ask {
    /// `GET` of a target at `test.local`.
    #[must_use]
    pub fn get(target: &str) -> Ask {
        Ask {
            method: "GET".to_owned(),
            target: target.to_owned(),
            host: "test.local".to_owned(),
            fields: Fields::default(),
            body: Bytes::new(),
            trailers: Fields::default(),
            chunked: false,
        }
    }

    /// `POST` of a body.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Bytes>) -> Ask {
        Ask { body: body.into(), ..Ask::get(target) }.method("POST")
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Ask {
        method.clone_into(&mut self.method);
        self
    }

    /// At another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Ask {
        host.clone_into(&mut self.host);
        self
    }

    /// With one more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Ask {
        self.fields.add(name, value);
        self
    }

    /// With one more trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Ask {
        self.trailers.add(name, value);
        self.chunked = true;
        self
    }

    /// With its body in chunks.
    #[must_use]
    pub fn chunked(mut self) -> Ask {
        self.chunked = true;
        self
    }

    fn head(&self) -> String {
        let mut fields = Fields::default();
        fields.add("Host", &self.host);
        fields.0.extend(self.fields.0.iter().cloned());
        if self.chunked {
            fields.add("Transfer-Encoding", "chunked");
        } else if !self.body.is_empty() {
            fields.add("Content-Length", self.body.len().to_string());
        }
        h1::head(&format!("{} {} HTTP/1.1", self.method, self.target), &fields)
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The final status.
    pub status: u16,
    /// Its fields.
    pub fields: Fields,
    /// The whole body.
    pub body: Bytes,
    /// What followed the body.
    pub trailers: Fields,
    /// 1xx answers before the final one.
    pub early: Vec<(u16, Fields)>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// In what way a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody took the connection.
    Refused(String),
    /// The connection was reset.
    Reset(String),
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// The connection was closed within an answer.
    Cut(String),
    /// HTTP/2: the server had said that it takes no more requests here.
    Goaway,
    /// What came was not HTTP, or not what it had to be.
    Bad(String),
    /// Nothing came for twenty seconds.
    Late,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
                Failure::Reset(error.to_string())
            }
            Kind::ConnectionRefused => Failure::Refused(error.to_string()),
            Kind::UnexpectedEof => Failure::Cut(error.to_string()),
            _ => Failure::Bad(error.to_string()),
        }
    }
}

/// Where the gateway is, and how it is spoken to.
#[derive(Clone)]
pub struct Door {
    /// Its address.
    pub address: SocketAddr,
    /// Present: a Unix socket instead of the address.
    pub unix: Option<PathBuf>,
    /// What is sent before all else, also before TLS.
    pub preface: Vec<u8>,
    /// Present: over TLS, asking for this name.
    pub tls: Option<(Arc<ClientConfig>, String)>,
    /// HTTP/2, over TLS by ALPN and otherwise with prior knowledge.
    pub h2: bool,
    /// HTTP/3: over QUIC, to the same port.
    pub h3: bool,
}

impl Door {
    /// HTTP/1.1 in clear text.
    #[must_use]
    pub fn clear(address: SocketAddr) -> Door {
        Door { address, unix: None, preface: Vec::new(), tls: None, h2: false, h3: false }
    }

    /// HTTP/1.1 in clear text by a Unix socket.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Door {
        Door { unix: Some(path.into()), ..Door::clear(SocketAddr::from(([0, 0, 0, 0], 0))) }
    }

    /// The same, with bytes that are sent before all else.
    #[must_use]
    pub fn preface(mut self, bytes: impl Into<Vec<u8>>) -> Door {
        self.preface = bytes.into();
        self
    }

    /// HTTP/1.1 over TLS. The configuration should offer `http/1.1`.
    #[must_use]
    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Door {
        Door { tls: Some((config, name.to_owned())), ..Door::clear(address) }
    }

    /// The same by HTTP/2.
    #[must_use]
    pub fn h2(mut self) -> Door {
        self.h2 = true;
        self
    }

    /// The same by HTTP/3. Only where there is TLS.
    #[must_use]
    pub fn h3(mut self) -> Door {
        self.h3 = true;
        self
    }

    /// A QUIC connection that has shaken hands for HTTP/3, for what [`Ask`] cannot say.
    ///
    /// # Errors
    /// If nobody is there within twenty seconds, or the handshake fails.
    pub async fn quic(&self) -> Result<quinn::Connection, Failure> {
        let (config, name) = self.tls.as_ref().expect("QUIC has TLS");
        timeout(PATIENCE, http3::dial(self.address, config, name)).await.map_err(|_| Failure::Late)?
    }

    /// Connects, with the TLS handshake; says which certificate was shown.
    ///
    /// # Errors
    /// If nobody is there, or the handshake fails.
    pub async fn dial(&self) -> Result<(BoxIo, Option<CertificateDer<'static>>), Failure> {
        timeout(PATIENCE, self.dial_now()).await.map_err(|_| Failure::Late)?
    }

    async fn dial_now(&self) -> Result<(BoxIo, Option<CertificateDer<'static>>), Failure> {
        let mut plain: BoxIo = match &self.unix {
            Some(path) => Box::new(UnixStream::connect(path).await?),
            None => {
                let tcp = TcpStream::connect(self.address).await?;
                tcp.set_nodelay(true)?;
                Box::new(tcp)
            }
        };
        plain.write_all(&self.preface).await?;
        let Some((config, name)) = &self.tls else { return Ok((plain, None)) };
        let name = ServerName::try_from(name.clone()).map_err(|e| Failure::Bad(e.to_string()))?;
        let mut config = Arc::clone(config);
        if self.h2 {
            Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
        }
        let tls = TlsConnector::from(config).connect(name, plain).await?;
        let state = tls.get_ref().1;
        if self.h2 && state.alpn_protocol() != Some(b"h2") {
            return Err(Failure::Bad("the server did not choose h2".to_owned()));
        }
        let shown = state.peer_certificates().and_then(|c| c.first()).map(|c| c.clone().into_owned());
        Ok((Box::new(tls), shown))
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// As [`Door::dial`].
    pub async fn connect(&self) -> Result<Conn, Failure> {
        if self.h3 {
            let line = http3::Line::connect(self.quic().await?).await?;
            let certificate = line.shown();
            return Ok(Conn { speech: Speech::Three(line), certificate, over: false });
        }
        let (io, certificate) = self.dial().await?;
        let speech = if self.h2 {
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            let (send, ended) = http2::handshake(io).await?;
            Speech::Two { send, ended, scheme }
        } else {
            Speech::One(Box::new(Line::new(io)))
        };
        Ok(Conn { speech, certificate, over: false })
    }

    /// The certificate that a new connection is shown, as DER; empty in clear text. It begins anew: a session that is resumed has
    /// the certificate that it began with.
    ///
    /// # Errors
    /// As [`Door::dial`].
    pub async fn shown(&self) -> Result<Vec<u8>, Failure> {
        let mut door = self.clone();
        if let Some((config, _)) = &mut door.tls {
            Arc::make_mut(config).resumption = rustls::client::Resumption::disabled();
        }
        let shown = if door.h3 { door.connect().await?.certificate } else { door.dial().await?.1 };
        Ok(shown.map(|c| c.to_vec()).unwrap_or_default())
    }

    /// Sends bytes as they are and gives back everything that comes until the server closes the connection.
    ///
    /// # Errors
    /// If it does not close within twenty seconds.
    pub async fn shout(&self, bytes: &[u8]) -> Result<String, Failure> {
        let mut line = Line::new(self.dial().await?.0);
        // The server may have refused and closed before it was told all.
        let _ = line.writer.raw(bytes).await;
        let rest = timeout(PATIENCE, line.reader.rest()).await.map_err(|_| Failure::Late)?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }

    /// Sends the beginning, then the same byte again and again until the server has had enough; what it said.
    ///
    /// # Errors
    /// If it has not within twenty seconds.
    pub async fn drip(&self, begin: &[u8], byte: u8) -> Result<String, Failure> {
        let (mut reader, mut writer) = tokio::io::split(self.dial().await?.0);
        writer.write_all(begin).await?;
        writer.flush().await?;
        let dripping = tokio::spawn(async move {
            while writer.write_all(&[byte]).await.is_ok() && writer.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let mut said = Vec::new();
        let end = timeout(PATIENCE, reader.read_to_end(&mut said)).await;
        dripping.abort();
        // A reset behind the answer is as good as an end.
        let _ = end.map_err(|_| Failure::Late)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// Connects, asks one thing and hangs up.
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        self.connect().await?.ask(ask).await
    }
}

/// An open connection. Asks one thing after the other.
pub struct Conn {
    speech: Speech,
    /// The server's certificate.
    pub certificate: Option<CertificateDer<'static>>,
    over: bool,
}

enum Speech {
    One(Box<Line>),
    Two { send: SendRequest<Bytes>, ended: Arc<http2::Ended>, scheme: &'static str },
    Three(http3::Line),
}

impl Conn {
    /// Asks and waits for the whole answer.
    ///
    /// # Errors
    /// If there is none. The connection is of no more use then.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        timeout(PATIENCE, self.ask_now(ask)).await.map_err(|_| Failure::Late)?
    }

    async fn ask_now(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        match &mut self.speech {
            Speech::One(line) => {
                let answer = ask_http1(line, ask).await?;
                self.over = answer.fields.lists("connection", "close");
                Ok(answer)
            }
            Speech::Two { send, ended, scheme } => {
                let answer = http2::ask(send, scheme, ask).await.map_err(|e| ended.why(e));
                self.over = ended.goaway();
                answer
            }
            Speech::Three(line) => line.ask(ask).await,
        }
    }

    /// Asks something without a body, and gives the body of the answer as it comes.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn begin(mut self, ask: &Ask) -> Result<Coming, Failure> {
        let body = match &mut self.speech {
            Speech::One(line) => {
                line.writer.raw(ask.head().as_bytes()).await?;
                let head = line.reader.head().await?.ok_or(Failure::Closed)?;
                Body::One(Framing::of_response(&ask.method, head.status()?, &head.fields)?)
            }
            Speech::Two { send, ended, scheme } => {
                Body::Two(http2::begin(send, scheme, ask).await.map_err(|e| ended.why(e))?)
            }
            Speech::Three(line) => Body::Three(Box::new(line.begin(ask).await?)),
        };
        Ok(Coming { conn: self, body })
    }

    /// HTTP/2: begins a stream on which both sides speak by turns. Panics on others.
    ///
    /// # Errors
    /// If there is no answer with status 200.
    pub async fn exchange(&self, ask: &Ask) -> Result<Exchange, Failure> {
        match &self.speech {
            Speech::Two { send, ended, scheme } => {
                let begun = Exchange::begin(send, scheme, ask, Arc::clone(ended));
                timeout(PATIENCE, begun).await.map_err(|_| Failure::Late)?
            }
            Speech::One(_) | Speech::Three(_) => panic!("not HTTP/2"),
        }
    }

    /// True if the server has said that it wants no more requests here: `Connection: close` or GOAWAY.
    #[must_use]
    pub fn over(&self) -> bool {
        self.over
            || match &self.speech {
                Speech::One(_) => false,
                Speech::Two { ended, .. } => ended.goaway(),
                Speech::Three(line) => line.goaway(),
            }
    }

    /// HTTP/1.1: the connection itself, for what [`Ask`] cannot say. Panics on others.
    #[must_use]
    pub fn line(self) -> Line {
        match self.speech {
            Speech::One(line) => *line,
            Speech::Two { .. } | Speech::Three(_) => panic!("not HTTP/1.1"),
        }
    }

    /// HTTP/2 and HTTP/3: another handle on the same connection, for streams side by side. Nothing on HTTP/1.1.
    #[must_use]
    pub fn twin(&self) -> Option<Conn> {
        match &self.speech {
            Speech::One(_) => None,
            Speech::Three(line) => Some(Conn {
                speech: Speech::Three(line.clone()),
                certificate: self.certificate.clone(),
                over: false,
            }),
            Speech::Two { send, ended, scheme } => Some(Conn {
                speech: Speech::Two { send: send.clone(), ended: Arc::clone(ended), scheme },
                certificate: self.certificate.clone(),
                over: false,
            }),
        }
    }

    /// Waits until the server closes the connection while nothing is asked.
    ///
    /// # Errors
    /// If it is still open after twenty seconds, or ends in another way.
    pub async fn closed(&mut self) -> Result<(), Failure> {
        let end = async {
            match &mut self.speech {
                Speech::One(line) => match line.reader.head().await? {
                    None => Ok(()),
                    Some(head) => Err(Failure::Bad(format!("unasked: {head:?}"))),
                },
                Speech::Two { ended, .. } => {
                    ended.wait().await;
                    Ok(())
                }
                Speech::Three(line) => {
                    line.closed().await;
                    Ok(())
                }
            }
        };
        timeout(PATIENCE, end).await.map_err(|_| Failure::Late)?
    }
}

/// The body of an answer while it comes.
pub struct Coming {
    conn: Conn,
    body: Body,
}

enum Body {
    One(Framing),
    Two(h2::RecvStream),
    Three(Box<http3::Body>),
}

impl Coming {
    /// The next piece; nothing at the end.
    ///
    /// # Errors
    /// If the body is cut, or nothing comes for twenty seconds.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        let piece = async {
            match (&mut self.conn.speech, &mut self.body) {
                (Speech::One(line), Body::One(framing)) => {
                    Ok(line.reader.piece(framing, &mut Fields::default()).await?)
                }
                (Speech::Two { ended, .. }, Body::Two(body)) => {
                    http2::piece(body).await.map_err(|e| ended.why(e))
                }
                (Speech::Three(line), Body::Three(body)) => line.piece(body).await,
                _ => Err(Failure::Bad("two protocols at once".to_owned())),
            }
        };
        timeout(PATIENCE, piece).await.map_err(|_| Failure::Late)?
    }
}

async fn ask_http1(line: &mut Line, ask: &Ask) -> Result<Answer, Failure> {
    let Line { reader, writer } = line;
    let waits = ask.fields.get("expect").is_some();
    let go = AtomicBool::new(!waits);
    let told = tokio::sync::Notify::new();
    let send = async {
        writer.raw(ask.head().as_bytes()).await?;
        if !go.load(Ordering::Acquire) {
            told.notified().await;
        }
        if ask.chunked {
            for piece in ask.body.chunks(16 << 10) {
                writer.chunk(piece).await?;
            }
            writer.last_chunk(&ask.trailers).await
        } else if ask.body.is_empty() {
            Ok(())
        } else {
            writer.raw(&ask.body).await
        }
    };
    let receive = async {
        let mut early = Vec::new();
        let head = loop {
            let head = reader.head().await?.ok_or(Failure::Closed)?;
            match head.status()? {
                100 => {
                    go.store(true, Ordering::Release);
                    told.notify_one();
                    early.push((100, head.fields));
                }
                101 => break head,
                status @ 102..200 => early.push((status, head.fields)),
                _ => break head,
            }
        };
        finish_http1(reader, ask, head, early).await
    };
    tokio::pin!(send, receive);
    tokio::select! {
        biased;
        answer = &mut receive => answer,
        // An answer may already be on its way to a client whose sending failed.
        sent = &mut send => match (sent, receive.await) {
            (Err(sent), Err(Failure::Closed)) => Err(sent.into()),
            (_, answer) => answer,
        },
    }
}

async fn finish_http1(
    reader: &mut h1::Reader,
    ask: &Ask,
    head: Head,
    early: Vec<(u16, Fields)>,
) -> Result<Answer, Failure> {
    let status = head.status()?;
    let framing = Framing::of_response(&ask.method, status, &head.fields)?;
    let (body, trailers) = reader.body(framing).await?;
    Ok(Answer { status, fields: head.fields, body, trailers, early })
}
