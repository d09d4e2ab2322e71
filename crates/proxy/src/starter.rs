//! Starts threads from a thread that has the priority of the program.
//!
//! A thread inherits the priority of the one that starts it, and changes are made by one that stands back behind
//! the workers; it cannot give what it has given up. Knows nothing of what the threads do.

use std::{
    io,
    sync::mpsc::{Sender, channel},
    thread::{Builder, JoinHandle},
};

/// The door to the thread. It ends with this.
pub(crate) struct Starter {
    orders: Sender<Order>,
}

struct Order {
    name: String,
    body: Box<dyn FnOnce() + Send>,
    reply: Sender<io::Result<JoinHandle<()>>>,
}

impl Starter {
    /// Begins with the priority of who calls.
    pub(crate) fn new() -> io::Result<Starter> {
        let (orders, given) = channel::<Order>();
        Builder::new().name("starter".to_owned()).spawn(move || {
            for Order { name, body, reply } in given {
                // Who ordered waits for the answer.
                let _ = reply.send(Builder::new().name(name).spawn(body));
            }
        })?;
        Ok(Starter { orders })
    }

    /// Starts a thread.
    pub(crate) fn start(
        &self,
        name: String,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let gone = || io::Error::other("the thread that starts threads has ended");
        let (reply, started) = channel();
        self.orders.send(Order { name, body: Box::new(body), reply }).map_err(|_| gone())?;
        started.recv().map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_do_not_inherit_the_priority_of_who_orders_them() {
        let starter = Starter::new().unwrap();
        let before = rustix::process::getpriority_process(None).unwrap();
        let (tell, told) = channel();
        let ordering = move || {
            rustix::process::setpriority_process(None, before + 1).unwrap();
            let look = move || tell.send(rustix::process::getpriority_process(None).unwrap()).unwrap();
            starter.start("child".to_owned(), look).unwrap().join().unwrap();
        };
        std::thread::spawn(ordering).join().unwrap();
        assert_eq!(told.recv().unwrap(), before);
    }
}
