//! The running data plane as others see it: its workers, and what it says about itself.

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc as std_mpsc},
    thread::JoinHandle,
    time::Duration,
};

use evergate_contract::{
    config::Name,
    status::{CertificateStatus, CertificatesStatus, ListenerStatus, Running, Traffic, UpstreamStatus},
};
use evergate_kit::{Carried, Keep};
use evergate_tls::{Crypto, Validity};
use tokio::sync::{mpsc, oneshot};

use crate::{
    carries::Carries,
    expiry,
    listen::Incarnation,
    meter::Sum,
    quic::Steering,
    starter::Starter,
    thread::{self, Message},
    view::Shared,
    worker::Rank,
};

/// A scrape does not wait longer for a worker; its counts are in the next one.
const COUNT_WAIT: Duration = Duration::from_secs(2);
/// The kind of state by which packets of QUIC find their process.
pub(crate) const STEERING: &str = "steering";
/// The kind of state that turns of upstreams are.
const TURN: &str = "turn";
/// Certificates that are told apart; of more, those that end first.
const CERTIFICATES_MAX: usize = 1000;

/// Workers and status. Shared by the plane, the admin API and whoever stops the program.
pub struct Gateway {
    shared: Arc<Shared>,
    crypto: Arc<Crypto>,
    workers: Mutex<Vec<Handle>>,
    draining: Mutex<Vec<Weak<Incarnation>>>,
    ended: Arc<Mutex<Sum>>,
    starter: Starter,
    keep: Arc<Keep>,
    steering: Arc<Steering>,
    /// Turns of the process before, by worker.
    turns: Mutex<HashMap<usize, HashMap<Name, u32>>>,
}

struct Handle {
    inbox: mpsc::UnboundedSender<Message>,
    thread: JoinHandle<()>,
    accepting: bool,
}

