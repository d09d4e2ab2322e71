//! What a listener needs for HTTP/3: a UDP socket at the address of its TCP socket, and handshakes.

use std::sync::Arc;

use evergate_contract::config::{Listener, Name};
use evergate_tls::ServerTls;

use super::{Builder, object};
use crate::{
    listen::{Bound, UdpBound},
    quic::{self, Quic},
};

impl Builder<'_> {
    /// `bound` is the listener's TCP socket, `tls` how it shakes hands there.
    pub(super) fn quic(
        &mut self,
        name: &Name,
        listener: &Listener,
        bound: &Bound,
        tls: &Arc<ServerTls>,
    ) -> Option<Quic> {
        let socket = self.datagrams(name, bound)?;
        match quic::handshake(&tls.for_all_names()) {
            Ok(tls) => {
                let http3 = listener.http3.clone().unwrap_or_default();
                let quic = Quic::new(&socket, tls, &http3, &self.shop.steering);
                self.datagrams.push(socket);
                Some(quic)
            }
            Err(error) => {
                let path = object("listeners", name).join("tls");
                self.problem("tls", &path, format!("HTTP/3 is not possible: {error}"));
                None
            }
        }
    }

    /// The socket is found by its address: it may still finish what was begun when `h3` was taken out, or the
    /// listener had another name.
    fn datagrams(&mut self, name: &Name, bound: &Bound) -> Option<Arc<UdpBound>> {
        // The check lets no other listener speak HTTP/3.
        let (asked, at) = (bound.place.address.ip()?, bound.ip()?);
        let before = self.before.iter().flat_map(|b| &b.snapshot.datagrams);
        let own: Vec<_> = before.chain(&self.datagrams).cloned().collect();
        let (fds, v6_only) = (&self.shop.fds, bound.place.v6_only);
        let open = || UdpBound::at(asked, at, v6_only, name, &own, fds);
        match self.shop.keep.try_get("quic_socket", &format!("{at} {v6_only}"), open) {
            Ok(socket) => Some(socket),
            Err(error) => {
                let message = format!("cannot receive UDP on {at} for HTTP/3: {error}");
                self.problem("bind", &object("listeners", name).join("address"), message);
                None
            }
        }
    }
}
