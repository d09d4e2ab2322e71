//! A gRPC backend that does nothing but answer: one message for each call, then the trailers. It has a thread of its
//! own, so that a measurement may block the one that it runs in.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

/// The path of the only call.
pub const CALL: &str = "/bench.Unary/Call";

/// A message of eight bytes, as gRPC frames it: not compressed, its length, itself.
pub const MESSAGE: [u8; 13] = *b"\0\0\0\0\x08\x0a\x06golden";

/// Serves at an address until the process ends.
///
/// # Errors
/// If the address is taken.
pub fn serve(address: SocketAddr) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let accept = async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream));
        }
    };
    std::thread::Builder::new().name("unary".to_owned()).spawn(move || runtime.block_on(accept))?;
    Ok(())
}

async fn connection(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(1000).initial_connection_window_size(4 << 20);
    let Ok(mut connection) = settings.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, send))) = connection.accept().await {
        tokio::spawn(answer(request, send));
    }
}

/// The call's own message is taken in whole before it is answered, as a real one would be.
async fn answer(request: Request<h2::RecvStream>, mut send: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let mut length = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        length += piece.len();
        body.flow_control().release_capacity(piece.len())?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = send.send_response(head, false)?;
    stream.send_data(Bytes::from_static(&MESSAGE), false)?;
    let status = if length == MESSAGE.len() { "0" } else { "3" };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    stream.send_trailers(trailers)
}