impl Gateway {
    pub(crate) fn new(
        shared: Arc<Shared>,
        crypto: Arc<Crypto>,
        keep: Arc<Keep>,
        steering: Arc<Steering>,
        saved: Vec<Carried>,
    ) -> io::Result<Gateway> {
        let (workers, draining, ended) = (Mutex::default(), Mutex::default(), Arc::default());
        let (turns, saved): (Vec<_>, Vec<_>) = saved.into_iter().partition(|c| c.kind == TURN);
        keep.carry(saved);
        let turns = Mutex::new(by_worker(turns));
        let starter = Starter::new()?;
        Ok(Gateway { shared, crypto, workers, draining, ended, starter, keep, steering, turns })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Makes sure that so many workers are there. New ones accept nothing until they are told to.
    pub(crate) fn have_workers(&self, count: usize) -> io::Result<()> {
        let mut workers = lock(&self.workers);
        workers.retain(|w| !w.thread.is_finished());
        for worker in workers.iter_mut().filter(|w| !w.accepting).take(count) {
            // One that was to end once its connections have is needed again. If it has ended just now, another begins below.
            worker.stay();
        }
        workers.retain(|w| !w.inbox.is_closed());
        while workers.len() < count {
            let worker = self.start(workers.len())?;
            workers.push(worker);
        }
        Ok(())
    }

    fn start(&self, index: usize) -> io::Result<Handle> {
        let (inbox, messages) = mpsc::unbounded_channel();
        let (ready, started) = std_mpsc::channel();
        let (shared, ended) = (self.shared.clone(), self.ended.clone());
        let turns = lock(&self.turns).remove(&index).unwrap_or_default();
        let run = move || thread::run(index, shared, turns, messages, &ready, &ended);
        let thread = self.starter.start(format!("worker-{index}"), run)?;
        started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker's thread ended")))?;
        Ok(Handle { inbox, thread, accepting: false })
    }

    /// The first so many workers accept; the others keep what they have, and end when that has.
    pub(crate) fn set_workers(&self, count: usize) {
        for (i, worker) in lock(&self.workers).iter_mut().enumerate() {
            let accepting = i < count;
            let before = std::mem::replace(&mut worker.accepting, accepting);
            worker.tell(match (before, accepting) {
                // Also those that did: others may have come or gone beside them.
                (_, true) => Message::Accept(Rank { index: i, of: count }),
                (true, false) => Message::Retire,
                (false, false) => Message::Adopt,
            });
        }
    }

    pub(crate) fn tell_all(&self, message: impl Fn() -> Message) {
        lock(&self.workers).iter().for_each(|worker| worker.tell(message()));
    }

    /// A listener's time is over: no new connections, and its own are closed once they have finished what they do.
    pub(crate) fn end(&self, incarnation: &Arc<Incarnation>) {
        incarnation.end();
        let mut draining = lock(&self.draining);
        draining.retain(|d| d.strong_count() > 0);
        draining.push(Arc::downgrade(incarnation));
    }

    /// Stops accepting and closes connections politely once they are idle.
    pub fn drain(&self) {
        if let Some(snapshot) = self.shared.published.load() {
            snapshot.listeners.values().for_each(|entrance| self.end(&entrance.incarnation));
        }
        self.tell_all(|| Message::Drain);
    }

    /// Leaves new connections to another process that has the same sockets, and closes those that are open politely once
    /// they are idle, spread over so long.
    pub fn leave(&self, spread: Duration) {
        // Before the doors close: a client that begins now must not be refused.
        self.steering.hand_over(self.steering.successor());
        self.tell_all(|| Message::Leave(spread));
    }

    /// Closes all connections politely once they are idle, now.
    pub fn hurry(&self) {
        self.tell_all(|| Message::DrainUpTo(u64::MAX));
    }

    /// Ends connections that carry this, whatever is under way on them.
    pub fn cut(&self, what: Carries) {
        self.tell_all(|| Message::Cut(what));
    }

    /// What the next process should know: health, ejections, sessions, turns.
    pub async fn save(&self) -> Vec<Carried> {
        let mut saved = self.keep.save();
        let (name, text) = (String::new(), self.steering.save());
        saved.push(Carried { kind: STEERING.to_owned(), name, text });
        let inboxes: Vec<_> = lock(&self.workers).iter().map(|worker| worker.inbox.clone()).collect();
        for (worker, inbox) in inboxes.into_iter().enumerate() {
            let (reply, turns) = oneshot::channel();
            if inbox.send(Message::Turns(reply)).is_ok()
                && let Ok(Ok(turns)) = tokio::time::timeout(COUNT_WAIT, turns).await
            {
                saved.extend(turns.into_iter().map(|(name, turn)| Carried {
                    kind: TURN.to_owned(),
                    name: format!("{worker} {name}"),
                    text: turn.to_string(),
                }));
            }
        }
        saved
    }

    /// True if every worker has answered within that time.
    pub async fn is_alive(&self, within: Duration) -> bool {
        let inboxes: Vec<_> = lock(&self.workers).iter().map(|worker| worker.inbox.clone()).collect();
        let answers = inboxes.into_iter().filter_map(|inbox| {
            let (reply, answer) = oneshot::channel();
            inbox.send(Message::Count(reply)).is_ok().then_some(answer)
        });
        let answers: Vec<_> = answers.collect();
        let all = async {
            for answer in answers {
                // A worker that has ended meanwhile is not hung.
                let _ = answer.await;
            }
        };
        tokio::time::timeout(within, all).await.is_ok()
    }

    /// True once nothing is open any more after [`Gateway::drain`] or [`Gateway::leave`].
    #[must_use]
    pub fn is_drained(&self) -> bool {
        lock(&self.workers).iter().all(|worker| worker.thread.is_finished())
    }

    /// Ends all workers; what is open is cut.
    pub fn stop(&self) {
        let workers = std::mem::take(&mut *lock(&self.workers));
        workers.iter().for_each(|worker| worker.tell(Message::Stop));
        for worker in workers {
            // A worker that panicked has said so; there is nothing left to save.
            let _ = worker.thread.join();
        }
    }

    async fn count(&self) -> Sum {
        let inboxes: Vec<_> = lock(&self.workers).iter().map(|worker| worker.inbox.clone()).collect();
        let mut sum = lock(&self.ended).clone();
        for inbox in inboxes {
            let (reply, counted) = oneshot::channel();
            if inbox.send(Message::Count(reply)).is_ok()
                && let Ok(Ok(counted)) = tokio::time::timeout(COUNT_WAIT, counted).await
            {
                sum.merge(&counted);
            }
        }
        sum
    }

    fn connections(&self) -> Vec<(Name, u64)> {
        self.listeners().into_iter().map(|l| (l.name, l.connections)).fold(
            Vec::new(),
            |mut sums, (name, n)| {
                match sums.iter_mut().find(|(known, _): &&mut (Name, u64)| *known == name) {
                    Some((_, sum)) => *sum += n,
                    None => sums.push((name, n)),
                }
                sums
            },
        )
    }
}

impl Handle {
    /// A worker whose thread has ended has no use for messages.
    fn tell(&self, message: Message) {
        let _ = self.inbox.send(message);
    }

