//! Whether a client that is silent is there: a PING after some silence, and an end after more of it.

use std::task::{Context, Poll};

use evergate_contract::config::Http2Ping;
use evergate_kit::deadline::{Deadline, Expired};
use evergate_wire::h2::Link;

/// Watches for silence, where the document wants that.
pub(super) struct Pulse {
    deadline: Deadline,
    ping: Option<Http2Ping>,
    /// What had been heard when the deadline was armed.
    heard: u64,
    /// A PING is out.
    asked: bool,
}

impl Pulse {
    /// Watches nothing until it is told to.
    pub(super) fn new(deadline: Deadline) -> Pulse {
        Pulse { deadline, ping: None, heard: 0, asked: false }
    }

    /// Goes by other settings from here on.
    pub(super) fn set(&mut self, ping: Option<Http2Ping>, link: &Link) {
        if self.ping == ping {
            return;
        }
        self.ping = ping;
        self.asked = false;
        self.heard = link.heard();
        match ping {
            Some(ping) => self.deadline.arm(*ping.interval),
            None => self.deadline.disarm(),
        }
    }

    /// Ready once the client does not answer. To be called after the connection was read from.
    pub(super) fn poll_dead(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<()> {
        let Some(ping) = self.ping else { return Poll::Pending };
        while let Poll::Ready(Expired) = self.deadline.poll_expired(cx) {
            let heard = link.heard();
            if self.heard != heard {
                self.heard = heard;
                self.asked = false;
                self.deadline.arm(*ping.interval);
            } else if self.asked {
                return Poll::Ready(());
            } else {
                self.asked = true;
                link.ping();
                self.deadline.arm(*ping.timeout);
            }
        }
        Poll::Pending
    }
}
