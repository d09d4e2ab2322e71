//! One exchange over HTTP/1.1 (RFC 9112), driven by whoever waits for the response, then by whoever reads it.

mod download;
mod upload;

use std::{
    io,
    rc::Rc,
    task::{Context, Poll},
};

use evergate_contract::{Fault, FaultKind};
use evergate_wire::Frame;
use evergate_wire::{
    BodyError, Payload,
    h1::{Decoded, Decoder, HeadError, HeadLimits, ResponseHead, Scan, parse_response, write_request_head},
    hop::{self, Kept},
};
use http::{HeaderValue, Method, StatusCode, header};

use super::{Again, Call, Failed, Incoming, Tunnel, client_failed};
use crate::{
    local::Picked,
    pool::{Conn, Pool},
};
pub(super) use download::Silence;
use download::{Download, Open};
pub(super) use evergate_wire::h1::BodyLength;
use upload::{Upload, UploadError, Waits};

/// What an endpoint may send as a head.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 << 10, headers: 100 };

/// Sends the request over this connection and takes the response's head.
pub(super) async fn exchange(
    call: &mut Call<'_>,
    picked: &Picked,
    pool: &Rc<Pool>,
    mut conn: Box<Conn>,
    reused: bool,
) -> Result<(), Failed> {
    let length = framing(&call.parts.method, &call.body);
    write_head(call, pool.connector().authority(), length, &mut conn);
    let upload = Upload::new(call.take_body(), length, conn.wire.unsent());
    let mut exchange =
        Exchange { conn, upload, scan: Scan::default(), heard: false, armed: None, head: None };
    match std::future::poll_fn(|cx| exchange.poll_head(call, cx)).await {
        Ok(()) => exchange.finish(call, picked, pool),
        Err(broken) => Err(exchange.failed(call, broken, reused)),
    }
}

/// How the request's body is framed; `None` where no header is needed to say that there is none.
pub(super) fn framing(method: &Method, body: &Payload) -> Option<BodyLength> {
    let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    match body {
        Payload::Empty if !expects_body => None,
        body => Some(body.length().map_or(BodyLength::Chunked, BodyLength::Fixed)),
    }
}

fn write_head(call: &mut Call<'_>, authority: &str, length: Option<BodyLength>, conn: &mut Conn) {
    let parts = &mut call.parts;
    if call.hostless
        && let Ok(host) = HeaderValue::from_str(authority)
    {
        parts.headers.insert(header::HOST, host);
    }
    if let Some(upgrade) = &call.upgrade {
        parts.headers.insert(header::UPGRADE, upgrade);
    }
    let out = conn.wire.small();
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str());
    let connection = call.connection.as_ref();
    write_request_head(out, &parts.method, target, &parts.headers, length, connection);
}

/// An exchange whose response has not begun.
struct Exchange {
    conn: Box<Conn>,
    upload: Upload,
    scan: Scan,
    /// The endpoint has said something.
    heard: bool,
    /// What the timer runs for, and how much had been sent when it was armed.
    armed: Option<(Waits, u64)>,
    /// The response's, at the end.
    head: Option<ResponseHead>,
}

/// Why there is no head.
enum Broken {
    Client(BodyError),
    Head(HeadError),
    Informational,
    Closed(io::Error),
    Timeout,
}

