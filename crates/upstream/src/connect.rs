//! Connections to endpoints: name look-up, TCP, TLS, and which protocol is spoken then.
//!
//! The caller says how long it may take. Must not know: pools, requests, who asks (a worker or a health check).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use evergate_contract::config::{
    Carried, Endpoint, Name, Protocol, ProxyVersion, Upstream, UpstreamProtocol,
};
use evergate_kit::Keep;
use evergate_tls::{ClientError, client::offers, client_config, server_name};
use evergate_wire::{
    Carrier, Stream,
    proxy_protocol::{self, Said, Version},
};
use futures_util::{StreamExt, future::Either, stream::FuturesUnordered};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket},
};
use tokio_rustls::{TlsConnector, TlsStream};

use crate::build::Build;

/// The next address of a name is tried beside the first after this (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How to reach one endpoint. Two that are equal are the same `Arc`: connections belong to it.
#[derive(Debug)]
pub struct Connector {
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    protocol: UpstreamProtocol,
    proxy: Option<Version>,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    handshake: Arc<Handshake>,
    name: ServerName<'static>,
}

/// The handshake settings of an upstream. One for as long as they stay the same, sessions to resume included.
#[derive(Debug)]
pub struct Handshake {
    all: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone: an upgrade needs it (RFC 9110 §7.8).
    http1: Arc<ClientConfig>,
    digest: String,
}

/// A connection, and what is spoken on it.
#[derive(Debug)]
pub enum Connected<S> {
    /// HTTP/1.1.
    Http1(Stream<S>),
    /// HTTP/2.
    Http2(Stream<S>),
}

impl<S> Connected<S> {
    /// The connection, whatever is spoken on it.
    #[must_use]
    pub fn into_stream(self) -> Stream<S> {
        match self {
            Connected::Http1(stream) | Connected::Http2(stream) => stream,
        }
    }
}

/// Why there is no connection. Who was asked is said by who asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("the name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// TCP failed, for each address.
    #[error("no connection: {0}")]
    Tcp(io::Error),
    /// The handshake failed.
    #[error("TLS handshake: {0}")]
    Tls(io::Error),
    /// The endpoint does not speak what the document asks for.
    #[error("it does not speak HTTP/2")]
    Protocol,
}

impl Handshake {
    /// The one with these settings, known or new.
    pub(crate) fn kept(spec: &Upstream, cx: &Build<'_>) -> Result<Arc<Handshake>, ClientError> {
        let tls = spec.tls.clone().unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        field(cx.ca.map(|pem| pem.bytes).unwrap_or_default());
        // A stream is of a protocol that only its two ends know.
        let (all, http1) = match spec.carries() {
            Carried::Http => (offers(spec.protocol), offers(UpstreamProtocol::Http1)),
            Carried::Tcp | Carried::Udp => (&[][..], &[][..]),
        };
        field(&[u8::from(tls.ca.is_some()), u8::from(tls.insecure_skip_verify)]);
        field(&[spec.protocol as u8, all.len() as u8]);
        for cert in cx.own.iter().flat_map(|own| &own.key.cert) {
            field(cert);
        }
        let digest = hasher.finalize().to_hex().to_string();
        cx.keep.try_get("handshake", &digest.clone(), || {
            let config = |protocols: &[Protocol]| client_config(cx.crypto, &tls, cx.ca, cx.own, protocols);
            Ok(Handshake { all: config(all)?, http1: config(http1)?, digest })
        })
    }
}

impl Connector {
    /// The one for that endpoint with these settings, known or new.
    pub(crate) fn kept(
        keep: &Keep,
        upstream: &Name,
        spec: &Upstream,
        endpoint: &Endpoint,
        handshake: Option<&Arc<Handshake>>,
    ) -> Result<Arc<Connector>, ClientError> {
        let tls = match handshake {
            Some(handshake) if endpoint.is_tls() => Some(Tls {
                handshake: handshake.clone(),
                name: server_name(&endpoint.url, &spec.tls.clone().unwrap_or_default())?,
            }),
            _ => None,
        };
        let secured = tls.as_ref().map_or(String::new(), |t| format!("{} {:?}", t.handshake.digest, t.name));
        let how = (spec.protocol, spec.proxy_protocol);
        let key = format!("{upstream}\0{} {how:?} {secured}", endpoint.id());
        Ok(keep.get("connector", &key, || Connector {
            host: endpoint.host().into(),
            port: endpoint.port(),
            authority: endpoint.url.authority().map_or("", |a| a.as_str()).into(),
            protocol: spec.protocol,
            proxy: spec.proxy_protocol.map(|version| match version {
                ProxyVersion::V1 => Version::One,
                ProxyVersion::V2 => Version::Two,
            }),
            tls,
        }))
    }

