//! The child's side: how a process that may have a supervisor speaks to it.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use evergate_kit::fds::Keeper;
use nix::sys::signal::SigSet;

use crate::{
    channel::Channel,
    inherit::{self, Named},
    message::{DecodeError, ToChild, ToParent},
};

/// The supervisor of this process.
#[derive(Debug)]
pub struct Parent(Channel);

/// What this process was started with.
#[derive(Debug)]
pub struct Started {
    /// Who started it; `None` if nobody supervises it.
    pub parent: Option<Parent>,
    /// Listening sockets that it is to go on with.
    pub sockets: Vec<Named>,
}

/// What was said, and what came along.
pub type Heard = (ToChild, Option<OwnedFd>);

/// Takes what this process was started with, by a supervisor or by a service manager that opened its sockets
/// (`LISTEN_FDS`). `variable` reads the environment. To be called once, before anything else is opened or started.
///
/// # Errors
/// If the environment names descriptors that are not there.
pub fn started(variable: impl Fn(&str) -> Option<String>) -> io::Result<Started> {
    let inherited = inherit::take(variable)?;
    let parent = inherited.channel.map(|end| Parent(Channel::of(end)));
    if parent.is_some() {
        // The supervisor reads its signals from a descriptor, and keeps them back for that; a child gets them as usual.
        SigSet::all().thread_unblock()?;
    }
    Ok(Started { parent, sockets: inherited.sockets })
}

impl Parent {
    /// Says something. Who cannot be told is gone, and [`Parent::next`] says so.
    pub fn say(&self, message: &ToParent) {
        let _ = self.0.send(&message.encode(), None);
    }

    /// Says something, and sends a descriptor with it.
    pub fn say_with(&self, message: &ToParent, descriptor: BorrowedFd<'_>) {
        let _ = self.0.send(&message.encode(), Some(descriptor));
    }

    /// Waits for what the supervisor says next. `None`: it is gone.
    #[must_use]
    pub fn next(&self) -> Option<Heard> {
        loop {
            let (packet, descriptor) = self.0.receive().ok()??;
            match ToChild::decode(&packet) {
                Ok(message) => return Some((message, descriptor)),
                // Of a newer version, which does without an answer.
                Err(DecodeError::Word(_) | DecodeError::Fields) => {}
            }
        }
    }
}

impl Keeper for Parent {
    fn keep(&self, name: &str, socket: BorrowedFd<'_>) {
        self.say_with(&ToParent::Keep { name: name.to_owned() }, socket);
    }

    fn let_go(&self, name: &str) {
        self.say(&ToParent::LetGo { name: name.to_owned() });
    }
}
