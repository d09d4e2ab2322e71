//! QUIC of a listener: its socket, its settings, and how packets find the process that they belong to.
//!
//! One worker serves all of a process's QUIC connections; what is spoken on them is `serve::h3`'s. Sockets are opened
//! and settings compiled while a snapshot is built.

mod parcel;
mod socket;
mod steer;

use std::{
    io,
    sync::{Arc, Weak},
};

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use evergate_contract::config::{AltSvc, Http3};
use http::HeaderValue;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use socket::Steered;

pub(crate) use steer::Steering;

use crate::listen::UdpBound;

/// Streams in one direction that a client may have open: one for control, two for QPACK, and some that mean nothing
/// (RFC 9114 §6.2.3).
const UNI_STREAMS: u32 = 8;

/// Bytes that are sent ahead on a connection before the client has acknowledged them: what one that acknowledges
/// nothing can make us keep.
const SEND_WINDOW: u64 = 2 << 20;

/// What a listener needs to speak HTTP/3.
pub(crate) struct Quic {
    /// Its socket, held by the snapshot and by who serves it: settings may be kept for longer.
    pub socket: Weak<UdpBound>,
    /// How new connections begin.
    pub config: Arc<ServerConfig>,
    /// `Alt-Svc` for answers over TCP.
    pub alt_svc: Option<HeaderValue>,
    /// How packets find their process.
    pub steering: Arc<Steering>,
}

impl Quic {
    /// With settings for new connections.
    pub(crate) fn new(
        socket: &Arc<UdpBound>,
        tls: QuicServerConfig,
        http3: &Http3,
        steering: &Arc<Steering>,
    ) -> Quic {
        let alt_svc = alt_svc(&http3.alt_svc, socket.address.port());
        let mut config = ServerConfig::new(
            Arc::new(tls),
            Arc::new(Salt::new(HKDF_SHA256, b"evergate retry").extract(steering.tokens())),
        );
        config.transport_config(Arc::new(transport(http3)));
        Quic { socket: Arc::downgrade(socket), config: Arc::new(config), alt_svc, steering: steering.clone() }
    }
}

/// How HTTP/3 shakes hands on a listener with this TLS.
pub(crate) fn handshake(tls: &rustls::ServerConfig) -> Result<QuicServerConfig, rustls::Error> {
    let (config, initial) = evergate_tls::quic_config(tls)?;
    let config = QuicServerConfig::with_initial(config, initial);
    config.map_err(|error| rustls::Error::General(error.to_string()))
}

fn transport(http3: &Http3) -> TransportConfig {
    // Sizes are checked to be far below the largest integer of QUIC.
    let size = |bytes: u64| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(http3.streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .max_idle_timeout(IdleTimeout::try_from(*http3.idle).ok())
        .keep_alive_interval(http3.keep_alive.map(|span| *span))
        .stream_receive_window(size(http3.stream_window.0))
        .receive_window(size(http3.connection_window.0))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    transport
}

/// Takes a socket up in the runtime that calls. The settings are those for packets of connections that have not begun;
/// each connection begins with the newest ones.
pub(crate) fn endpoint(
    socket: &Arc<UdpBound>,
    steering: &Arc<Steering>,
    config: &ServerConfig,
) -> io::Result<Endpoint> {
    let endpoint = endpoint_config(steering);
    let socket = Arc::new(Steered::new(socket.for_worker()?, Some(socket.clone()), steering.clone())?);
    Endpoint::new_with_abstract_socket(endpoint, Some(config.clone()), socket, Arc::new(TokioRuntime))
}

/// What is the same for all connections of a socket.
fn endpoint_config(steering: &Arc<Steering>) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(steering.resets()));
    let steering = steering.clone();
    config.cid_generator(move || Box::new(steering.clone().ids()));
    config
}

fn alt_svc(spec: &AltSvc, port: u16) -> Option<HeaderValue> {
    let seconds = spec.max_age.as_secs();
    let port = spec.port.unwrap_or(port);
    let value = (!spec.max_age.is_zero()).then(|| format!("h3=\":{port}\"; ma={seconds}"))?;
    HeaderValue::try_from(value).ok()
}

#[cfg(test)]
mod tests;
