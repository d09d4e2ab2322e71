//! The data plane as the control side holds it: builds snapshots, publishes them, owns the workers.

use std::sync::Arc;

use evergate_conf::Report;
use evergate_contract::Checked;
use evergate_kit::{Carried, Fds};
use evergate_reload::{Build, RevisionId};
use evergate_upstream::{Checkers, health::Notice as HealthNotice};
use http::HeaderValue;
use tokio::sync::Notify;

use crate::{
    build::{self, Workshop},
    expiry,
    gateway::{Gateway, STEERING},
    listen::Incarnation,
    quic::Steering,
    reaper,
    snapshot::{Entrance, Published, Snapshot},
    thread::Message,
    view::Shared,
};

/// Builds and publishes. Lives on the thread that changes are made on; what others may ask is in [`Gateway`].
pub struct Plane {
    shop: Workshop,
    gateway: Arc<Gateway>,
    /// The newest snapshot, and what it was made of.
    live: Option<(Arc<Snapshot>, Arc<Checked>)>,
    /// Which publication each live generation was.
    published: Vec<(RevisionId, u64, std::sync::Weak<Snapshot>)>,
    checkers: Checkers,
    /// Tells who looks at their ends of each publication.
    certificates_changed: Arc<Notify>,
}

/// What another process left.
#[derive(Debug, Default)]
pub struct Before {
    /// Its sockets.
    pub fds: Fds,
    /// What it said by [`Gateway::save`].
    pub saved: Vec<Carried>,
    /// Other processes may serve the same sockets: one that took over from us, or that we take over from.
    pub together: bool,
}

/// A snapshot that is ready to be published. Dropped instead, it leaves no trace.
pub struct Prepared {
    snapshot: Arc<Snapshot>,
    config: Arc<Checked>,
}

impl Plane {
    /// A data plane that serves nothing until the first publication. It goes on with what another process left. Health
    /// checks run on the given runtime, where `on_health` is told of each verdict; it must not block.
    ///
    /// # Errors
    /// If the thread that frees old snapshots cannot be started.
    pub fn new(
        control: tokio::runtime::Handle,
        before: Before,
        on_health: HealthNotice,
    ) -> std::io::Result<Plane> {
        let reaper = reaper::start()?;
        let shared = Arc::new(Shared { published: Published::default(), reaper, via: via() });
        let steered = before.saved.iter().find(|saved| saved.kind == STEERING).map(|saved| &*saved.text);
        let steering = if before.together { Steering::beside(steered) } else { Steering::alone() };
        let shop = Workshop::new(before.fds, steering.map_err(std::io::Error::other)?);
        let certificates_changed = Arc::new(Notify::new());
        control.spawn(expiry::watch(Arc::downgrade(&shared), certificates_changed.clone()));
        let (crypto, keep, steering) = (shop.crypto.clone(), shop.keep.clone(), shop.steering.clone());
        let gateway = Gateway::new(shared, crypto, keep, steering, before.saved)?;
        Ok(Plane {
            shop,
            gateway: Arc::new(gateway),
            certificates_changed,
            live: None,
            published: Vec::new(),
            checkers: Checkers::new(control, on_health),
        })
    }

    /// What others may ask of the running data plane.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        self.gateway.clone()
    }

    /// Builds the snapshot of a revision: compiles, binds, starts threads. Touches nothing that serves.
    ///
    /// # Errors
    /// All that is wrong, with places in the document.
    pub fn prepare(&mut self, build: Build<'_, Checked>) -> Result<Prepared, Report> {
        let before = self.live.as_ref().map(|(snapshot, config)| build::Before { snapshot, config });
        let (document, config) = (build.document, Arc::clone(build.config));
        let snapshot = build::snapshot(&self.shop, build, before)?;
        if let Err(error) = self.gateway.have_workers(snapshot.workers) {
            let path = evergate_conf::path::Path::default().join("workers");
            let place = document.at(path.keys()).map(|node| node.place).unwrap_or_default();
            let mut report = Report::new();
            report.problem("workers", &path, place, format!("cannot start a worker: {error}"));
            return Err(report);
        }
        Ok(Prepared { snapshot: Arc::new(snapshot), config })
    }

    /// Switches to a snapshot: requests that begin after this see it.
    pub fn publish(&mut self, prepared: Prepared) {
        let Prepared { snapshot, config } = prepared;
        let kept = |i: &Arc<Incarnation>| {
            snapshot.listeners.get(&i.name).is_some_and(|e| Arc::ptr_eq(&e.incarnation, i))
        };
        if let Some((before, _)) = &self.live {
            let over = before.listeners.values().map(|e| &e.incarnation).filter(|i| !kept(i));
            over.for_each(|incarnation| self.gateway.end(incarnation));
        }
        self.tune(&snapshot);
        let shared = self.gateway.shared();
        let before = shared.published.publish(snapshot.clone());
        // Workers open what is new a moment later; a datagram that comes meanwhile waits for them.
        snapshot
            .listeners
            .values()
            .filter_map(|e| e.mailbox.as_ref())
            .for_each(|claim| claim.mailbox().hear());
        self.gateway.set_workers(snapshot.workers);
        self.shop.keep.settle();
        self.certificates_changed.notify_one();
        self.checkers.reconcile(snapshot.clusters.iter().flatten());
        self.published.retain(|(_, _, weak)| weak.strong_count() > 0);
        self.published.push((snapshot.revision, shared.published.epoch(), Arc::downgrade(&snapshot)));
        // The snapshot before goes the way of all: its last holder hands it to the reaper.
        let last = [before, self.live.replace((snapshot, config)).map(|(snapshot, _)| snapshot)];
        for snapshot in last.into_iter().flatten() {
            let _ = shared.reaper.send(snapshot);
        }
    }

    /// Makes sockets what the document says, where it says something new.
    fn tune(&self, snapshot: &Snapshot) {
        for (name, entrance) in &snapshot.listeners {
            let before = self.live.as_ref().and_then(|(before, _)| before.listeners.get(name));
            let same = |before: &Arc<Entrance>| {
                Arc::ptr_eq(&before.config, &entrance.config) && Arc::ptr_eq(&before.bound, &entrance.bound)
            };
            if !before.is_some_and(same) {
                entrance.bound.tune(&entrance.config.socket);
            }
        }
    }

    /// Requests that began with these revisions, or older ones, are to be the last on their connections.
    pub fn drain(&mut self, oldest: &[RevisionId]) {
        let sequences =
            self.published.iter().filter(|(id, _, _)| oldest.contains(id)).map(|(_, sequence, _)| *sequence);
        if let Some(newest) = sequences.max() {
            self.gateway.tell_all(|| Message::DrainUpTo(newest));
        }
    }
}

/// How this process calls itself in `Via`: another one beside it must have another name.
fn via() -> HeaderValue {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40;
    let name = format!("1.1 evergate-{:08x}", evergate_kit::Rng::new(seed).u64() as u32);
    HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("1.1 evergate"))
}
