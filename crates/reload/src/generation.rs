//! Generations: snapshots that some connection or request still holds, counted from birth to the last drop.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::revision::RevisionId;

/// Held inside a snapshot, once. Its drop, on whatever thread, says that the generation is gone; that
/// takes no lock and does not block.
pub struct Generation {
    entry: Arc<Entry>,
}

/// What still holds a generation, as its owner counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holders {
    /// Connections.
    pub connections: u64,
    /// Requests and streams.
    pub requests: u64,
    /// Memory, if the owner knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A generation that lives.
#[derive(Clone, Debug, Serialize)]
pub struct Alive {
    /// Its revision.
    pub revision: RevisionId,
    /// Since it was published.
    #[serde(rename = "age_seconds", serialize_with = "as_seconds")]
    pub age: Duration,
    /// What holds it, if its owner says so.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub holders: Option<Holders>,
}

/// All generations of a program. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct Generations {
    registry: Arc<Registry>,
}

struct Registry {
    entries: Mutex<Vec<Arc<Entry>>>,
    freed: Box<dyn Fn(RevisionId, Duration) + Send + Sync>,
}

type Count = Box<dyn Fn() -> Holders + Send + Sync>;

struct Entry {
    revision: RevisionId,
    born: OnceLock<Instant>,
    gone: AtomicBool,
    count: OnceLock<Count>,
    registry: Weak<Registry>,
}

impl Generation {
    /// A generation that nobody counts, for tests and for snapshots that are built but never published.
    #[must_use]
    pub fn detached(revision: RevisionId) -> Generation {
        let entry = Entry {
            revision,
            born: OnceLock::new(),
            gone: AtomicBool::new(false),
            count: OnceLock::new(),
            registry: Weak::new(),
        };
        Generation { entry: Arc::new(entry) }
    }

    /// Its revision.
    #[must_use]
    pub fn revision(&self) -> RevisionId {
        self.entry.revision
    }

    /// Says how to count what holds it; only the first call counts. The function must not keep the snapshot
    /// alive: let it own counters or a `Weak`. It is called from any thread and must not block.
    pub fn count_by(&self, count: impl Fn() -> Holders + Send + Sync + 'static) {
        let _ = self.entry.count.set(Box::new(count));
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.entry.gone.store(true, Ordering::Release);
        if let (Some(born), Some(registry)) = (self.entry.born.get(), self.entry.registry.upgrade()) {
            (registry.freed)(self.entry.revision, born.elapsed());
        }
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Generation").field(&self.entry.revision).finish()
    }
}

impl Generations {
    /// None yet. `freed` is called with the revision and age of each that goes, by whoever dropped it: it
    /// must not block or lock.
    #[must_use]
    pub fn new(freed: impl Fn(RevisionId, Duration) + Send + Sync + 'static) -> Generations {
        Generations { registry: Arc::new(Registry { entries: Mutex::default(), freed: Box::new(freed) }) }
    }

    /// A token for a snapshot that is being built. It counts from [`Generations::publish`] on.
    #[must_use]
    pub fn token(&self, revision: RevisionId) -> Generation {
        let entry = Arc::new(Entry {
            revision,
            born: OnceLock::new(),
            gone: AtomicBool::new(false),
            count: OnceLock::new(),
            registry: Arc::downgrade(&self.registry),
        });
        self.entries().push(Arc::clone(&entry));
        Generation { entry }
    }

    /// The snapshot of that revision was published: its generation lives.
    pub fn publish(&self, revision: RevisionId) {
        for entry in self.entries().iter().filter(|e| e.revision == revision && e.lives_or_builds()) {
            let _ = entry.born.set(Instant::now());
        }
    }

    /// Those that live, oldest first.
    #[must_use]
    pub fn alive(&self) -> Vec<Alive> {
        let living = |e: &Arc<Entry>| {
            let age = e.born.get()?.elapsed();
            Some(Alive { revision: e.revision, age, holders: e.count.get().map(|count| count()) })
        };
        self.entries().iter().filter_map(living).collect()
    }

    /// How many live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries().iter().filter(|e| e.born.get().is_some()).count()
    }

    /// The oldest ones that are too many, if `cap` may live.
    #[must_use]
    pub fn over(&self, cap: usize) -> Vec<RevisionId> {
        let entries = self.entries();
        let alive = || entries.iter().filter(|e| e.born.get().is_some());
        let excess = alive().count().saturating_sub(cap.max(1));
        alive().take(excess).map(|e| e.revision).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        let mut entries = self.registry.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|e| e.lives_or_builds());
        entries
    }
}

impl Entry {
    fn lives_or_builds(&self) -> bool {
        !self.gone.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.alive()).finish()
    }
}

fn as_seconds<S: serde::Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((age.as_secs_f64() * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use evergate_conf::Digest;

    use super::*;

    fn id(seq: u64) -> RevisionId {
        RevisionId::new(seq, Digest::of(b""))
    }

    #[test]
    fn lives_from_publish_to_the_last_drop() {
        let (freed, gone) = mpsc::channel();
        let all = Generations::new(move |revision, _| freed.send(revision).unwrap());
        let failed = all.token(id(1));
        drop(failed);
        assert!(gone.try_recv().is_err(), "what was never published was never alive");

        let snapshots: Vec<_> = (2..6).map(|seq| Arc::new(all.token(id(seq)))).collect();
        assert_eq!(all.count(), 0);
        (2..6).for_each(|seq| all.publish(id(seq)));
        snapshots.iter().for_each(|s| s.count_by(|| Holders { connections: 7, ..Holders::default() }));
        assert_eq!(all.count(), 4);
        assert_eq!(all.over(2), [id(2), id(3)]);
        assert_eq!(all.over(4), []);
        assert_eq!(all.alive().first().unwrap().holders.unwrap().connections, 7);

        let held_by_a_request = Arc::clone(&snapshots[1]);
        drop(snapshots);
        assert_eq!(gone.try_iter().collect::<Vec<_>>(), [id(2), id(4), id(5)]);
        assert_eq!(all.alive().iter().map(|a| a.revision).collect::<Vec<_>>(), [id(3)]);
        drop(held_by_a_request);
        assert_eq!(gone.try_recv(), Ok(id(3)));
        assert_eq!(all.count(), 0);
    }
}
