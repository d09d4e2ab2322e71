//! What a listener needs to carry datagrams: a UDP socket.

use std::sync::Arc;

use evergate_contract::config::{Name, Place};

use super::{Builder, object};
use crate::listen::Claim;

impl Builder<'_> {
    /// The socket of a listener that is new at its place; one that is open there already is taken over.
    pub(super) fn mailbox(&mut self, name: &Name, place: &Place) -> Option<Arc<Claim>> {
        match self.shop.mailboxes.claim(place, name, &self.shop.fds) {
            Ok(claim) => Some(claim),
            Err(error) => {
                let message = format!("cannot take datagrams at {}: {error}", place.address);
                self.problem("bind", &object("listeners", name).join("address"), message);
                None
            }
        }
    }
}
