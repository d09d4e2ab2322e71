//! HTTP/1.1 towards clients (RFC 9112): one request after the other on a connection.

mod inbound;

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use evergate_contract::{Fault, FaultKind};
use evergate_kit::deadline::{Deadline, Expired};
use evergate_wire::{
    BodyError, Carrier, Frame, Headers, Payload, ResponseParts, Wire,
    h1::{
        BodyLength, Decoded, Decoder, Encoder, HeadError, RequestHead, Scan, encode::may_chunk,
        parse_request, write_response_head,
    },
};
use http::{HeaderValue, Method, StatusCode, Version, header};
use inbound::Inbound;
use tokio::io::AsyncWrite;

use super::{idle::Idle, taking::Taking, tunnel};
use crate::{
    conn::{Conn, Settings},
    exchange::{self, Answer, Request},
    reply,
    worker::Worker,
};

static CLOSE: HeaderValue = HeaderValue::from_static("close");
static KEEP_ALIVE: HeaderValue = HeaderValue::from_static("keep-alive");
static UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");

/// An unread body up to this is read and forgotten so that the connection can go on; beyond it, closing is cheaper.
const SKIP_MAX: u64 = 64 << 10;
/// How long what a client still sends is read after our last word, so that a reset does not overtake it.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// A connection's wire, shared by the loop that answers and the body that is being read.
pub(super) struct H1 {
    wire: RefCell<Wire>,
    decoder: RefCell<Decoder>,
    /// The client waits for `100 Continue` before it sends its body.
    expects: Cell<bool>,
    reading: Deadline,
    idle: Idle,
    taking: Taking,
    body_timeout: Cell<Duration>,
    worker: Rc<Worker>,
}

/// Why a connection ends.
enum End {
    /// The client closed it, or has nothing more to say.
    Quiet,
    /// After one more answer.
    Fault(FaultKind),
}

/// Serves a connection until it ends.
pub(super) async fn serve(worker: &Rc<Worker>, conn: &Rc<Conn>, wire: Wire, reading: Deadline) {
    let h1 = Rc::new(H1 {
        wire: RefCell::new(wire),
        decoder: RefCell::new(Decoder::new(BodyLength::Fixed(0))),
        expects: Cell::new(false),
        reading,
        idle: Idle::default(),
        taking: Taking::new(&worker.clock),
        body_timeout: Cell::new(Duration::ZERO),
        worker: worker.clone(),
    });
    loop {
        match h1.read_head(conn).await {
            Ok(head) => match h1.exchange(conn, head).await {
                Next::Request => {}
                Next::Close => return h1.finish().await,
                Next::Done => return h1.done().await,
                Next::Cut => return,
                Next::Tunnel(upstream) => {
                    if let Ok(h1) = Rc::try_unwrap(h1) {
                        tunnel::upgraded(worker, h1.wire.into_inner(), upstream).await;
                    }
                    return;
                }
            },
            Err(End::Quiet) => return h1.leave(),
            Err(End::Fault(kind)) => {
                worker.meter.refused(kind);
                let (parts, body) = reply::fault(&Fault::from(kind), worker);
                if h1.send(&Method::GET, Version::HTTP_11, parts, body, Some(&CLOSE)).await.is_ok() {
                    h1.finish().await;
                }
                return;
            }
        }
    }
}

/// What follows an exchange.
enum Next {
    Request,
    /// Close after all is sent.
    Close,
    /// The same, and the client has nothing more to say.
    Done,
    /// Close at once: the client must see that its answer is not complete.
    Cut,
    Tunnel(evergate_upstream::Tunnel),
}

impl H1 {
    async fn read_head(&self, conn: &Conn) -> Result<RequestHead, End> {
        let mut settings = conn.settings(&self.worker.view());
        let mut scan = Scan::default();
        let mut begun = false;
        let mut closing = false;
        self.idle.begin(&self.worker, conn, &self.reading);
        loop {
            {
                let input = &mut self.wire.borrow_mut().input;
                if !begun && !input.is_empty() {
                    begun = true;
                    // It may have been idle for long.
                    settings = conn.settings(&self.worker.view());
                    self.reading.arm(settings.header_timeout);
                }
                match parse_request(input, &mut scan, settings.head) {
                    Ok(Some(head)) => {
                        self.reading.disarm();
                        return Ok(head);
                    }
                    Ok(None) => {}
                    Err(e) => return Err(End::Fault(refusal(e))),
                }
            }
            match std::future::poll_fn(|cx| self.poll_more(cx, conn, begun || closing)).await {
                More::Read(Ok(n)) if n > 0 => {}
                More::Read(_) => return Err(End::Quiet),
                More::Closing(wait) => {
                    closing = true;
                    self.reading.arm(wait.min(settings.idle_timeout));
                }
                More::Expired if begun => return Err(End::Fault(FaultKind::ClientTimeout)),
                More::Expired => return Err(End::Quiet),
            }
        }
    }

