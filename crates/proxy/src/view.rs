//! A worker's hold on the published snapshot, and what it shares with the control side.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use crate::snapshot::{Hold, Published, Snapshot};

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
    /// What this worker holds the snapshot for.
    pub hold: Arc<Hold>,
    /// Rises with each publication.
    pub sequence: u64,
}

impl View {
    /// Of nothing, before the first publication.
    pub(crate) fn empty(shared: &Shared) -> View {
        View { snapshot: None, reaper: shared.reaper.clone(), hold: Arc::default(), sequence: 0 }
    }

    /// Of a snapshot that was the `sequence`th publication.
    pub(crate) fn new(shared: &Shared, snapshot: &Arc<Snapshot>, sequence: u64) -> View {
        let hold = snapshot.holds.join();
        View { snapshot: Some(snapshot.clone()), reaper: shared.reaper.clone(), hold, sequence }
    }

    /// The snapshot.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// A request holds it; `first`: no other one of its connection does.
    pub(crate) fn held(&self, first: bool) {
        add(&self.hold.requests, 1);
        add(&self.hold.connections, u64::from(first));
    }

    /// A request holds it no longer; `last`: no other one of its connection does.
    pub(crate) fn released(&self, last: bool) {
        add(&self.hold.requests, 1_u64.wrapping_neg());
        add(&self.hold.connections, u64::from(last).wrapping_neg());
    }
}

/// Counters are written by one thread alone: no need for a locked instruction.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(snapshot) = self.snapshot.take() {
            // Without a reaper the gateway is ending, and the thread that drops it may free it.
            let _ = self.reaper.send(snapshot);
        }
    }
}
