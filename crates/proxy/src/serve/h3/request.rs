//! One request on its stream: read, answered, sent.

use std::{cell::RefCell, rc::Rc};

use evergate_contract::{Fault, FaultKind};
use evergate_kit::deadline::Expired;
use evergate_wire::{
    Headers, Payload, RequestParts, ResponseParts,
    h3::code,
    headers::{Repeated, as_text},
};
use http::{HeaderValue, Method, StatusCode, header};
use quinn::{RecvStream, SendStream};

use super::{
    Open, Session,
    inbound::{Inbound, Reader, Refusal},
    outbound::{Cut, Writer},
};
use crate::{
    conn::Settings,
    exchange::{self, Answer, Request},
    reply,
};

/// Answers what comes on a stream.
pub(super) async fn serve(open: Open, send: SendStream, recv: RecvStream) {
    let session = &open.0;
    let settings = session.conn.settings(&session.worker.view());
    session.conn.begin_request(&settings);
    let mut writer = Writer::new(send, &session.worker.clock, &settings);
    let reader = Rc::new(RefCell::new(Reader::new(recv, settings)));
    match head(session, &reader, settings).await {
        Ok((parts, length)) => {
            let body = Payload::Stream(Box::new(Inbound::new(&reader, session, settings, length)));
            let body = if length == Some(0) { Payload::Empty } else { body };
            answer(session, &mut writer, Request { parts, body, upgrade: false, settings }).await;
        }
        Err(Refusal::Reply(kind)) => {
            session.worker.meter.refused(kind);
            let (parts, body) = reply::fault(&Fault::from(kind), &session.worker);
            send_response(session, &mut writer, &Method::GET, parts, body).await;
        }
        Err(Refusal::Reset(code)) => {
            reader.borrow_mut().stop(code);
            writer.reset(code);
        }
        Err(Refusal::End(code)) => session.end(code),
        Err(Refusal::Gone) => writer.reset(code::REQUEST_CANCELLED),
    }
}

/// The head, and the length of the body if it is told.
#[expect(clippy::await_holding_refcell_ref, reason = "nobody else has it before there is a head")]
async fn head(
    session: &Session,
    reader: &RefCell<Reader>,
    settings: Settings,
) -> Result<(RequestParts, Option<u64>), Refusal> {
    let deadline = session.worker.clock.deadline();
    deadline.arm(settings.header_timeout);
    let mut reader = reader.borrow_mut();
    match deadline.guard(reader.head()).await {
        Ok(parts) => {
            let mut parts = parts?;
            let length = prepare(&mut parts, settings).map_err(Refusal::Reply)?;
            Ok((parts, length))
        }
        Err(Expired) => Err(Refusal::Reply(FaultKind::ClientTimeout)),
    }
}

async fn answer(session: &Session, writer: &mut Writer, request: Request) {
    let method = request.parts.method.clone();
    let mut inform = |status: StatusCode, headers: Headers| {
        if status != StatusCode::CONTINUE {
            writer.inform(status, headers);
        }
    };
    let (answer, tally) = exchange::answer(&session.worker, &session.conn, request, &mut inform).await;
    match answer {
        Answer::Response(parts, payload) => send_response(session, writer, &method, parts, payload).await,
        // It is not offered, so nobody can have taken it.
        Answer::Tunnel(..) => writer.reset(code::INTERNAL),
    }
    drop(tally);
}

async fn send_response(
    session: &Session,
    writer: &mut Writer,
    method: &Method,
    mut parts: ResponseParts,
    mut payload: Payload,
) {
    let bodiless =
        *method == Method::HEAD || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless {
        payload = Payload::Empty;
    } else if let Some(n) = payload.length() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(n));
    }
    if let Err(cut) = writer.respond(&parts, payload).await {
        tracing::debug!(peer = %session.conn.peer(), error = %cut, "response cut short");
        writer.reset(match cut {
            Cut::Body(_) => code::INTERNAL,
            Cut::Peer(_) | Cut::Unwanted | Cut::Stalled => code::REQUEST_CANCELLED,
        });
    }
    session.worker.meter.bytes_out.add(writer.sent());
}

/// Makes the head look as HTTP/1 would have it: `Host` from `:authority`. Returns the length of the body,
/// if it is told.
fn prepare(parts: &mut RequestParts, settings: Settings) -> Result<Option<u64>, FaultKind> {
    if parts.headers.len() > settings.head.headers {
        return Err(FaultKind::HeaderTooLarge);
    }
    if parts.method == Method::CONNECT {
        return Err(FaultKind::BadRequest("CONNECT is not offered"));
    }
    let host = parts.headers.only(&header::HOST);
    let host = host.map_err(|Repeated| FaultKind::BadRequest("more than one Host"))?;
    match (parts.uri.authority(), host) {
        (Some(a), Some(h)) if !a.as_str().as_bytes().eq_ignore_ascii_case(h) => {
            return Err(FaultKind::BadRequest(":authority and Host differ"));
        }
        (Some(a), _) if a.as_str().contains('@') => return Err(FaultKind::BadRequest("bad :authority")),
        (Some(a), _) => {
            let host =
                HeaderValue::from_str(a.as_str()).map_err(|_| FaultKind::BadRequest("bad :authority"))?;
            parts.headers.insert(header::HOST, host);
        }
        (None, Some(_)) => {}
        (None, None) => return Err(FaultKind::BadRequest("no :authority and no Host")),
    }
    match parts.headers.only(&header::CONTENT_LENGTH) {
        Err(Repeated) => Err(FaultKind::BadRequest("more than one Content-Length")),
        Ok(Some(one)) => {
            let digits = as_text(one).filter(|s| s.bytes().all(|b| b.is_ascii_digit()));
            digits.and_then(|s| s.parse().ok()).map(Some).ok_or(FaultKind::BadRequest("bad Content-Length"))
        }
        Ok(None) => Ok(None),
    }
}
