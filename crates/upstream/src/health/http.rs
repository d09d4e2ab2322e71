//! Health by HTTP: a `GET` that answers 2xx or 3xx, over whatever protocol requests would take.

use bytes::{Bytes, BytesMut};
use evergate_wire::{
    Headers, Stream, Wire,
    h1::{HeadLimits, Scan, parse_response, write_request_head},
    proxy_protocol::Said,
};
use http::{HeaderValue, Method, Request, StatusCode, header};

use tokio::net::TcpStream;

use crate::connect::{Connected, Connector};

const AGENT: HeaderValue = HeaderValue::from_static("evergate-health");
const LIMITS: HeadLimits = HeadLimits { bytes: 64 << 10, headers: 100 };

/// Asks for `path`, by a connection of its own. `host` is the `Host` to send; the endpoint's if there is none.
pub(super) async fn ask(connector: &Connector, path: &str, host: Option<&str>) -> Result<(), String> {
    let host = host.unwrap_or(connector.authority());
    let status = match connector.connect(false, Said::Nothing, |tcp| tcp).await.map_err(|e| e.to_string())? {
        Connected::Http1(stream) => by_http1(stream, path, host).await?,
        Connected::Http2(stream) => by_http2(stream, connector.scheme(), path, host).await?,
    };
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("answers {status}")) }
}

async fn by_http1(stream: Stream<TcpStream>, path: &str, host: &str) -> Result<StatusCode, String> {
    let mut headers = Headers::new();
    headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|e| e.to_string())?);
    headers.insert(header::USER_AGENT, AGENT);
    let mut wire = Wire::new(stream, BytesMut::new());
    let close = HeaderValue::from_static("close");
    write_request_head(wire.small(), &Method::GET, path, &headers, None, Some(&close));
    wire.flush().await.map_err(|e| e.to_string())?;
    let mut scan = Scan::default();
    loop {
        let head =
            parse_response(&mut wire.input, &mut scan, &Method::GET, LIMITS).map_err(|e| e.to_string())?;
        match head {
            Some(head) if head.parts.status.is_informational() => continue,
            Some(head) => return Ok(head.parts.status),
            None => {}
        }
        if wire.fill().await.map_err(|e| e.to_string())? == 0 {
            return Err("closes the connection without an answer".to_owned());
        }
    }
}

async fn by_http2(
    stream: Stream<TcpStream>,
    scheme: &str,
    path: &str,
    host: &str,
) -> Result<StatusCode, String> {
    let request = Request::get(format!("{scheme}://{host}{path}"))
        .header(header::USER_AGENT, AGENT)
        .body(())
        .map_err(|e| e.to_string())?;
    let (send, connection) = h2::client::handshake(stream).await.map_err(|e| e.to_string())?;
    let exchange = async {
        let mut send = send.ready().await.map_err(|e| e.to_string())?;
        let (response, _): (_, h2::SendStream<Bytes>) =
            send.send_request(request, true).map_err(|e| e.to_string())?;
        response.await.map(|r| r.status()).map_err(|e| e.to_string())
    };
    tokio::select! {
        biased;
        status = exchange => status,
        _ = connection => Err("closes the connection without an answer".to_owned()),
    }
}
