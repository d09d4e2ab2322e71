//! One question over HTTP/3. The library is not the gateway's: an error of one side cannot hide behind the other's.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use bytes::{Buf, Bytes, BytesMut};
use h3::{
    ConnectionState,
    client::{RequestStream, SendRequest},
    error::StreamError,
};
use h3_quinn::{BidiStream, OpenStreams, RecvStream, SendStream};
use quinn::{ConnectionError, crypto::rustls::QuicClientConfig};
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;

use super::{Answer, Ask, Failure, http2::header_map};
use crate::h1::Fields;

/// A connection.
#[derive(Clone)]
pub(super) struct Line {
    send: SendRequest<OpenStreams, Bytes>,
    quic: quinn::Connection,
}

/// The body of an answer while it comes.
pub(super) struct Body {
    recv: RequestStream<RecvStream, Bytes>,
    /// Dropped, it would tell the server that nobody listens.
    _send: RequestStream<SendStream<Bytes>, Bytes>,
}

/// A QUIC connection that shakes hands for HTTP/3 and says nothing yet.
pub(super) async fn dial(
    address: SocketAddr,
    config: &ClientConfig,
    name: &str,
) -> Result<quinn::Connection, Failure> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicClientConfig::try_from(config).map_err(|e| Failure::Bad(e.to_string()))?;
    let local = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let endpoint = quinn::Endpoint::client(local)?;
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, address, name).map_err(|e| Failure::Bad(e.to_string()))?;
    connecting.await.map_err(|e| match e {
        ConnectionError::ConnectionClosed(_) => Failure::Refused(e.to_string()),
        other => Failure::Bad(format!("no QUIC: {other}")),
    })
}

impl Line {
    pub(super) async fn connect(quic: quinn::Connection) -> Result<Line, Failure> {
        let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(quic.clone()))
            .await
            .map_err(|e| Failure::Bad(format!("no HTTP/3: {e}")))?;
        // Requests in flight report the error; here only the end counts.
        tokio::spawn(async move { drop(driver.wait_idle().await) });
        Ok(Line { send, quic })
    }

    pub(super) fn goaway(&self) -> bool {
        self.send.is_closing()
    }

    pub(super) async fn closed(&self) {
        let _ = self.quic.closed().await;
    }

    /// The certificate that the server showed.
    pub(super) fn shown(&self) -> Option<CertificateDer<'static>> {
        let identity = self.quic.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        identity.first().map(|c| c.clone().into_owned())
    }

    /// What a failed request means, now that one can see how the connection is.
    fn why(&self, error: &StreamError) -> Failure {
        match error {
            StreamError::RemoteClosing => Failure::Goaway,
            _ if self.goaway() => Failure::Goaway,
            StreamError::RemoteTerminate { code } => Failure::Reset(code.to_string()),
            StreamError::ConnectionError(e) if e.is_h3_no_error() => Failure::Closed,
            StreamError::ConnectionError(e) => Failure::Reset(e.to_string()),
            other => Failure::Bad(other.to_string()),
        }
    }

    pub(super) async fn ask(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        self.ask_now(ask).await.map_err(|e| self.why(&e))
    }

    async fn ask_now(&mut self, ask: &Ask) -> Result<Answer, StreamError> {
        let (mut send, mut recv) = self.send.send_request(request(ask)).await?.split();
        let sending = async {
            if !ask.body.is_empty() {
                send.send_data(ask.body.clone()).await?;
            }
            if !ask.trailers.0.is_empty() {
                send.send_trailers(header_map(&ask.trailers)).await?;
            }
            send.finish().await
        };
        let receiving = async {
            let mut early = Vec::new();
            let parts = loop {
                let (parts, ()) = recv.recv_response().await?.into_parts();
                match parts.status.as_u16() {
                    status @ 100..200 => early.push((status, Fields::from(&parts.headers))),
                    _ => break parts,
                }
            };
            let mut body = BytesMut::new();
            while let Some(piece) = recv.recv_data().await? {
                body.extend_from_slice(piece.chunk());
            }
            let trailers = recv.recv_trailers().await?.as_ref().map(Fields::from).unwrap_or_default();
            let (status, fields) = (parts.status.as_u16(), Fields::from(&parts.headers));
            Ok(Answer { status, fields, body: body.freeze(), trailers, early })
        };
        tokio::pin!(sending, receiving);
        tokio::select! {
            biased;
            answer = &mut receiving => answer,
            // The stream may have been closed with an answer before it was read to its end.
            _ = &mut sending => receiving.await,
        }
    }

    /// Asks without a body and gives the answer's body as it comes.
    pub(super) async fn begin(&mut self, ask: &Ask) -> Result<Body, Failure> {
        let begun = async {
            let stream: RequestStream<BidiStream<Bytes>, Bytes> =
                self.send.send_request(request(ask)).await?;
            let (mut send, mut recv) = stream.split();
            send.finish().await?;
            recv.recv_response().await?;
            Ok(Body { recv, _send: send })
        };
        begun.await.map_err(|e| self.why(&e))
    }

    /// The next piece of a body.
    pub(super) async fn piece(&self, body: &mut Body) -> Result<Option<Bytes>, Failure> {
        let piece = body.recv.recv_data().await.map_err(|e| self.why(&e))?;
        Ok(piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
    }
}

fn request(ask: &Ask) -> http::Request<()> {
    let mut request = http::Request::builder()
        .method(ask.method.as_str())
        .uri(format!("https://{}{}", ask.host, ask.target))
        .version(http::Version::HTTP_3)
        .body(())
        .expect("a request that HTTP/3 can say");
    *request.headers_mut() = header_map(&ask.fields);
    request
}