    /// Host and port as the URL has them; the `Host` of requests that name none.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// What is spoken, where that is known before there is a connection; `None` where ALPN decides.
    pub(crate) fn known_protocol(&self) -> Option<Protocol> {
        match (self.protocol, &self.tls) {
            (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Auto, None) => Some(Protocol::Http1),
            (UpstreamProtocol::Http2, _) => Some(Protocol::Http2),
            (UpstreamProtocol::Auto, Some(_)) => None,
        }
    }

    /// True if a connection says for whom it is made, and is of no use to others.
    pub(crate) fn announces(&self) -> bool {
        self.proxy.is_some()
    }

    /// Connects for a client; `carrier` is what the connection's bytes go by. With `http1_only`, HTTP/2 is not offered where
    /// there is a choice.
    ///
    /// # Errors
    /// If there is no connection to be had.
    pub async fn connect<S: Carrier>(
        &self,
        http1_only: bool,
        client: Said,
        carrier: impl FnOnce(TcpStream) -> S,
    ) -> Result<Connected<S>, ConnectError> {
        let mut tcp = carrier(self.tcp().await?);
        if let Some(version) = self.proxy {
            let mut header = BytesMut::new();
            proxy_protocol::write(&mut header, version, client);
            tcp.write_all(&header).await.map_err(ConnectError::Tcp)?;
        }
        let Some(tls) = &self.tls else {
            let stream = Stream::Tcp(tcp);
            return Ok(match self.protocol {
                UpstreamProtocol::Http2 => Connected::Http2(stream),
                UpstreamProtocol::Auto | UpstreamProtocol::Http1 => Connected::Http1(stream),
            });
        };
        let config = if http1_only { &tls.handshake.http1 } else { &tls.handshake.all };
        let stream = TlsConnector::from(config.clone()).connect(tls.name.clone(), tcp).await;
        let stream = stream.map_err(ConnectError::Tls)?;
        let stream = Stream::Tls(Box::new(TlsStream::Client(stream)));
        if stream.alpn() == Some(b"h2") {
            Ok(Connected::Http2(stream))
        } else if self.protocol == UpstreamProtocol::Http2 && !http1_only {
            Err(ConnectError::Protocol)
        } else {
            Ok(Connected::Http1(stream))
        }
    }

    /// A TCP connection alone.
    ///
    /// # Errors
    /// If there is none to be had.
    pub async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let stream = match self.host.parse::<IpAddr>() {
            Ok(ip) => TcpStream::connect(SocketAddr::new(ip, self.port)).await,
            Err(_) => {
                let found = tokio::net::lookup_host((&*self.host, self.port)).await;
                let found = found.map_err(ConnectError::Resolve)?;
                first_to_answer(interleaved(found.collect())).await
            }
        };
        let stream = stream.map_err(ConnectError::Tcp)?;
        // Fails only on a socket that is dead, which the first write says as well.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Connector {
    /// A socket that sends datagrams to the endpoint and receives them from there alone.
    ///
    /// # Errors
    /// If the endpoint has no address, or the system no socket.
    pub async fn udp(&self) -> Result<UdpSocket, ConnectError> {
        let address = match self.host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, self.port),
            Err(_) => {
                let mut found = tokio::net::lookup_host((&*self.host, self.port)).await;
                let first = found.as_mut().map(Iterator::next);
                let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                first
                    .map_err(|e| ConnectError::Resolve(io::Error::new(e.kind(), e.to_string())))?
                    .ok_or_else(|| ConnectError::Resolve(none()))?
            }
        };
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await.map_err(ConnectError::Tcp)?;
        socket.connect(address).await.map_err(ConnectError::Tcp)?;
        Ok(socket)
    }
}

/// Addresses of both families by turns, in the resolver's order (RFC 8305 §4).
fn interleaved(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (same, other): (Vec<_>, Vec<_>) = found.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = [same.next(), other.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

/// The first connection to come about; the next address is tried when one fails or takes long.
async fn first_to_answer(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match waiting.next() {
            Some(address) => running.push(TcpStream::connect(address)),
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let patience = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            } else {
                tokio::time::sleep(ATTEMPT_DELAY).await;
            }
        };
        match futures_util::future::select(running.next(), pin!(patience)).await {
            Either::Left((Some(Ok(stream)), _)) => return Ok(stream),
            Either::Left((Some(Err(e)), _)) => last = e,
            Either::Left((None, _)) | Either::Right(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