impl Exchange {
    /// Ready when [`Exchange::head`] is there.
    fn poll_head(&mut self, call: &mut Call<'_>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // A failure to write is no failure yet: the answer to what was read may be there (413, say).
        if let Poll::Ready(Err(UploadError::Body(e))) = self.upload.poll(&mut self.conn.wire, cx) {
            return Poll::Ready(Err(Broken::Client(e)));
        }
        let wire = &mut self.conn.wire;
        loop {
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Broken::Closed(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Ok(_)) => self.heard = true,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(Broken::Closed(e))),
                Poll::Pending => break,
            }
            while !wire.input.is_empty() {
                self.head = match parse_response(&mut wire.input, &mut self.scan, &call.parts.method, LIMITS)
                {
                    Ok(head) => head,
                    Err(e) => return Poll::Ready(Err(Broken::Head(e))),
                };
                match self.head.take_if(|head| is_interim(head.parts.status)) {
                    Some(interim) => {
                        if !call.inform(interim.parts) {
                            return Poll::Ready(Err(Broken::Informational));
                        }
                    }
                    None if self.head.is_some() => return Poll::Ready(Ok(())),
                    None => break,
                }
            }
        }
        self.arm(call);
        call.timer.deadline.poll_expired(cx).map(|_| Err(Broken::Timeout))
    }

    /// The endpoint's time runs while everything waits for it, not while the client sends.
    fn arm(&mut self, call: &Call<'_>) {
        let now = (self.upload.waits(&self.conn.wire), self.upload.sent(&self.conn.wire));
        if self.armed == Some(now) {
            return;
        }
        self.armed = Some(now);
        match now.0 {
            Waits::Client => call.timer.arm_end(),
            Waits::Peer | Waits::Nothing => call.timer.arm(*call.timeouts().response),
        }
    }

    fn failed(self, call: &mut Call<'_>, broken: Broken, reused: bool) -> Failed {
        let nothing_sent = self.upload.sent(&self.conn.wire) == 0 && !self.conn.wire.io.is_tls();
        let complete = self.upload.give_back(&mut call.body);
        let upstream = |kind: FaultKind| Failed { fault: kind.into(), again: Again::Nothing, blamed: true };
        match broken {
            Broken::Client(e) => client_failed(e),
            Broken::Timeout => upstream(FaultKind::UpstreamTimeout),
            Broken::Head(e) => Failed {
                fault: Fault::new(FaultKind::UpstreamProtocol).because(e),
                ..upstream(FaultKind::UpstreamProtocol)
            },
            Broken::Informational => upstream(FaultKind::UpstreamProtocol),
            Broken::Closed(e) => {
                let harmless = nothing_sent || call.parts.method.is_idempotent();
                let again =
                    if reused && !self.heard && complete && harmless { Again::Fresh } else { Again::Nothing };
                Failed { fault: Fault::new(FaultKind::UpstreamReset).because(e), again, blamed: true }
            }
        }
    }

    fn finish(self, call: &mut Call<'_>, picked: &Picked, pool: &Rc<Pool>) -> Result<(), Failed> {
        let Exchange { mut conn, upload, head: Some(head), .. } = self else {
            return Err(Failed { fault: FaultKind::Internal.into(), again: Again::Nothing, blamed: false });
        };
        let ResponseHead { mut parts, body: length, keep_alive } = head;
        let (status, endpoint, lease) = (parts.status, picked.clone(), call.lease.take());
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(lease), true, true) = (lease, call.upgrade.is_some(), upload.is_done()) else {
                let fault = Fault::new(FaultKind::UpstreamProtocol).because("101 that nobody asked for");
                return Err(Failed { fault, again: Again::Nothing, blamed: true });
            };
            hop::strip(&mut parts.headers, Kept::Upgrade);
            let wire = conn.wire;
            let tunnel = Some(Tunnel { io: wire.io, early: wire.input, lease });
            call.answer = Some(Incoming { parts, body: Payload::Empty, tunnel, endpoint });
            return Ok(());
        }
        let bodiless = call.parts.method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        hop::strip(&mut parts.headers, if bodiless { Kept::Length } else { Kept::Nothing });
        let mut decoder = Decoder::new(length);
        let body = match complete(&mut decoder, length, &mut conn) {
            Whole::All(body) => {
                if keep_alive && upload.is_done() && conn.wire.input.is_empty() {
                    pool.put(conn);
                }
                body
            }
            Whole::Part(first) => {
                let silence = Silence::new(call.timer.clock.deadline(), *call.timeouts().body);
                let open = Some(Open { conn, pool: pool.clone(), _lease: lease, upload, keep_alive });
                Payload::Stream(Box::new(Download { open, decoder, first, silence }))
            }
            Whole::Malformed(e) => {
                let fault = Fault::new(FaultKind::UpstreamProtocol).because(e);
                return Err(Failed { fault, again: Again::Nothing, blamed: true });
            }
        };
        call.answer = Some(Incoming { parts, body, tunnel: None, endpoint });
        Ok(())
    }
}

/// How much of a body came with its head.
enum Whole {
    All(Payload),
    Part(Option<Frame>),
    Malformed(BodyError),
}

/// Short responses come in one piece: then no body needs to be driven.
fn complete(decoder: &mut Decoder, length: BodyLength, conn: &mut Conn) -> Whole {
    const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";
    let input = &mut conn.wire.input;
    let may_be_whole = match length {
        BodyLength::Fixed(n) => n <= input.len() as u64,
        BodyLength::Chunked => input.ends_with(LAST_CHUNK) || input.starts_with(b"0\r\n"),
        BodyLength::UntilClose => false,
    };
    if !may_be_whole {
        return Whole::Part(None);
    }
    let first = match decoder.decode(input) {
        Ok(Decoded::End) => return Whole::All(Payload::Empty),
        Ok(Decoded::More) => return Whole::Part(None),
        Ok(Decoded::Frame(frame)) => frame,
        Err(e) => return Whole::Malformed(e),
    };
    match first {
        Frame::Data(data) if decoder.is_done() => Whole::All(data.into()),
        Frame::Data(data) if **input == *LAST_CHUNK => match decoder.decode(input) {
            Ok(Decoded::End) => Whole::All(data.into()),
            _ => Whole::Malformed(BodyError::Malformed("bad last chunk")),
        },
        first => Whole::Part(Some(first)),
    }
}

/// Responses that another one follows.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

#[cfg(test)]
mod tests;
