//! Notices that something on disk changed, whatever way it did: written in place, renamed over, deleted and made
//! again, or by a link on the way to it that was swapped, as Kubernetes does it.
//!
//! Folders are watched, never files, since a file that is renamed over is another file. Says only that something
//! changed; what it is now, the next load finds out. If the system does not tell, files are looked at every second.

mod interest;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evergate_conf::Input;
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};

use crate::status::Watching;
use interest::Interest;
pub(crate) use interest::Moment as DiskTime;

/// Folders that may be watched at once; with more, files are looked at every second.
const FOLDERS_MAX: usize = 8192;

const POLL_EVERY: Duration = Duration::from_secs(1);

/// Called from any thread when something changed; must not block.
pub(crate) type Tell = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Watcher {
    tell: Tell,
    mode: Mode,
    folders_max: usize,
}

enum Mode {
    Off,
    Events(Events),
    Polling(Polling),
}

struct Events {
    watcher: RecommendedWatcher,
    shared: Arc<Mutex<Shared>>,
    watched: BTreeSet<PathBuf>,
}

/// What the watcher's own thread looks at.
#[derive(Default)]
struct Shared {
    interest: Interest,
    /// Watched folders that were moved or deleted: what is there now has to be watched anew.
    lost: BTreeSet<PathBuf>,
    /// Why events may be missing from now on.
    broken: Option<String>,
}

struct Polling {
    interest: Interest,
    stamps: Vec<interest::Stamp>,
    due: Instant,
}

impl Watcher {
    pub(crate) fn new(tell: Tell) -> Watcher {
        Watcher { tell, mode: Mode::Off, folders_max: FOLDERS_MAX }
    }

    pub(crate) fn state(&self) -> Watching {
        match self.mode {
            Mode::Off => Watching::Off,
            Mode::Events(_) => Watching::Events,
            Mode::Polling(_) => Watching::Polling,
        }
    }

    pub(crate) fn off(&mut self) {
        self.mode = Mode::Off;
    }

    /// Watches these from now on. `read_at` is when they began to be read: what changed since is told at once.
    ///
    /// # Errors
    /// Why events cannot be had, once; files are then looked at every second instead.
    pub(crate) fn update(&mut self, inputs: &[Input], read_at: DiskTime) -> Result<(), String> {
        let interest = Interest::of(inputs);
        let told = match &mut self.mode {
            Mode::Events(events) => events.update(&interest, self.folders_max),
            Mode::Off => Events::new(Arc::clone(&self.tell)).and_then(|mut events| {
                let told = events.update(&interest, self.folders_max);
                self.mode = Mode::Events(events);
                told
            }),
            Mode::Polling(polling) => {
                polling.interest = interest.clone();
                Ok(true)
            }
        };
        let (new_folders, result) = match told {
            Ok(new_folders) => (new_folders, Ok(())),
            Err(reason) => {
                let due = Instant::now() + POLL_EVERY;
                self.mode = Mode::Polling(Polling { interest: interest.clone(), stamps: Vec::new(), due });
                (true, Err(reason))
            }
        };
        if let Mode::Polling(polling) = &mut self.mode {
            polling.stamps = polling.interest.stamps();
        }
        if new_folders && interest.changed_since(inputs, read_at) {
            (self.tell)();
        }
        result
    }

    /// When [`Watcher::poll`] is due.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        match &self.mode {
            Mode::Polling(polling) => Some(polling.due),
            _ => None,
        }
    }

    /// Looks at the files, if the system does not tell.
    pub(crate) fn poll(&mut self, now: Instant) {
        let Mode::Polling(polling) = &mut self.mode else { return };
        if now < polling.due {
            return;
        }
        polling.due = now + POLL_EVERY;
        let stamps = polling.interest.stamps();
        if stamps != polling.stamps {
            polling.stamps = stamps;
            (self.tell)();
        }
    }
}

impl Events {
    fn new(tell: Tell) -> Result<Events, String> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let seen = Arc::clone(&shared);
        let handler = move |event: notify::Result<notify::Event>| {
            let mut shared = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if shared.concerns(event) {
                drop(shared);
                tell();
            }
        };
        let watcher = notify::recommended_watcher(handler).map_err(|e| e.to_string())?;
        Ok(Events { watcher, shared, watched: BTreeSet::new() })
    }

    /// True if something is looked at that was not before.
    fn update(&mut self, interest: &Interest, folders_max: usize) -> Result<bool, String> {
        let wanted = interest.folders();
        if wanted.len() > folders_max {
            return Err(format!("{} folders would have to be watched, {folders_max} can be", wanted.len()));
        }
        let grew;
        let lost = {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            // What was of no interest until now may have changed unnoticed, in a folder that is watched already.
            grew = interest.goes_beyond(&shared.interest);
            shared.interest = interest.clone();
            if let Some(reason) = shared.broken.take() {
                return Err(reason);
            }
            std::mem::take(&mut shared.lost)
        };
        let gone: Vec<PathBuf> =
            self.watched.iter().filter(|f| !wanted.contains(*f) || lost.contains(*f)).cloned().collect();
        for folder in gone {
            // Fails if the folder is gone, and with it the watch.
            let _ = self.watcher.unwatch(&folder);
            self.watched.remove(&folder);
        }
        let mut new = grew;
        for folder in wanted {
            if self.watched.contains(folder) {
                continue;
            }
            match self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => new |= self.watched.insert(folder.clone()),
                // It went away just now; the folder above tells when it comes back.
                Err(notify::Error { kind: notify::ErrorKind::PathNotFound, .. }) => {}
                Err(error) => return Err(format!("cannot watch {}: {}", folder.display(), reason(&error))),
            }
        }
        Ok(new)
    }
}

fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "the limit of the system is reached (sysctl fs.inotify.max_user_watches)".to_owned()
        }
        notify::ErrorKind::Io(io) => io.to_string(),
        other => format!("{other:?}"),
    }
}

impl Shared {
    /// True if something that counts changed.
    fn concerns(&mut self, event: notify::Result<notify::Event>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.broken = Some(reason(&error));
                return true;
            }
        };
        let moved = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            // Others read it, or we did.
            EventKind::Access(_) => return false,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
            _ => false,
        };
        if moved {
            let folders = self.interest.folders();
            self.lost.extend(event.paths.iter().filter(|p| folders.contains(*p)).cloned());
        }
        event.need_rescan() || event.paths.iter().any(|path| self.interest.concerns(path))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        for folder in &self.watched {
            let _ = self.watcher.unwatch(folder);
        }
    }
}

/// True for what a load never reads by itself.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

#[cfg(test)]
mod tests;
