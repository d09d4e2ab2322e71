//! One question over HTTP/2.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::{Answer, Ask, Failure};
use crate::{h1::Fields, io::BoxIo};

const GOAWAY: u8 = 7;

/// How a connection came to its end.
#[derive(Default)]
pub(super) struct Ended {
    goaway: AtomicBool,
    done: AtomicBool,
    told: Notify,
}

impl Ended {
    pub(super) fn goaway(&self) -> bool {
        self.goaway.load(Ordering::Acquire)
    }

    /// What a failed request means, now that one can see how the connection is.
    pub(super) fn why(&self, error: h2::Error) -> Failure {
        if self.goaway() {
            return Failure::Goaway;
        }
        if error.is_reset() {
            return Failure::Reset(error.to_string());
        }
        if error.is_io() {
            return error.into_io().map_or(Failure::Closed, Failure::from);
        }
        if self.done.load(Ordering::Acquire) { Failure::Closed } else { Failure::Bad(error.to_string()) }
    }

    pub(super) async fn wait(&self) {
        let told = self.told.notified();
        if !self.done.load(Ordering::Acquire) {
            told.await;
        }
    }
}

pub(super) async fn handshake(io: BoxIo) -> Result<(SendRequest<Bytes>, Arc<Ended>), Failure> {
    let ended = Arc::new(Ended::default());
    let watched = Watched { io, ended: Arc::clone(&ended), head: [0; 9], have: 0, skip: 0 };
    let mut settings = h2::client::Builder::new();
    settings.initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
    let (send, connection) =
        settings.handshake(watched).await.map_err(|e| Failure::Bad(format!("no HTTP/2: {e}")))?;
    let teller = Arc::clone(&ended);
    tokio::spawn(async move {
        // Requests in flight report the error; here only the end counts.
        let _ = connection.await;
        teller.done.store(true, Ordering::Release);
        teller.told.notify_waiters();
    });
    Ok((send, ended))
}

/// Looks at the frames that pass for a GOAWAY (RFC 9113 §6.8), which the library keeps to itself.
struct Watched {
    io: BoxIo,
    ended: Arc<Ended>,
    head: [u8; 9],
    have: usize,
    skip: usize,
}

