//! Active health checks, off the request path: each endpoint is asked by a task of its own on the control runtime.
//!
//! [`Checkers::reconcile`] makes the tasks fit the clusters that are published. Verdicts belong to the endpoint,
//! so they survive any change of settings; they count for requests only while their upstream has `health`.

mod http;
mod tcp;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use evergate_contract::config::{Health, Name};
use evergate_kit::Rng;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    cluster::Cluster,
    connect::Connector,
    endpoint::EndpointState,
    member::Member,
    verdict::{Streak, Verdict, step},
};

/// The verdict on an endpoint has changed.
#[derive(Clone, Debug)]
pub struct HealthChange {
    /// The upstream it belongs to.
    pub upstream: Name,
    /// The endpoint's URL.
    pub url: String,
    /// What it is now.
    pub verdict: Verdict,
    /// The answer that tipped it, for people.
    pub reason: String,
}

/// Told of each change; called on the control runtime, must not block.
pub type Notice = Arc<dyn Fn(HealthChange) + Send + Sync>;

/// The checks that run. Dropped, they stop.
pub struct Checkers {
    runtime: Handle,
    notice: Notice,
    clusters: HashMap<Name, Checked>,
    /// Tasks started since the start; seeds their jitter.
    started: u64,
}

/// The checks of one upstream.
struct Checked {
    cluster: Arc<Cluster>,
    tasks: HashMap<String, Task>,
}

struct Task {
    state: Arc<EndpointState>,
    order: watch::Sender<Order>,
    abort: AbortHandle,
}

/// How an endpoint is asked.
#[derive(Clone)]
struct Order {
    health: Health,
    connector: Arc<Connector>,
}

impl Checkers {
    /// None yet; they will run on that runtime.
    #[must_use]
    pub fn new(runtime: Handle, notice: Notice) -> Checkers {
        Checkers { runtime, notice, clusters: HashMap::new(), started: 0 }
    }

    /// Makes the checks fit: new endpoints are asked at once, gone ones no more, and those whose settings have
    /// changed go on by the new ones without missing or repeating a question. Called at publish.
    pub fn reconcile<'a>(&mut self, clusters: impl IntoIterator<Item = &'a Arc<Cluster>>) {
        let mut before = std::mem::take(&mut self.clusters);
        for cluster in clusters {
            let Some(health) = &cluster.spec().health else { continue };
            let known = before.remove(cluster.name());
            let checked = match known {
                Some(known) if Arc::ptr_eq(&known.cluster, cluster) => known,
                Some(known) => self.renew(known.tasks, cluster, health),
                None => self.renew(HashMap::new(), cluster, health),
            };
            self.clusters.insert(cluster.name().clone(), checked);
        }
        for task in before.into_values().flat_map(|gone| gone.tasks.into_values()) {
            task.retire();
        }
    }

    /// Endpoints that are asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clusters.values().map(|checked| checked.tasks.len()).sum()
    }

    /// True if none is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn renew(
        &mut self,
        mut known: HashMap<String, Task>,
        cluster: &Arc<Cluster>,
        health: &Health,
    ) -> Checked {
        let mut tasks = HashMap::new();
        for member in cluster.members() {
            let order = Order { health: health.clone(), connector: member.connector.clone() };
            let url = member.state.url().to_owned();
            let task = match known.remove(&url) {
                Some(task) => {
                    task.order.send_replace(order);
                    task
                }
                None if tasks.contains_key(&url) => continue,
                None => self.start(member, order),
            };
            tasks.insert(url, task);
        }
        known.into_values().for_each(Task::retire);
        Checked { cluster: cluster.clone(), tasks }
    }

    fn start(&mut self, member: &Member, order: Order) -> Task {
        self.started += 1;
        let (sender, orders) = watch::channel(order);
        let run = run(member.state.clone(), orders, self.notice.clone(), Rng::new(self.started));
        let abort = self.runtime.spawn(run).abort_handle();
        Task { state: member.state.clone(), order: sender, abort }
    }
}

impl Drop for Checkers {
    fn drop(&mut self) {
        for task in self.clusters.values().flat_map(|checked| checked.tasks.values()) {
            task.abort.abort();
        }
    }
}

impl fmt::Debug for Checkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkers({})", self.len())
    }
}

impl Task {
    /// Stops asking. Without questions there is no verdict.
    fn retire(self) {
        self.abort.abort();
        self.state.set_streak(Streak::default());
    }
}

/// Asks one endpoint for ever.
async fn run(state: Arc<EndpointState>, mut orders: watch::Receiver<Order>, notice: Notice, rng: Rng) {
    loop {
        let order = orders.borrow_and_update().clone();
        let asked = Instant::now();
        let answer = ask(&order).await;
        let before = state.streak();
        let after = step(&order.health, before, answer.is_ok());
        state.set_streak(after);
        if after.verdict != before.verdict {
            let reason = answer.err().unwrap_or_else(|| "answers well".to_owned());
            let (upstream, url) = (state.upstream().clone(), state.url().to_owned());
            notice(HealthChange { upstream, url, verdict: after.verdict, reason });
        }
        let share = rng.below(JITTER_STEPS);
        loop {
            let due = asked + jittered(*orders.borrow_and_update().health.interval, share);
            tokio::select! {
                () = sleep_until(due) => break,
                changed = orders.changed() => if changed.is_err() { return },
            }
        }
    }
}

const JITTER_STEPS: u64 = 1000;

/// The interval, up to a tenth shorter or longer as `share` of [`JITTER_STEPS`] goes from none to all.
fn jittered(interval: Duration, share: u64) -> Duration {
    let tenth = interval / 10;
    let least = interval.saturating_sub(tenth);
    least + tenth.mul_f64(2.0 * share as f64 / JITTER_STEPS as f64)
}

/// Asks once; the error says what was wrong.
async fn ask(order: &Order) -> Result<(), String> {
    let Order { health, connector } = order;
    let question = async {
        match &health.path {
            Some(path) => http::ask(connector, path, health.host.as_deref()).await,
            None => tcp::ask(connector).await,
        }
    };
    timeout(*health.timeout, question)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {}", health.timeout)))
}

#[cfg(test)]
mod tests;