    fn poll_more(&self, cx: &mut Context<'_>, conn: &Conn, busy: bool) -> Poll<More> {
        if let Poll::Ready(read) = self.wire.borrow_mut().poll_fill(cx) {
            return Poll::Ready(More::Read(read));
        }
        if busy {
            return self.reading.poll_expired(cx).map(|Expired| More::Expired);
        }
        if let Poll::Ready(wait) = conn.poll_closing(cx) {
            return Poll::Ready(More::Closing(wait));
        }
        self.idle.poll_over(cx, &self.worker, conn, &self.reading).map(|Expired| More::Expired)
    }

    async fn exchange(self: &Rc<Self>, conn: &Rc<Conn>, head: RequestHead) -> Next {
        let settings = conn.settings(&self.worker.view());
        conn.begin_request(&settings);
        self.body_timeout.set(settings.body_timeout);
        self.taking.begin(&settings);
        let RequestHead { parts, body, keep_alive, expect_continue, upgrade } = head;
        let (method, version) = (parts.method.clone(), parts.version);
        // Whoever says `close`, or speaks HTTP/1.0, sends no further request (RFC 9112 §9.3, §9.6).
        let is_last = !keep_alive && body == BodyLength::Fixed(0);
        *self.decoder.borrow_mut() = Decoder::new(body);
        self.expects.set(expect_continue && body != BodyLength::Fixed(0));
        let payload = match body {
            BodyLength::Fixed(0) => Payload::Empty,
            _ => Payload::Stream(Box::new(Inbound::new(self.clone()))),
        };
        let request = Request { parts, body: payload, upgrade, settings };
        let mut inform = |status, headers: Headers| self.inform(version, status, &headers);
        let (answer, tally) = exchange::answer(&self.worker, conn, request, &mut inform).await;
        let next = match answer {
            Answer::Response(parts, payload) => {
                let close = !keep_alive || conn.is_closing() || self.must_close(&payload);
                let says =
                    if close { Some(&CLOSE) } else { (version == Version::HTTP_10).then_some(&KEEP_ALIVE) };
                match self.send(&method, version, parts, payload, says).await {
                    Ok(_) if is_last && self.wire.borrow().input.is_empty() => Next::Done,
                    Ok(until_close) if close || until_close => Next::Close,
                    Ok(_) if self.skip_rest(settings).await => Next::Request,
                    Ok(_) => Next::Close,
                    Err(error) => {
                        tracing::debug!(peer = %conn.peer(), %error, "response cut short");
                        Next::Cut
                    }
                }
            }
            Answer::Tunnel(parts, upstream) => {
                match self.send(&method, version, parts, Payload::Empty, Some(&UPGRADE)).await {
                    Ok(_) => Next::Tunnel(upstream),
                    Err(_) => Next::Cut,
                }
            }
        };
        drop(tally);
        next
    }

    /// True if what is left of the request's body is not worth reading.
    fn must_close(&self, payload: &Payload) -> bool {
        let decoder = self.decoder.borrow();
        let uploading = matches!(payload, Payload::Stream(_));
        self.expects.get() || (!uploading && decoder.length().is_none_or(|left| left > SKIP_MAX))
    }

    /// Relays an interim response (RFC 9110 §15.2). It is small: the kernel takes it at once, or it goes with the next write.
    fn inform(&self, version: Version, status: StatusCode, headers: &Headers) {
        if version == Version::HTTP_11 && status != StatusCode::CONTINUE {
            let mut wire = self.wire.borrow_mut();
            write_response_head(wire.small(), status, headers, None, None);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            // A dead connection shows itself at the next write.
            let _ = wire.poll_flush(&mut cx);
        }
    }

