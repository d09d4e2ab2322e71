//! What a connection carries: by it goes how long it may take to end when another process has taken over.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::task::AbortHandle;

/// Kinds of connections by how long they last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Nothing, or requests whose answers have a length.
    Requests,
    /// An answer that ends when it ends: a stream, events, gRPC.
    Stream,
    /// A WebSocket (RFC 6455).
    Websocket,
    /// Another protocol, byte by byte.
    Tunnel,
}

/// What a connection carries just now.
#[derive(Debug, Default)]
pub(crate) struct Load {
    streams: Rc<Cell<u32>>,
    /// It became something else and stays that.
    became: Cell<Option<Carries>>,
    task: RefCell<Option<AbortHandle>>,
}

/// A stream that is under way, until dropped.
#[derive(Debug)]
pub(crate) struct Streaming(Rc<Cell<u32>>);

impl Load {
    /// An answer without a length begins.
    pub(crate) fn stream(&self) -> Streaming {
        self.streams.set(self.streams.get() + 1);
        Streaming(self.streams.clone())
    }

    /// The connection carries this from now on.
    pub(crate) fn becomes(&self, what: Carries) {
        self.became.set(Some(what));
    }

    /// What it carries.
    pub(crate) fn now(&self) -> Carries {
        match self.became.get() {
            Some(what) => what,
            None if self.streams.get() > 0 => Carries::Stream,
            None => Carries::Requests,
        }
    }

    /// The task that serves the connection.
    pub(crate) fn is_served_by(&self, task: AbortHandle) {
        *self.task.borrow_mut() = Some(task);
    }

    /// Ends the connection now, whatever it carries.
    pub(crate) fn cut(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.abort();
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_lasts_longest() {
        let load = Load::default();
        assert_eq!(load.now(), Carries::Requests);
        let (one, two) = (load.stream(), load.stream());
        drop(one);
        assert_eq!(load.now(), Carries::Stream);
        drop(two);
        assert_eq!(load.now(), Carries::Requests);
        load.becomes(Carries::Websocket);
        let _stream = load.stream();
        assert_eq!(load.now(), Carries::Websocket);
    }
}
