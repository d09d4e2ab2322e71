//! What a listener needs to carry datagrams: a UDP socket.

use std::sync::Arc;

use evergate_contract::config::{Name, Place};

use super::{Builder, object};
use crate::listen::UdpBound;

impl Builder<'_> {
    /// The socket of a listener that is new at its place; one that is open there already is taken over.
    pub(super) fn udp_socket(&mut self, name: &Name, place: &Place) -> Option<Arc<UdpBound>> {
        let address = place.address.ip()?;
        let before = self.before.iter().flat_map(|b| b.snapshot.listeners.values());
        let mut own: Vec<_> =
            before.filter_map(|e| Some((e.config.place(), e.udp_socket.clone()?))).collect();
        if let Some((_, bound)) = own.iter().find(|(at, _)| at == place && address.port() != 0) {
            return Some(bound.clone());
        }
        let own: Vec<_> = own.drain(..).map(|(_, bound)| bound).collect();
        let open = || UdpBound::at(address, address, place.v6_only, name, &own, &self.shop.fds);
        match self.shop.udp_places.open(address, open) {
            Ok(socket) => Some(socket),
            Err(error) => {
                let message = format!("cannot take datagrams at {address}: {error}");
                self.problem("bind", &object("listeners", name).join("address"), message);
                None
            }
        }
    }
}
