//! This process and its supervisor, if it has one: what is said to it, what it says, and what is known of it.
//!
//! Without one the service manager is told the same directly. Must not know: what is done about it.

use std::{
    collections::HashMap,
    fs::File,
    future::Future,
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use evergate_contract::status::{Process, SupervisorStatus};
use evergate_kit::{Carried, fds::Keeper};
use evergate_supervisor::{
    child::{Heard, Parent},
    core::Word,
    message::{Facts, ToParent},
    notify::notify,
};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::{mpsc, oneshot};

/// The way to whoever started this process.
pub(crate) struct Overseer {
    parent: Option<Arc<Parent>>,
    facts: Mutex<Facts>,
    /// Who waits to hear how an upgrade ended.
    askers: Mutex<HashMap<u64, oneshot::Sender<Result<String, String>>>>,
    next_asker: AtomicU64,
}

impl Overseer {
    /// Of this process.
    pub(crate) fn new(parent: Option<Parent>) -> Arc<Overseer> {
        Arc::new(Overseer {
            parent: parent.map(Arc::new),
            facts: Mutex::default(),
            askers: Mutex::default(),
            next_asker: AtomicU64::new(0),
        })
    }

    /// True if somebody would start this process anew.
    pub(crate) fn is_there(&self) -> bool {
        self.parent.is_some()
    }

    /// Who holds sockets for this process.
    pub(crate) fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        self.parent.clone().map(|parent| parent as Arc<dyn Keeper>)
    }

    /// What the supervisor says, from now on. It ends when the supervisor does, and begins never without one.
    pub(crate) fn orders(&self) -> io::Result<mpsc::UnboundedReceiver<Heard>> {
        let (orders, received) = mpsc::unbounded_channel();
        let Some(parent) = self.parent.clone() else {
            // Nobody will ever say anything, and nobody is missed.
            std::mem::forget(orders);
            return Ok(received);
        };
        std::thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            while let Some(heard) = parent.next() {
                if orders.send(heard).is_err() {
                    return;
                }
            }
        })?;
        Ok(received)
    }

    /// Says something to the supervisor, or to the service manager what concerns it.
    pub(crate) fn say(&self, message: &ToParent) {
        match (&self.parent, message) {
            (Some(parent), message) => parent.say(message),
            (None, ToParent::Serving { .. }) => notify(Word::Ready, std::process::id()),
            (None, ToParent::Reloading) => notify(Word::Reloading, std::process::id()),
            (None, ToParent::Stopping) => notify(Word::Stopping, std::process::id()),
            (None, ToParent::Alive(_)) => notify(Word::Watchdog, std::process::id()),
            (None, _) => {}
        }
    }

    /// Says something that the next process should know goes with.
    pub(crate) fn say_with_state(&self, message: &ToParent, saved: &[Carried]) {
        let Some(parent) = &self.parent else { return };
        match written(saved) {
            Ok(file) => parent.say_with(message, file.as_fd()),
            Err(error) => {
                tracing::warn!(%error, "what is known of health and sessions does not go along to the next process");
                parent.say(message);
            }
        }
    }

    /// How things stand.
    pub(crate) fn learned(&self, facts: Facts) {
        *lock(&self.facts) = facts;
    }

    /// How an upgrade that was asked for here ended.
    pub(crate) fn upgraded(&self, ok: bool, text: &str) {
        for (_, asker) in lock(&self.askers).drain() {
            // Who asked may have gone.
            let _ = asker.send(if ok { Ok(text.to_owned()) } else { Err(text.to_owned()) });
        }
    }
}

impl Process for Overseer {
    fn supervisor(&self) -> Option<SupervisorStatus> {
        self.parent.as_ref()?;
        let facts = lock(&self.facts).clone();
        Some(SupervisorStatus {
            pid: facts.supervisor,
            upgrades: facts.upgrades,
            last_failed_upgrade: facts.last_failed_upgrade,
            crashes: facts.crashes,
            last_crash: facts.last_crash,
            crash_loop: facts.crash_loop,
            draining: facts.draining,
        })
    }

    fn upgrade(
        &self,
        binary: Option<String>,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> {
        let Some(parent) = self.parent.clone() else {
            let why = "the gateway runs without a supervisor, which would start the new program";
            return Box::pin(async move { Err(why.to_owned()) });
        };
        let (asker, answer) = oneshot::channel();
        let number = self.next_asker.fetch_add(1, Ordering::Relaxed);
        lock(&self.askers).insert(number, asker);
        parent.say(&ToParent::Upgrade { binary: binary.unwrap_or_default() });
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err("the process ended".to_owned())) })
    }
}

/// State as a file in memory: it may hold keys, and is nobody's but the processes' that have it open.
fn written(saved: &[Carried]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("state", MemfdFlags::CLOEXEC)?);
    let rows: Vec<[&str; 3]> = saved.iter().map(|c| [&*c.kind, &*c.name, &*c.text]).collect();
    file.write_all(&serde_json::to_vec(&rows)?)?;
    Ok(file.into())
}

/// State that the process before wrote. What cannot be understood is left out: all of it can be found out anew.
pub(crate) fn read(state: OwnedFd) -> Vec<Carried> {
    let mut file = File::from(state);
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut text));
    let rows = read.ok().and_then(|_| serde_json::from_slice::<Vec<[String; 3]>>(&text).ok());
    let rows = rows.unwrap_or_default().into_iter();
    rows.map(|[kind, name, text]| Carried { kind, name, text }).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_read_as_it_was_written() {
        let carried = |name: &str| Carried { kind: "k".into(), name: name.into(), text: "\"\n".into() };
        let saved = vec![carried("a\0b"), carried("ü")];
        let file = written(&saved).unwrap();
        assert_eq!(read(file.try_clone().unwrap()), saved);
        assert_eq!(read(file), saved, "again, for the next one");
        let garbage = File::from(memfd_create("x", MemfdFlags::CLOEXEC).unwrap());
        assert_eq!(read(garbage.into()), []);
    }

    #[tokio::test]
    async fn without_a_supervisor_there_is_no_upgrade() {
        let overseer = Overseer::new(None);
        assert!(overseer.upgrade(None).await.unwrap_err().contains("without a supervisor"));
        assert!(overseer.supervisor().is_none());
    }
}
