//! Where a worker lets connections in: one accepting task for each socket that is its to accept from.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use tokio::task::JoinHandle;

use crate::{
    carries::Carries,
    listen::{Incarnation, Listening},
    serve::{self, Carrying, Order, QuicDoors},
    snapshot::{Entrance, Snapshot},
    worker::{Follow, Worker},
};

/// The listeners that a worker accepts for, by their address.
#[derive(Default)]
pub(crate) struct Doors {
    doors: RefCell<HashMap<usize, Door>>,
    /// Listeners for datagrams that take no more, and may have answers to send.
    finishing: RefCell<Vec<Rc<Carrying>>>,
    quic: QuicDoors,
}

struct Door {
    entrance: Arc<Entrance>,
    tasks: Vec<(Arc<Listening>, JoinHandle<()>)>,
    /// Carries datagrams.
    datagrams: Option<Rc<Carrying>>,
}

impl Follow for Doors {
    /// Starts accepting where the snapshot says, ends it where it no longer does.
    fn follow(&self, worker: &Rc<Worker>, snapshot: &Snapshot) {
        self.quic.follow(worker, snapshot);
        let wanted: HashMap<usize, &Arc<Entrance>> = match worker.accepting() {
            Some(_) => snapshot.listeners.values().map(|e| (key(&e.incarnation), e)).collect(),
            None => HashMap::new(),
        };
        let mut left = Vec::new();
        let mut doors = self.doors.borrow_mut();
        // Before those that were there give their sockets up: at each moment one of them has what comes. Datagrams are
        // the first worker's, which is there however many there are.
        let first = worker.accepting().is_some_and(|rank| rank.index == 0);
        let new = wanted.iter().filter(|(key, _)| first && !doors.contains_key(key));
        let mut carrying: HashMap<usize, Rc<Carrying>> = new
            .filter_map(|(key, entrance)| Some((*key, serve::carry_datagrams(worker, entrance)?)))
            .collect();
        doors.retain(|key, door| {
            let keep = wanted.contains_key(key);
            if !keep {
                door.set(worker, &[]);
                self.finish(door);
                left.push(door.entrance.clone());
            }
            keep
        });
        for (key, entrance) in wanted {
            let datagrams = carrying.remove(&key);
            let begin = || Door { entrance: entrance.clone(), tasks: Vec::new(), datagrams };
            let door = doors.entry(key).or_insert_with(begin);
            door.entrance = entrance.clone();
            door.set(worker, &own(worker, entrance));
        }
        drop(doors);
        let over = left.iter().filter(|entrance| entrance.incarnation.is_over());
        over.for_each(|entrance| close(worker, entrance, snapshot));
    }

    fn open(&self) -> usize {
        let doors = self.doors.borrow();
        let taking = doors.values().filter_map(|door| door.datagrams.as_ref());
        taking.chain(&*self.finishing.borrow()).map(|carrying| carrying.open()).sum()
    }

    fn end(&self) {
        self.quic.end();
    }

    fn cut(&self, what: Carries) {
        if what == Carries::Tunnel {
            self.finishing.borrow().iter().for_each(|carrying| carrying.tell(Order::Cut));
        }
    }
}

impl Doors {
    /// Takes no datagrams any more.
    fn finish(&self, door: &Door) {
        let (Some(carrying), Some(claim)) = (&door.datagrams, &door.entrance.mailbox) else { return };
        let over = door.entrance.incarnation.is_over() && claim.give_up();
        carrying.tell(if over { Order::End } else { Order::Leave });
        let mut finishing = self.finishing.borrow_mut();
        // Those that have ended are held here alone.
        finishing.retain(|carrying| Rc::strong_count(carrying) > 1);
        finishing.push(carrying.clone());
    }
}

impl Door {
    /// Accepts from these sockets and no others.
    fn set(&mut self, worker: &Rc<Worker>, sockets: &[&Arc<Listening>]) {
        self.tasks.retain(|(socket, task)| {
            let keep = sockets.iter().any(|wanted| Arc::ptr_eq(wanted, socket));
            if !keep {
                task.abort();
            }
            keep
        });
        for socket in sockets {
            if !self.tasks.iter().any(|(known, _)| Arc::ptr_eq(known, socket)) {
                let task = serve::accepting(worker, &self.entrance, socket);
                self.tasks.push(((*socket).clone(), task));
            }
        }
    }
}

/// The sockets that a worker accepts from: all, or its rank. Each is somebody's, also those of workers that went.
fn own<'e>(worker: &Worker, entrance: &'e Entrance) -> Vec<&'e Arc<Listening>> {
    let rank = worker.accepting().filter(|_| entrance.config.socket.reuse_port);
    let sockets = entrance.bound.all().enumerate();
    let sockets = sockets.filter(|(n, socket)| socket.listens() && rank.is_none_or(|rank| rank.has(*n)));
    sockets.map(|(_, socket)| socket).collect()
}

/// Closes the sockets of a listener that is over, those aside that another one goes on with.
fn close(worker: &Rc<Worker>, entrance: &Arc<Entrance>, snapshot: &Snapshot) {
    let stay = snapshot.listeners.values().filter(|e| !e.incarnation.is_over());
    let stay: Vec<_> = stay.flat_map(|e| e.bound.all()).collect();
    for socket in entrance.bound.all().filter(|s| !stay.iter().any(|other| Arc::ptr_eq(other, s))) {
        socket.hide();
        // Nobody else will take what waits in the queue of a socket that is about to close.
        serve::accept_waiting(worker, entrance, socket);
        // Requests under way hold it for as long as they last; who connects meanwhile must be told at once, and the
        // address must be free for another.
        socket.close();
    }
}

fn key(incarnation: &Arc<Incarnation>) -> usize {
    Arc::as_ptr(incarnation) as usize
}
