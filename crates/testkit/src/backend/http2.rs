//! The backend over HTTP/2. What only HTTP/1.1 can say resets the stream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{Error, Reason, RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::task::JoinSet;

use super::{Asked, Shared, echo};
use crate::{
    client::{header_map, send_all},
    h1::{Fields, bad},
    io::BoxIo,
    rng::{Hash, hash, noise},
};

pub(super) async fn serve(shared: &Arc<Shared>, io: BoxIo) -> std::io::Result<()> {
    let mut settings = h2::server::Builder::new();
    settings.initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
    let mut connection = settings.handshake::<_, Bytes>(io).await.map_err(|e| bad(e.to_string()))?;
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => {
                    if request.headers().get("x-do").is_some_and(|act| act == "goaway") {
                        connection.graceful_shutdown();
                    }
                    let shared = Arc::clone(shared);
                    streams.spawn(async move { stream(&shared, request, respond).await });
                }
                _ => return Ok(()),
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn stream(
    shared: &Shared,
    request: Request<RecvStream>,
    mut send: SendResponse<Bytes>,
) -> Result<(), Error> {
    let (parts, mut body) = request.into_parts();
    let mut fields = Fields::from(&parts.headers);
    if let Some(authority) = parts.uri.authority() {
        fields.add(":authority", authority.as_str());
        fields.add(":scheme", parts.uri.scheme_str().unwrap_or_default());
    }
    let target = parts.uri.path_and_query().map_or("*", |p| p.as_str()).to_owned();
    let asked = Asked { method: parts.method.to_string(), target, version: "HTTP/2", fields };
    if let Some(status) = shared.note(&asked) {
        return respond(shared, &mut send, status, Bytes::new()).await;
    }
    let from = *shared.released.borrow();
    match asked.act().0 {
        "close" | "raw" => {
            send.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "early" => return respond(shared, &mut send, asked.number() as u16, Bytes::new()).await,
        "return" => return send_back(shared, &mut send, body).await,
        _ => {}
    }
    let (mut length, mut seen) = (0, Hash::default());
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        length += piece.len();
        seen.add(&piece);
    }
    let trailers = body.trailers().await?.as_ref().map(Fields::from).unwrap_or_default();
    let echo = echo(shared, &asked, length, seen.0, &trailers);
    act(shared, &mut send, &asked, from, echo.into()).await
}

/// Behaviours that start once the whole request is there.
async fn act(
    shared: &Shared,
    send: &mut SendResponse<Bytes>,
    asked: &Asked,
    from: usize,
    echo: Bytes,
) -> Result<(), Error> {
    match asked.act().0 {
        "status" => return respond(shared, send, asked.number() as u16, Bytes::new()).await,
        "slow" => tokio::time::sleep(Duration::from_millis(asked.number() as u64)).await,
        "hold" => shared.until(from, 1).await,
        "hints" => {
            let mut hint = head(103, &Fields::default());
            hint.headers_mut().insert("link", http::HeaderValue::from_static("</a.css>; rel=preload"));
            send.send_informational(hint)?;
        }
        "bytes" => {
            let body = noise(asked.number());
            let mut fields = shared.fields();
            fields.add("x-hash", hash(&body).to_string());
            let mut stream = send.send_response(head(200, &fields), false)?;
            return send_all(&mut stream, body.into(), true).await;
        }
        "stall" => {
            let mut fields = shared.fields();
            fields.add("content-length", "1000");
            let mut stream = send.send_response(head(200, &fields), false)?;
            stream.send_data(Bytes::from_static(b"half of it"), false)?;
            return std::future::pending().await;
        }
        "events" => return events(shared, send, from).await,
        "trailers" => {
            let mut stream = send.send_response(head(200, &shared.fields()), false)?;
            let mut trailers = Fields::default();
            trailers.add("x-sum", hash(&echo).to_string());
            trailers.add("x-end", "yes");
            send_all(&mut stream, echo, false).await?;
            return stream.send_trailers(header_map(&trailers));
        }
        _ => {}
    }
    respond(shared, send, 200, echo).await
}

fn head(status: u16, fields: &Fields) -> Response<()> {
    let mut response = Response::builder().status(status).body(()).expect("a status");
    *response.headers_mut() = header_map(fields);
    response
}

async fn respond(
    shared: &Shared,
    send: &mut SendResponse<Bytes>,
    status: u16,
    body: Bytes,
) -> Result<(), Error> {
    let mut fields = shared.fields();
    fields.add("content-type", "application/json");
    let mut stream = send.send_response(head(status, &fields), body.is_empty())?;
    if body.is_empty() { Ok(()) } else { send_all(&mut stream, body, true).await }
}

async fn events(shared: &Shared, send: &mut SendResponse<Bytes>, from: usize) -> Result<(), Error> {
    let mut fields = shared.fields();
    fields.add("content-type", "text/event-stream");
    let mut stream = send.send_response(head(200, &fields), false)?;
    for n in 0..3 {
        shared.until(from, n).await;
        send_all(&mut stream, format!("data: {n}\n\n").into(), n == 2).await?;
    }
    Ok(())
}

async fn send_back(
    shared: &Shared,
    send: &mut SendResponse<Bytes>,
    mut body: RecvStream,
) -> Result<(), Error> {
    let mut stream = send.send_response(head(200, &shared.fields()), false)?;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        let length = piece.len();
        send_all(&mut stream, piece, false).await?;
        body.flow_control().release_capacity(length)?;
    }
    match body.trailers().await? {
        Some(trailers) => stream.send_trailers(trailers),
        None => stream.send_data(Bytes::new(), true),
    }
}
