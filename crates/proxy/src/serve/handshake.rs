//! TLS handshakes with clients (RFC 8446): settings are chosen by the name that a client asks for.

use std::{io, rc::Rc, sync::Arc};

use evergate_tls::{Identity, ServerTls};
use evergate_wire::Socket;
use rustls::{ServerConnection, server::Acceptor};
use tokio::io::AsyncWriteExt;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsStream};

use crate::{
    conn::{Agreed, Conn},
    worker::Worker,
};

/// A fatal alert `unrecognized_name` in a record of its own (RFC 8446 §5.1, §6.2).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Shakes hands, and tells the connection what was agreed on. A client that is refused has been told why by an alert. `early` was
/// read before.
pub(super) async fn shake(
    worker: &Rc<Worker>,
    conn: &Conn,
    tls: &ServerTls,
    socket: Socket,
    mut early: &[u8],
) -> io::Result<Box<TlsStream<Socket>>> {
    let start = hello(socket, &mut early).await?;
    let name: Option<Box<str>> = start.client_hello().server_name().map(Into::into);
    let Some(handshake) = tls.choose(name.as_deref()) else {
        let mut socket = start.io;
        socket.write_all(&UNRECOGNIZED_NAME).await?;
        socket.shutdown().await?;
        return Err(io::Error::other("the client asked for no name that is known here"));
    };
    let rule = handshake.rule.clone();
    let config = Arc::clone(&handshake.config);
    let stream = start.into_stream_with(config, |tls| feed(tls, early)).await?;
    let client = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(Identity::of);
    done(worker, conn, Agreed { name, rule, client });
    Ok(Box::new(TlsStream::Server(stream)))
}

/// Tells the connection what was agreed on.
pub(super) fn done(worker: &Rc<Worker>, conn: &Conn, agreed: Agreed) {
    conn.agreed(agreed);
    if let Some(client) = conn.client() {
        tracing::debug!(peer = %conn.peer(), %client, "the client showed who it is");
    }
    // What clients are asked may have changed while this one answered.
    if worker.view().snapshot().is_some_and(|snapshot| !conn.is_let_in(snapshot)) {
        conn.close_politely();
    }
}

/// Reads the client's first message, beginning with what was read already; the rest of that stays.
async fn hello(mut socket: Socket, early: &mut &[u8]) -> io::Result<StartHandshake<Socket>> {
    let mut acceptor = Acceptor::default();
    while !early.is_empty() {
        acceptor.read_tls(early)?;
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(StartHandshake::from_parts(accepted, socket)),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                socket.write_all(&bytes).await?;
                socket.shutdown().await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
    LazyConfigAcceptor::new(acceptor, socket).await
}

/// Gives the handshake what was read before it. What is wrong with it the handshake says itself.
fn feed(tls: &mut ServerConnection, mut early: &[u8]) {
    while !early.is_empty() && tls.read_tls(&mut early).is_ok_and(|n| n > 0) {
        if tls.process_new_packets().is_err() {
            return;
        }
    }
}