impl Watched {
    fn look(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                continue;
            }
            self.head[self.have] = *first;
            self.have += 1;
            bytes = rest;
            if self.have == self.head.len() {
                let [a, b, c, kind, ..] = self.head;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.have = 0;
                if kind == GOAWAY {
                    self.ended.goaway.store(true, Ordering::Release);
                }
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.look(&buf.filled()[before..]);
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

pub(super) async fn ask(send: &mut SendRequest<Bytes>, scheme: &str, ask: &Ask) -> Result<Answer, h2::Error> {
    let mut ready = send.clone().ready().await?;
    let bodiless = ask.body.is_empty() && ask.trailers.0.is_empty();
    let (response, stream) = ready.send_request(request(scheme, ask), bodiless)?;
    let mut response = std::pin::pin!(response);
    let mut early = Vec::new();
    let sending = async { if bodiless { Ok(()) } else { send_body(stream, ask).await } };
    let receiving = async {
        let parts = std::future::poll_fn(|cx| {
            while let std::task::Poll::Ready(Some(Ok(hint))) =
                response.as_mut().get_mut().poll_informational(cx)
            {
                early.push((hint.status().as_u16(), Fields::from(hint.headers())));
            }
            response.as_mut().poll(cx)
        });
        let (parts, body) = parts.await?.into_parts();
        let (body, trailers) = read_body(body).await?;
        Ok(Answer { status: parts.status.as_u16(), fields: (&parts.headers).into(), body, trailers, early })
    };
    tokio::pin!(sending, receiving);
    tokio::select! {
        biased;
        answer = &mut receiving => answer,
        // The stream may have been closed with an answer before it was read to its end.
        _ = &mut sending => receiving.await,
    }
}

/// Asks without a body and gives the answer's body as it comes.
pub(super) async fn begin(
    send: &mut SendRequest<Bytes>,
    scheme: &str,
    ask: &Ask,
) -> Result<RecvStream, h2::Error> {
    let mut ready = send.clone().ready().await?;
    let (response, _) = ready.send_request(request(scheme, ask), true)?;
    Ok(response.await?.into_body())
}

/// The next piece of a body, giving the window back.
pub(super) async fn piece(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(piece) = body.data().await else { return Ok(None) };
    let piece = piece?;
    body.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}

/// A stream on which both sides speak by turns, as with a gRPC call of that kind.
pub struct Exchange {
    send: SendStream<Bytes>,
    body: RecvStream,
    ended: Arc<Ended>,
    /// Dropped, it could end the connection.
    _handle: SendRequest<Bytes>,
}

impl Exchange {
    pub(super) async fn begin(
        send: &SendRequest<Bytes>,
        scheme: &str,
        ask: &Ask,
        ended: Arc<Ended>,
    ) -> Result<Exchange, Failure> {
        let begun = async {
            let mut ready = send.clone().ready().await?;
            let (response, stream) = ready.send_request(request(scheme, ask), false)?;
            Ok((stream, response.await?))
        };
        let (stream, response) = begun.await.map_err(|e: h2::Error| ended.why(e))?;
        if response.status() != 200 {
            return Err(Failure::Bad(format!("status {}", response.status())));
        }
        Ok(Exchange { send: stream, body: response.into_body(), ended, _handle: send.clone() })
    }

    /// Says something and waits until as much has come back.
    ///
    /// # Errors
    /// If anything else comes back, or nothing for twenty seconds.
    pub async fn echo(&mut self, text: &'static [u8]) -> Result<(), Failure> {
        let echoed = async {
            send_all(&mut self.send, Bytes::from_static(text), false).await?;
            let mut back = Vec::new();
            while back.len() < text.len() {
                match piece(&mut self.body).await? {
                    Some(piece) => back.extend_from_slice(&piece),
                    None => break,
                }
            }
            Ok::<_, h2::Error>(back)
        };
        let back = tokio::time::timeout(super::PATIENCE, echoed).await.map_err(|_| Failure::Late)?;
        let back = back.map_err(|e| self.ended.why(e))?;
        if back == text { Ok(()) } else { Err(Failure::Bad(format!("sent {text:?}, got {back:?}"))) }
    }

    /// Says that it is all, and waits until the other side has said so too.
    ///
    /// # Errors
    /// If the stream does not end well.
    pub async fn finish(mut self) -> Result<(), Failure> {
        let ended = async {
            self.send.send_data(Bytes::new(), true)?;
            while piece(&mut self.body).await?.is_some() {}
            Ok::<_, h2::Error>(())
        };
        let end = tokio::time::timeout(super::PATIENCE, ended).await.map_err(|_| Failure::Late)?;
        end.map_err(|e| self.ended.why(e))
    }
}

fn request(scheme: &str, ask: &Ask) -> Request<()> {
    let mut request = Request::builder()
        .method(ask.method.as_str())
        .uri(format!("{scheme}://{}{}", ask.host, ask.target))
        .version(http::Version::HTTP_2)
        .body(())
        .expect("a request that HTTP/2 can say");
    *request.headers_mut() = header_map(&ask.fields);
    request
}

/// Fields as the libraries want them.
pub(crate) fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in &fields.0 {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
    }
    map
}

async fn send_body(mut stream: SendStream<Bytes>, ask: &Ask) -> Result<(), h2::Error> {
    let trailers = !ask.trailers.0.is_empty();
    send_all(&mut stream, ask.body.clone(), !trailers).await?;
    if trailers {
        stream.send_trailers(header_map(&ask.trailers))?;
    }
    Ok(())
}

/// Sends as the window allows.
pub(crate) async fn send_all(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    last: bool,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(room) => room?,
            None => return Ok(()),
        };
        let part = data.split_to(room.min(data.len()));
        let end = last && data.is_empty();
        stream.send_data(part, end)?;
        if end {
            return Ok(());
        }
    }
    if last {
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

/// A whole body, giving the window back.
pub(crate) async fn read_body(mut body: RecvStream) -> Result<(Bytes, Fields), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(piece) = piece(&mut body).await? {
        all.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?.as_ref().map(Fields::from).unwrap_or_default();
    Ok((all.freeze(), trailers))
}
