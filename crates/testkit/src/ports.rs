//! Ports for the gateway to listen on. Below the range from which the system takes ports for outgoing
//! connections, so that no client of the same test can take one between choosing and binding.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
};

const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Listens on a free port. Between a look and the binding, another process that looks may hold it for a moment: then it is
/// the next one.
pub async fn listen() -> tokio::net::TcpListener {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        if let Ok(listener) = tokio::net::TcpListener::bind(free()).await {
            return listener;
        }
    }
    panic!("a free port was taken {TRIES} times");
}

/// A loopback address that nobody listens on, neither by TCP nor by UDP, and that this process has not given out lately.
#[must_use]
pub fn free() -> SocketAddr {
    let start = std::process::id().wrapping_mul(251);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("below 65536")));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}
