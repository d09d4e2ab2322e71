//! Health by HTTP: a `GET` that answers 2xx or 3xx, over whatever protocol requests would take.

use bytes::BytesMut;
use evergate_wire::{
    Headers, Stream, Wire,
    h1::{HeadLimits, Scan, parse_response, write_request_head},
    h2::{Role, Sent, conn::Conn},
    proxy_protocol::Said,
};
use http::{HeaderValue, Method, StatusCode, header};

use tokio::net::TcpStream;

use crate::{
    connect::{Connected, Connector},
    forward::h2,
};

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
    scheme: &'static str,
    path: &str,
    host: &str,
) -> Result<StatusCode, String> {
    let mut headers = Headers::new();
    headers.insert(header::USER_AGENT, AGENT);
    let request = Sent {
        method: &Method::GET,
        scheme,
        authority: host.as_bytes(),
        path: path.as_bytes(),
        headers: &headers,
        trailers: false,
        length: None,
    };
    let mut wire = Wire::new(stream, BytesMut::new());
    let mut conn = Conn::new(Role::Client, h2::LIMITS, &mut wire);
    let key = conn.open(&request, true, &mut wire);
    loop {
        wire.flush().await.map_err(|e| e.to_string())?;
        if wire.fill().await.map_err(|e| e.to_string())? == 0 {
            return Err("closes the connection without an answer".to_owned());
        }
        let mut input = std::mem::take(&mut wire.input);
        conn.receive(&mut input, 0, &mut wire);
        wire.input = input;
        match conn.response(key) {
            Some(Ok(head)) => return Ok(head.parts.status),
            Some(Err(failure)) => return Err(failure.to_string()),
            None => {}
        }
    }
}