    /// Sends a whole response. `Ok(true)`: it ends where the connection ends.
    async fn send(
        &self,
        method: &Method,
        version: Version,
        mut parts: ResponseParts,
        mut payload: Payload,
        connection: Option<&HeaderValue>,
    ) -> Result<bool, SendError> {
        let bodiless = *method == Method::HEAD
            || parts.status.is_informational()
            || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let length = match payload.length() {
            _ if bodiless => None,
            Some(n) => Some(BodyLength::Fixed(n)),
            None if may_chunk(version) => Some(BodyLength::Chunked),
            None => Some(BodyLength::UntilClose),
        };
        if length.is_some() {
            parts.headers.remove(header::CONTENT_LENGTH);
        } else {
            payload = Payload::Empty;
        }
        let until_close = length == Some(BodyLength::UntilClose);
        let connection = if until_close { Some(&CLOSE) } else { connection };
        write_response_head(self.wire.borrow_mut().small(), parts.status, &parts.headers, length, connection);
        let mut encoder = Encoder::new(length.unwrap_or(BodyLength::Fixed(0)));
        let mut done = false;
        let mut cut = None;
        std::future::poll_fn(|cx| {
            while !done {
                ready!(self.poll_progress(cx, Wire::poll_room))?;
                match payload.poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.put(frame, &mut encoder)?,
                    Poll::Ready(Some(Err(e))) => {
                        // What is there goes out: a client that got nothing could take the request for unheard.
                        cut = Some(SendError::Body(e));
                        done = true;
                    }
                    Poll::Ready(None) => {
                        encoder
                            .end(&mut self.wire.borrow_mut())
                            .map_err(|_| SendError::Body(BodyError::Closed))?;
                        done = true;
                    }
                    Poll::Pending => {
                        // What is there goes out before we wait: events and chunks arrive as they are made.
                        if let Poll::Ready(Err(e)) = self.poll_progress(cx, Wire::poll_flush) {
                            return Poll::Ready(Err(e));
                        }
                        return Poll::Pending;
                    }
                }
            }
            ready!(self.poll_progress(cx, Wire::poll_flush))?;
            Poll::Ready(cut.take().map_or(Ok(()), Err))
        })
        .await?;
        Ok(until_close)
    }

    fn put(&self, frame: Frame, encoder: &mut Encoder) -> Result<(), SendError> {
        if let Frame::Data(data) = &frame {
            self.worker.meter.bytes_out.add(data.len() as u64);
        }
        encoder.frame(frame, &mut self.wire.borrow_mut()).map_err(|_| SendError::Body(BodyError::Closed))
    }

    /// Writes; a client that takes nothing for too long ends it.
    fn poll_progress(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&mut Wire, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<Result<(), SendError>> {
        let mut wire = self.wire.borrow_mut();
        match write(&mut wire, cx) {
            Poll::Ready(Ok(())) => {
                self.taking.goes_on(wire.io.carrier().sent());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(SendError::Io(e))),
            Poll::Pending => {
                let sent = wire.io.carrier().sent();
                self.taking.poll_stalled(cx, sent).map(|()| Err(SendError::Stalled))
            }
        }
    }

    /// Reads and forgets what is left of the request's body, if that is little. False: the connection cannot go on.
    async fn skip_rest(&self, settings: Settings) -> bool {
        let mut budget = SKIP_MAX;
        self.reading.arm(settings.header_timeout);
        loop {
            let decoded = self.decoder.borrow_mut().decode(&mut self.wire.borrow_mut().input);
            match decoded {
                Ok(Decoded::End) => return true,
                Ok(Decoded::Frame(Frame::Data(d))) if d.len() as u64 <= budget => budget -= d.len() as u64,
                Ok(Decoded::Frame(Frame::Trailers(_))) => {}
                Ok(Decoded::Frame(_)) | Err(_) => return false,
                Ok(Decoded::More) => {
                    let read = self
                        .reading
                        .guard(std::future::poll_fn(|cx| self.wire.borrow_mut().poll_fill(cx)))
                        .await;
                    if !matches!(read, Ok(Ok(n)) if n > 0) {
                        return false;
                    }
                }
            }
        }
    }

    /// Ends a quiet connection; over TLS the client is told that nothing was cut off (RFC 8446 §6.1).
    fn leave(&self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // A connection that cannot take the few bytes now is dropped without them.
        let _ = Pin::new(&mut self.wire.borrow_mut().io).poll_shutdown(&mut cx);
    }

    /// Ends a connection by which nothing comes any more, so that there is nothing to wait for.
    async fn done(&self) {
        // A client that takes nothing loses what is left, as everywhere.
        let _ = std::future::poll_fn(|cx| self.poll_progress(cx, Wire::poll_end)).await;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let read = self.wire.borrow_mut().poll_fill(&mut cx);
        // A word that is left unread would make the end a reset, which overtakes what the client has not read.
        if matches!(read, Poll::Ready(Ok(n)) if n > 0) {
            self.finish().await;
        }
    }

    /// Says goodbye, then reads for a moment what the client still sends (RFC 9112 §9.6).
    async fn finish(&self) {
        self.reading.arm(LINGER);
        let mut said = false;
        let goodbye = std::future::poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            if !said {
                ready!(Pin::new(&mut wire.io).poll_shutdown(cx))?;
                said = true;
            }
            while ready!(wire.poll_fill(cx))? > 0 {
                wire.input.clear();
            }
            Poll::Ready(io::Result::Ok(()))
        });
        // However it ends, the connection is dropped now.
        let _ = self.reading.guard(goodbye).await;
    }
}

/// What came while waiting for a head.
enum More {
    Read(io::Result<usize>),
    Closing(Duration),
    Expired,
}

/// Why a response could not be sent whole.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Body(BodyError),
    #[error(transparent)]
    Io(io::Error),
    #[error("the client takes nothing")]
    Stalled,
}

/// How a head that is refused is answered.
pub(super) fn refusal(e: HeadError) -> FaultKind {
    match e {
        HeadError::Malformed(why) => FaultKind::BadRequest(why),
        HeadError::TooLarge => FaultKind::HeaderTooLarge,
        HeadError::UriTooLong => FaultKind::UriTooLong,
        HeadError::Version => FaultKind::BadRequest("only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here"),
    }
}
