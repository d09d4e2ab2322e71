//! A worker's hold on the published snapshot, and what it shares with the control side.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use crate::snapshot::{Published, Snapshot};

/// What all workers share with the control side.
pub(crate) struct Shared {
    /// The published snapshot.
    pub published: Published,
    /// Where the last holder of a snapshot hands it, so that freeing it costs no worker's time.
    pub reaper: mpsc::Sender<Arc<Snapshot>>,
    /// How this gateway calls itself in `Via` (RFC 9110 §7.6.3); unique, so that loops are seen.
    pub via: http::HeaderValue,
}

/// A worker's own hold on a snapshot. Requests clone the `Rc`, which costs no atomic operation.
pub(crate) struct View {
    snapshot: Option<Arc<Snapshot>>,
    reaper: mpsc::Sender<Arc<Snapshot>>,
    requests: Arc<AtomicU64>,
    /// Rises with each publication.
    pub sequence: u64,
}

/// A request's hold on a view, counted.
pub(crate) struct Held(Rc<View>);

impl View {
    /// Of nothing, before the first publication.
    pub(crate) fn empty(shared: &Shared) -> View {
        View { snapshot: None, reaper: shared.reaper.clone(), requests: Arc::default(), sequence: 0 }
    }

    /// Of a snapshot that was the `sequence`th publication.
    pub(crate) fn new(shared: &Shared, snapshot: &Arc<Snapshot>, sequence: u64) -> View {
        let requests = snapshot.holds.join();
        View { snapshot: Some(snapshot.clone()), reaper: shared.reaper.clone(), requests, sequence }
    }

    /// The snapshot.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Holds it for a request.
    pub(crate) fn hold(self: Rc<View>) -> Held {
        // Written by this thread alone: no need for a locked instruction.
        self.requests.store(self.requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Held(self)
    }
}

impl std::ops::Deref for Held {
    type Target = View;
    fn deref(&self) -> &View {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let requests = &self.0.requests;
        requests.store(requests.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            // Without a reaper the gateway is ending, and the thread that drops it may free it.
            let _ = self.reaper.send(snapshot);
        }
    }
}