    /// Waits until a retired worker has agreed to stay, or has ended.
    fn stay(&self) {
        let (reply, agreed) = std_mpsc::channel();
        if self.inbox.send(Message::Stay(reply)).is_ok() {
            let _ = agreed.recv();
        }
    }
}

impl Running for Gateway {
    fn listeners(&self) -> Vec<ListenerStatus> {
        let status = |incarnation: &Arc<Incarnation>, draining| ListenerStatus {
            name: incarnation.name.clone(),
            address: incarnation.actual.clone(),
            tls: incarnation.tls,
            carries: incarnation.carries,
            connections: incarnation.connections(),
            draining,
        };
        let snapshot = self.shared.published.load();
        let live = snapshot.iter().flat_map(|s| s.listeners.values()).map(|e| &e.incarnation);
        let mut all: Vec<_> = live.filter(|i| !i.is_over()).map(|i| status(i, false)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let draining = lock(&self.draining);
        all.extend(
            draining
                .iter()
                .filter_map(Weak::upgrade)
                .filter(|i| i.connections() > 0)
                .map(|i| status(&i, true)),
        );
        all
    }

    fn certificates(&self) -> CertificatesStatus {
        let Some(snapshot) = self.shared.published.load() else { return CertificatesStatus::default() };
        let all = expiry::ends(&snapshot.credentials);
        let status = |(name, validity): (&Name, Validity)| CertificateStatus {
            name: name.clone(),
            not_after: validity.until,
        };
        let soonest = expiry::soonest(all, CERTIFICATES_MAX).into_iter().map(status).collect();
        CertificatesStatus { count: snapshot.credentials.len(), read: self.crypto.reads(), soonest }
    }

    fn workers(&self) -> usize {
        lock(&self.workers).iter().filter(|worker| worker.accepting).count()
    }

    fn upstreams(&self) -> Vec<UpstreamStatus> {
        let snapshot = self.shared.published.load();
        let mut all: Vec<_> =
            snapshot.iter().flat_map(|s| s.clusters.iter().flatten()).map(|c| c.status()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn traffic(&self) -> Pin<Box<dyn Future<Output = Traffic> + Send + '_>> {
        Box::pin(async { self.count().await.into_traffic(self.connections()) })
    }
}

/// Turns that the process before saved. What is not understood is left out.
fn by_worker(saved: Vec<Carried>) -> HashMap<usize, HashMap<Name, u32>> {
    let mut all: HashMap<usize, HashMap<Name, u32>> = HashMap::new();
    for Carried { name, text, .. } in saved {
        let place = name.split_once(' ').and_then(|(worker, name)| Some((worker.parse().ok()?, name)));
        if let (Some((worker, name)), Ok(turn)) = (place, text.parse()) {
            all.entry(worker).or_default().insert(name.into(), turn);
        }
    }
    all
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
