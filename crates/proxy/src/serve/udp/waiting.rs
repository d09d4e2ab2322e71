//! Datagrams that wait until an endpoint is found for their client: few of one client, and not many of all together.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// Datagrams of one client. Finding an endpoint takes no time where it has an address.
const DATAGRAMS_MAX: usize = 16;
/// And their bytes.
const BYTES_MAX: usize = 64 << 10;
/// Bytes of all clients of a listener.
const ALL_MAX: usize = 8 << 20;

/// What one client has waiting.
#[derive(Default)]
pub(super) struct Waiting {
    datagrams: RefCell<Vec<Box<[u8]>>>,
    /// Bytes of all clients.
    all: Rc<Cell<usize>>,
}

impl Waiting {
    /// Nothing, of one of several clients.
    pub(super) fn among(all: &Rc<Cell<usize>>) -> Waiting {
        Waiting { datagrams: RefCell::default(), all: all.clone() }
    }

    /// Keeps a datagram. False: there is no room.
    pub(super) fn push(&self, datagram: &[u8]) -> bool {
        let mut datagrams = self.datagrams.borrow_mut();
        let (own, all) = (bytes(&datagrams) + datagram.len(), self.all.get() + datagram.len());
        let fits = datagrams.len() < DATAGRAMS_MAX && own <= BYTES_MAX && all <= ALL_MAX;
        if fits {
            datagrams.push(datagram.into());
            self.all.set(all);
        }
        fits
    }

    /// All of it, in its order.
    pub(super) fn take(&self) -> Vec<Box<[u8]>> {
        let datagrams = self.datagrams.take();
        self.all.set(self.all.get().saturating_sub(bytes(&datagrams)));
        datagrams
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.take();
    }
}

fn bytes(datagrams: &[Box<[u8]>]) -> usize {
    datagrams.iter().map(|datagram| datagram.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_for_one_and_for_all() {
        let all = Rc::new(Cell::new(0));
        let one = Waiting::among(&all);
        assert_eq!((0..100).filter(|_| one.push(b"")).count(), DATAGRAMS_MAX, "empty ones count too");
        assert_eq!((one.take().len(), one.take().len()), (DATAGRAMS_MAX, 0));
        let large = vec![0; 40 << 10];
        assert!(one.push(&large) && !one.push(&large) && one.push(b"small"), "64 KiB");
        let others: Vec<_> = (0..1000).map(|_| Waiting::among(&all)).collect();
        let kept = others.iter().filter(|other| other.push(&large)).count();
        assert!(all.get() <= ALL_MAX && all.get() + large.len() > ALL_MAX && kept < 210, "{kept}");
        assert!(!Waiting::among(&all).push(&large));
        drop(others);
        assert_eq!(all.get(), large.len() + 5);
        drop(one);
        assert_eq!(all.get(), 0);
    }
}
