//! Where a worker lets connections in: one accepting task for each socket that is its to accept from.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use tokio::task::JoinHandle;

use crate::{
    listen::{Incarnation, Listening},
    serve::{self, QuicDoors},
    snapshot::{Entrance, Snapshot},
    worker::{Follow, Worker},
};

/// The listeners that a worker accepts for, by their address.
#[derive(Default)]
pub(crate) struct Doors {
    doors: RefCell<HashMap<usize, Door>>,
    quic: QuicDoors,
}

struct Door {
    entrance: Arc<Entrance>,
    tasks: Vec<(Arc<Listening>, JoinHandle<()>)>,
    /// Carries datagrams.
    datagrams: Option<JoinHandle<()>>,
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
        doors.retain(|key, door| {
            let keep = wanted.contains_key(key);
            if !keep {
                door.set(worker, &[]);
                door.datagrams.iter().for_each(JoinHandle::abort);
                left.push(door.entrance.clone());
            }
            keep
        });
        for (key, entrance) in wanted {
            let datagrams = || datagrams(worker, entrance);
            let begin = || Door { entrance: entrance.clone(), tasks: Vec::new(), datagrams: datagrams() };
            let door = doors.entry(key).or_insert_with(begin);
            door.entrance = entrance.clone();
            door.set(worker, &own(worker, entrance));
        }
        drop(doors);
        let over = left.iter().filter(|entrance| entrance.incarnation.is_over());
        over.for_each(|entrance| {
            close(worker, entrance, snapshot);
            close_udp(entrance, snapshot);
        });
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

/// Datagrams are the first worker's, which is there however many there are.
fn datagrams(worker: &Rc<Worker>, entrance: &Arc<Entrance>) -> Option<JoinHandle<()>> {
    let socket =
        entrance.udp_socket.clone().filter(|_| worker.accepting().is_some_and(|rank| rank.index == 0))?;
    Some(tokio::task::spawn_local(serve::carry_datagrams(worker.clone(), entrance.clone(), socket)))
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

/// The same of a socket for datagrams. What waits there is lost, as its clients are.
fn close_udp(entrance: &Entrance, snapshot: &Snapshot) {
    let Some(socket) = &entrance.udp_socket else { return };
    let mut stay = snapshot.listeners.values().filter(|e| !e.incarnation.is_over());
    if !stay.any(|e| e.udp_socket.as_ref().is_some_and(|other| Arc::ptr_eq(other, socket))) {
        socket.close();
    }
}

fn key(incarnation: &Arc<Incarnation>) -> usize {
    Arc::as_ptr(incarnation) as usize
}
