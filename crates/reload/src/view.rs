//! What others see of an engine's work: facts that are replaced whole, and notices.

use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use evergate_conf::Digest;
use tokio::sync::broadcast;

use crate::{
    counters::Counters,
    explain::Names,
    generation::Generations,
    history::Archive,
    plan::Redactor,
    revision::{Layers, Origin, Revision, RevisionId},
    source::Notice,
    status::{Pending, Refusal, StartedFrom, Watching},
};

/// Notices that a listener may be late.
const NOTICES_MAX: usize = 1024;

/// Shared by the engine's thread, which alone writes, and all handles.
pub(crate) struct Shared {
    pub(crate) view: ArcSwap<View>,
    pub(crate) notices: broadcast::Sender<Arc<Notice>>,
    pub(crate) counters: Counters,
    pub(crate) generations: Generations,
    pub(crate) archive: Archive,
    pub(crate) redactor: Redactor,
}

/// The facts of one moment.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) running: Arc<Revision>,
    pub(crate) since: SystemTime,
    pub(crate) started_from: StartedFrom,
    pub(crate) pending: Vec<Pending>,
    pub(crate) last_refused: Option<Refusal>,
    pub(crate) watching: Watching,
    pub(crate) degraded: Option<String>,
    pub(crate) names: Names,
    pub(crate) kept: usize,
}

impl Shared {
    pub(crate) fn new(generations: Generations, archive: Archive, redactor: Redactor) -> Shared {
        Shared {
            view: ArcSwap::from_pointee(View::nothing()),
            notices: broadcast::Sender::new(NOTICES_MAX),
            counters: Counters::default(),
            generations,
            archive,
            redactor,
        }
    }

    /// Replaces the facts by others.
    pub(crate) fn see(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// Tells whoever listens; nobody may.
    pub(crate) fn notice(&self, notice: Notice) {
        let _ = self.notices.send(Arc::new(notice));
    }
}

impl View {
    /// Before anything runs; nobody sees it.
    fn nothing() -> View {
        let (layers, digest) = (Layers::empty(), Digest([0; 32]));
        View {
            running: Arc::new(Revision {
                id: RevisionId::new(0, digest),
                digest,
                parent: None,
                origin: Origin::Start,
                author: None,
                time: SystemTime::UNIX_EPOCH,
                restores: None,
                held: None,
                files: digest,
                document: layers.document(),
                layers,
                pins: Arc::default(),
            }),
            since: SystemTime::UNIX_EPOCH,
            started_from: StartedFrom::Files,
            pending: Vec::new(),
            last_refused: None,
            watching: Watching::Off,
            degraded: None,
            names: Names::default(),
            kept: 1,
        }
    }
}
