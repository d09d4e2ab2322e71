//! The door to an engine at work; the only asynchronous file. The work itself is done by one thread.

use std::sync::{
    Arc, Weak,
    mpsc::{Sender, channel},
};

use evergate_conf::{Node, Path, Report, node::Place};
use tokio::{
    sync::{broadcast, oneshot},
    task::spawn_blocking,
};

use crate::{
    change::{self, Message},
    counters::Counters,
    explain::{Explained, explain},
    history::{Archive, ReadError},
    options::{Options, StartError},
    plan::{Plan, Side, redact},
    revision::{Record, Revision, RevisionId},
    source::{Draft, Notice},
    status::{Running, Status},
    target::Target,
    verdict::{Stage, Verdict},
    view::Shared,
};

/// The door to a running engine. Cloning gives another handle to the same; the engine runs until [`Handle::stop`],
/// or until the last handle is gone.
#[derive(Clone)]
pub struct Handle {
    door: Arc<Sender<Message>>,
    shared: Arc<Shared>,
}

/// Loads, checks, builds and publishes the first revision; returns when it runs. It comes from the files; if they
/// are refused, from the last good revision unless `strict`.
///
/// # Errors
/// If nothing could be published.
pub async fn start<T: Target>(target: T, options: Options) -> Result<Handle, StartError> {
    let (door, inbox) = channel();
    let door = Arc::new(door);
    let weak = Arc::downgrade(&door);
    let (started, outcome) = oneshot::channel();
    std::thread::Builder::new()
        .name("change".into())
        .spawn(move || change::run(target, options, inbox, &weak, started))
        .map_err(StartError::Thread)?;
    let shared = outcome.await.map_err(|_| StartError::Ended)??;
    Ok(Handle { door, shared })
}

impl Handle {
    /// Asks for a change and waits for its verdict. A caller that stops waiting does not stop the change.
    pub async fn submit(&self, draft: Draft) -> Verdict {
        let (reply, verdict) = oneshot::channel();
        let _ = self.door.send(Message::Draft(draft, reply));
        verdict.await.unwrap_or_else(|_| {
            let mut report = Report::new();
            let text = "no changes are made here any more; if another process has taken over, ask again";
            report.problem("stopped", &Path::root(), Place::default(), text);
            let running = Some(self.running().id);
            Verdict::Refused { running, stage: Stage::Queue, report: Arc::new(report) }
        })
    }

    /// What runs, what is pending, what was refused.
    #[must_use]
    pub fn status(&self) -> Status {
        let view = self.shared.view.load();
        let revision = &view.running;
        Status {
            running: Running {
                revision: revision.id,
                digest: revision.digest.hex(),
                origin: revision.origin,
                author: revision.author.clone(),
                restores: revision.restores,
                since: view.since,
            },
            started_from: view.started_from,
            pending: view.pending.clone(),
            last_refused: view.last_refused.clone(),
            held: revision.held.is_some(),
            overlay: revision.layers.has_overlay(),
            watching: view.watching,
            history_degraded: view.degraded.clone(),
            generations: self.shared.generations.alive(),
        }
    }

    /// What runs, whole; secrets are not hidden.
    #[must_use]
    pub fn running(&self) -> Arc<Revision> {
        Arc::clone(&self.shared.view.load().running)
    }

    /// A document as it may be shown: secrets are `***`.
    #[must_use]
    pub fn redacted(&self, document: &Node) -> Node {
        redact(document, &Path::root(), document, &self.shared.redactor)
    }

    /// Everything that happens from now on. Who is more than 1024 notices late misses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.shared.notices.subscribe()
    }

    /// The counts for a metrics page.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How many generations live; [`Handle::status`] names them.
    #[must_use]
    pub fn generations(&self) -> usize {
        self.shared.generations.count()
    }

    /// Revisions that are kept, newest first.
    pub async fn history(&self) -> Vec<Record> {
        let most = self.shared.view.load().kept;
        self.archive(move |archive| archive.list(most)).await.unwrap_or_default()
    }

    /// A revision that is kept, whole; secrets are not hidden.
    ///
    /// # Errors
    /// If it is not kept, or its file is damaged.
    pub async fn revision(&self, id: RevisionId) -> Result<Arc<Revision>, ReadError> {
        let running = self.running();
        if running.id == id {
            return Ok(running);
        }
        let read = self.archive(move |archive| archive.read(id)).await;
        read.unwrap_or_else(|| Err(ReadError::NotKept(id.to_string())))
    }

    /// What leads from one revision to another; secrets are hidden.
    ///
    /// # Errors
    /// If one of them is not kept, or its file is damaged.
    pub async fn diff(&self, from: RevisionId, to: RevisionId) -> Result<Plan, ReadError> {
        let (from, to) = (self.revision(from).await?, self.revision(to).await?);
        let side = |r: &Revision| (r.document.clone(), Arc::clone(&r.pins));
        let ((old, old_pins), (new, new_pins)) = (side(&from), side(&to));
        let old = Side { document: &old, pins: &old_pins };
        Ok(Plan::between(old, Side { document: &new, pins: &new_pins }, &self.shared.redactor))
    }

    /// Which layer set what runs, for each value at or below a path; secrets are hidden.
    #[must_use]
    pub fn explain(&self, path: &Path) -> Vec<Explained> {
        let view = self.shared.view.load();
        explain(&view.running, &view.names, path, &self.shared.redactor)
    }

    /// Ends the engine when the transaction under way is done. What was published stays with whoever holds it; the
    /// target is dropped.
    pub async fn stop(&self) {
        let (stopped, done) = oneshot::channel();
        if self.door.send(Message::Stop(stopped)).is_ok() {
            let _ = done.await;
        }
    }

    /// Ends the transaction under way, makes no further ones, and leaves the data directory to another process.
    /// Drafts wait until [`Handle::resume`].
    pub async fn pause(&self) {
        let (paused, done) = oneshot::channel();
        if self.door.send(Message::Pause(paused)).is_ok() {
            let _ = done.await;
        }
    }

    /// Undoes [`Handle::pause`], as soon as the other process is gone.
    pub fn resume(&self) {
        let _ = self.door.send(Message::Resume);
    }

    /// A handle that does not keep the engine running, for tasks that should end with it.
    #[must_use]
    pub fn downgrade(&self) -> WeakHandle {
        WeakHandle { door: Arc::downgrade(&self.door), shared: Arc::clone(&self.shared) }
    }

    async fn archive<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Archive) -> R + Send + 'static,
    ) -> Option<R> {
        let archive = self.shared.archive.clone();
        spawn_blocking(move || read(&archive)).await.ok()
    }
}

/// See [`Handle::downgrade`].
#[derive(Clone)]
pub struct WeakHandle {
    door: Weak<Sender<Message>>,
    shared: Arc<Shared>,
}

impl WeakHandle {
    /// A handle, if another one still keeps the engine running.
    #[must_use]
    pub fn upgrade(&self) -> Option<Handle> {
        Some(Handle { door: self.door.upgrade()?, shared: Arc::clone(&self.shared) })
    }
}
