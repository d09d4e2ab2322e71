//! The backend over HTTP/1.1.

use std::{io::Result, time::Duration};

use super::{Asked, Shared, echo};
use crate::{
    h1::{self, Fields, Framing, Head, Line, bad},
    io::BoxIo,
    rng::{Hash, hash, noise},
    ws::{self, Socket},
};

/// What becomes of the connection.
enum Next {
    Keep(Line),
    Close(Line),
    Gone,
}

pub(super) async fn serve(shared: &Shared, io: BoxIo) -> Result<()> {
    let mut line = Line::new(io);
    while let Some(head) = line.reader.head().await? {
        let asked = asked(head)?;
        let last = asked.fields.lists("connection", "close");
        line = match answer(shared, line, &asked).await? {
            Next::Keep(line) if !last => line,
            Next::Keep(mut line) | Next::Close(mut line) => {
                line.writer.finish().await?;
                line.reader.rest().await;
                return Ok(());
            }
            Next::Gone => return Ok(()),
        };
    }
    Ok(())
}

fn asked(head: Head) -> Result<Asked> {
    let mut words = head.first.split(' ').map(str::to_owned);
    match (words.next(), words.next(), words.next().as_deref(), words.next()) {
        (Some(method), Some(target), Some("HTTP/1.1"), None) => {
            Ok(Asked { method, target, version: "HTTP/1.1", fields: head.fields })
        }
        _ => Err(bad(format!("no request line: {:?}", head.first))),
    }
}

async fn answer(shared: &Shared, mut line: Line, asked: &Asked) -> Result<Next> {
    let mut framing = Framing::of_request(&asked.fields)?;
    if let Some(status) = shared.note(asked) {
        respond(shared, &mut line, asked, status, b"").await?;
        return Ok(Next::Keep(line));
    }
    if asked.fields.get("upgrade").is_some() {
        return upgrade(shared, line, asked).await;
    }
    let from = *shared.released.borrow();
    match asked.act() {
        ("close", _) => return Ok(Next::Gone),
        ("early", _) => {
            respond(shared, &mut line, asked, asked.number() as u16, b"").await?;
            return Ok(Next::Close(line));
        }
        ("raw", name) => {
            line.reader.body(framing).await?;
            let script = shared.scripts.lock().expect("no panic").get(name).cloned().unwrap_or_default();
            line.writer.raw(&script).await?;
            return Ok(Next::Close(line));
        }
        _ => {}
    }
    if asked.fields.lists("expect", "100-continue") {
        line.writer.raw(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if asked.act().0 == "return" {
        return send_back(shared, line, framing).await;
    }
    let (mut length, mut seen, mut trailers) = (0, Hash::default(), Fields::default());
    while let Some(piece) = line.reader.piece(&mut framing, &mut trailers).await? {
        length += piece.len();
        seen.add(&piece);
    }
    let echo = echo(shared, asked, length, seen.0, &trailers);
    act(shared, &mut line, asked, from, &echo).await?;
    Ok(Next::Keep(line))
}

/// Behaviours that start once the whole request is there.
async fn act(shared: &Shared, line: &mut Line, asked: &Asked, from: usize, echo: &[u8]) -> Result<()> {
    match asked.act().0 {
        "status" => return respond(shared, line, asked, asked.number() as u16, b"").await,
        "slow" => tokio::time::sleep(Duration::from_millis(asked.number() as u64)).await,
        "hold" => shared.until(from, 1).await,
        "hints" => {
            line.writer.raw(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n").await?;
        }
        "bytes" => {
            let body = noise(asked.number());
            let mut fields = shared.fields();
            fields.add("x-hash", hash(&body).to_string());
            fields.add("content-length", body.len().to_string());
            line.writer.raw(h1::head("HTTP/1.1 200 OK", &fields).as_bytes()).await?;
            return line.writer.raw(&body).await;
        }
        "stall" => {
            line.writer.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf of it").await?;
            return std::future::pending().await;
        }
        "events" => return events(shared, line, from).await,
        "trailers" => {
            let mut fields = shared.fields();
            fields.add("trailer", "x-sum, x-end");
            fields.add("transfer-encoding", "chunked");
            line.writer.raw(h1::head("HTTP/1.1 200 OK", &fields).as_bytes()).await?;
            line.writer.chunk(echo).await?;
            let mut trailers = Fields::default();
            trailers.add("x-sum", hash(echo).to_string());
            trailers.add("x-end", "yes");
            return line.writer.last_chunk(&trailers).await;
        }
        _ => {}
    }
    respond(shared, line, asked, 200, echo).await
}

async fn respond(shared: &Shared, line: &mut Line, asked: &Asked, status: u16, body: &[u8]) -> Result<()> {
    let mut fields = shared.fields();
    if status != 204 && status != 304 {
        fields.add("content-type", "application/json");
        fields.add("content-length", body.len().to_string());
    }
    let mut out = h1::head(&format!("HTTP/1.1 {status} Status"), &fields).into_bytes();
    if asked.method != "HEAD" {
        out.extend_from_slice(body);
    }
    line.writer.raw(&out).await
}

async fn events(shared: &Shared, line: &mut Line, from: usize) -> Result<()> {
    let mut fields = shared.fields();
    fields.add("content-type", "text/event-stream");
    fields.add("transfer-encoding", "chunked");
    line.writer.raw(h1::head("HTTP/1.1 200 OK", &fields).as_bytes()).await?;
    for n in 0..3 {
        shared.until(from, n).await;
        line.writer.chunk(format!("data: {n}\n\n").as_bytes()).await?;
    }
    line.writer.last_chunk(&Fields::default()).await
}

async fn send_back(shared: &Shared, mut line: Line, mut framing: Framing) -> Result<Next> {
    let mut fields = shared.fields();
    fields.add("transfer-encoding", "chunked");
    line.writer.raw(h1::head("HTTP/1.1 200 OK", &fields).as_bytes()).await?;
    let mut trailers = Fields::default();
    while let Some(piece) = line.reader.piece(&mut framing, &mut trailers).await? {
        if !piece.is_empty() {
            line.writer.chunk(&piece).await?;
        }
    }
    line.writer.last_chunk(&trailers).await?;
    Ok(Next::Keep(line))
}

/// A WebSocket echoes texts; any other protocol echoes bytes, and ends when the client has said all.
async fn upgrade(shared: &Shared, mut line: Line, asked: &Asked) -> Result<Next> {
    let protocol = asked.fields.get("upgrade").unwrap_or_default().to_owned();
    if asked.act().0 == "status" {
        respond(shared, &mut line, asked, asked.number() as u16, b"").await?;
        return Ok(Next::Keep(line));
    }
    let mut fields = shared.fields();
    fields.add("connection", "upgrade");
    fields.add("upgrade", &protocol);
    let socket = protocol.eq_ignore_ascii_case("websocket");
    if socket {
        let key = asked.fields.get("sec-websocket-key").unwrap_or_default();
        fields.add("sec-websocket-accept", ws::accept(key));
    }
    line.writer.raw(h1::head("HTTP/1.1 101 Switching Protocols", &fields).as_bytes()).await?;
    if socket {
        Socket::over(line, false).echo_all().await?;
        return Ok(Next::Gone);
    }
    loop {
        let bytes = line.reader.some().await?;
        if bytes.is_empty() {
            line.writer.raw(b"bye").await?;
            line.writer.finish().await?;
            return Ok(Next::Gone);
        }
        line.writer.raw(&bytes).await?;
    }
}
