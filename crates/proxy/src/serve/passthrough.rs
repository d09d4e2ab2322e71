//! TLS that is passed on as it came: the name in the client's hello says where to.
//!
//! The hello is read and looked at, and goes on to whoever it is for, be it an endpoint or our own handshake.

use std::{rc::Rc, sync::Arc};

use bytes::BytesMut;
use evergate_kit::deadline::Deadline;
use evergate_wire::{
    Socket, Stream, Wire,
    hello::{self, Hello, HelloError},
};
use tokio::io::AsyncWriteExt;

use crate::{conn::Conn, meter::End, onward::Onward, snapshot::Entrance, worker::Worker};

/// Alerts (RFC 8446 §6).
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

/// What becomes of a connection.
pub(super) enum Passed {
    /// It is for that way.
    Onward(Arc<Onward>),
    /// It is for the listener itself.
    Here,
}

/// Reads the hello, for as long as `deadline` lets it, and decides. `None`: the connection was refused, or is gone.
pub(super) async fn sort(
    worker: &Rc<Worker>,
    conn: &Conn,
    entrance: &Entrance,
    wire: &mut Wire,
    deadline: &Deadline,
) -> Option<Passed> {
    let refused = |why: &dyn std::fmt::Display| {
        tracing::debug!(peer = %conn.peer(), %why, "passes nothing on");
        worker.meter.streams(&conn.incarnation().name).ended(End::Refused);
    };
    let hello = match read(wire, deadline).await {
        Ok(hello) => hello?,
        // Whatever is spoken is carried, if all is.
        Err(HelloError::NotTls) if entrance.tcp.is_some() && entrance.tls.is_none() => {
            return Some(Passed::Here);
        }
        Err(error) => {
            refused(&error);
            if error != HelloError::NotTls {
                alert(wire, deadline, DECODE_ERROR).await;
            }
            return None;
        }
    };
    let view = worker.view();
    let newest = conn.newest(&view);
    let entrance = newest.as_deref().unwrap_or(entrance);
    let name = hello.server_name.as_deref();
    match name.and_then(|name| entrance.passthrough.as_ref()?.find(name)) {
        Some(onward) => Some(Passed::Onward(onward.clone())),
        None if entrance.tls.is_some() || entrance.tcp.is_some() => Some(Passed::Here),
        None => {
            refused(&name.unwrap_or("no name"));
            alert(wire, deadline, UNRECOGNIZED_NAME).await;
            None
        }
    }
}

/// `Ok(None)`: the client is gone or too slow. One that is to go and has said nothing so far may be about to.
async fn read(wire: &mut Wire, deadline: &Deadline) -> Result<Option<Hello>, HelloError> {
    loop {
        if let Some(hello) = hello::peek(&wire.input)? {
            return Ok(Some(hello));
        }
        match deadline.guard(wire.fill()).await {
            Ok(Ok(n)) if n > 0 => {}
            _ => return Ok(None),
        }
    }
}

/// Says why, and goes.
async fn alert(wire: &mut Wire, deadline: &Deadline, description: u8) {
    const FATAL: u8 = 2;
    wire.small().extend_from_slice(&[21, 3, 3, 0, 2, FATAL, description]);
    let goodbye = async {
        wire.flush().await?;
        wire.io.shutdown().await
    };
    // Who does not take it is not told.
    let _ = deadline.guard(goodbye).await;
}

/// The socket of a connection that is not TLS for us so far, and what was read from it.
pub(super) fn unread(wire: Wire) -> Option<(Socket, BytesMut)> {
    match wire.io {
        Stream::Tcp(socket) => Some((socket, wire.input)),
        Stream::Tls(_) => None,
    }
}
