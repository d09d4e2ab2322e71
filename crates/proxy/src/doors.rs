//! Where a worker lets connections in: one accepting task for each socket that the snapshot names.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use tokio::task::JoinHandle;

use crate::{
    listen::Incarnation,
    serve,
    snapshot::{Entrance, Snapshot},
    worker::{Follow, Worker},
};

/// The accepting tasks of a worker, by the address of what they accept for.
#[derive(Default)]
pub(crate) struct Doors(RefCell<HashMap<usize, Acceptor>>);

struct Acceptor {
    entrance: Arc<Entrance>,
    tasks: Vec<JoinHandle<()>>,
}

impl Follow for Doors {
    /// Starts accepting where the snapshot says, ends it where it no longer does.
    fn follow(&self, worker: &Rc<Worker>, snapshot: &Snapshot) {
        let wanted: HashMap<usize, &Arc<Entrance>> = match worker.is_accepting() {
            true => snapshot.listeners.values().map(|e| (key(&e.incarnation), e)).collect(),
            false => HashMap::new(),
        };
        let mut left = Vec::new();
        let mut acceptors = self.0.borrow_mut();
        acceptors.retain(|key, acceptor| {
            let keep = wanted.contains_key(key);
            if !keep {
                acceptor.tasks.iter().for_each(JoinHandle::abort);
                left.push(acceptor.entrance.clone());
            }
            keep
        });
        for (key, entrance) in &wanted {
            let begin =
                || Acceptor { entrance: (*entrance).clone(), tasks: serve::accepting(worker, entrance) };
            acceptors.entry(*key).or_insert_with(begin).entrance = (*entrance).clone();
        }
        drop(acceptors);
        let stay: Vec<_> = snapshot.listeners.values().filter(|e| !e.incarnation.is_over()).collect();
        let stay: Vec<_> = stay.iter().flat_map(|e| e.incarnation.bound.all()).collect();
        for entrance in left.iter().filter(|entrance| entrance.incarnation.is_over()) {
            for bound in entrance.incarnation.bound.all() {
                if !stay.iter().any(|other| Arc::ptr_eq(other, &bound)) {
                    // Nobody else will take what waits in the queue of a socket that is about to close.
                    serve::accept_waiting(worker, entrance, &bound);
                    // Requests under way hold it for as long as they last; who connects meanwhile must be told at
                    // once, and the address must be free for another.
                    bound.close();
                }
            }
        }
    }
}

fn key(incarnation: &Arc<Incarnation>) -> usize {
    Arc::as_ptr(incarnation) as usize
}
