//! A client that asks at fixed times whatever the answers do, so that a slow answer is not hidden by the
//! next question waiting for it; and what one can say of many times.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, task::JoinSet};

use crate::client::{Answer, Ask, Conn, Door, Failure};

/// One question and its answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was to be asked.
    pub due: Instant,
    /// When the answer was there.
    pub done: Instant,
    /// The answer.
    pub result: Result<Answer, Failure>,
}

impl Sample {
    /// From when it was due to the whole answer.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.done - self.due
    }

    /// The number in `x-rev`.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        self.result.as_ref().ok()?.fields.get("x-rev")?.parse().ok()
    }
}

/// Asks until stopped.
pub struct Paced {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Sample>>,
}

impl Paced {
    /// Asks the same every so often, over as many kept-alive connections as it takes.
    #[must_use]
    pub fn start(door: Door, ask: Ask, every: Duration) -> Paced {
        let stop: Arc<AtomicBool> = Arc::default();
        let task = tokio::spawn(run(door, ask, every, Arc::clone(&stop)));
        Paced { stop, task }
    }

    /// Ends and gives the samples in the order in which they were due.
    pub async fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Release);
        let mut samples = self.task.await.expect("no panic");
        samples.sort_by_key(|s| s.due);
        samples
    }
}

async fn run(door: Door, ask: Ask, every: Duration, stop: Arc<AtomicBool>) -> Vec<Sample> {
    let mut idle: Vec<Conn> = Vec::new();
    let mut asking = JoinSet::new();
    let mut samples = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Acquire) {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {
                asking.spawn(one(door.clone(), idle.pop(), ask.clone(), due));
                due += every;
            }
            Some(done) = asking.join_next() => keep(done, &mut idle, &mut samples),
        }
    }
    while let Some(done) = asking.join_next().await {
        keep(done, &mut idle, &mut samples);
    }
    samples
}

type Done = Result<(Option<Conn>, Sample), tokio::task::JoinError>;

fn keep(done: Done, idle: &mut Vec<Conn>, samples: &mut Vec<Sample>) {
    let (conn, sample) = done.expect("no panic");
    idle.extend(conn);
    samples.push(sample);
}

async fn one(door: Door, conn: Option<Conn>, ask: Ask, due: Instant) -> (Option<Conn>, Sample) {
    let mut kept = None;
    let result = async {
        let mut conn = match conn {
            Some(conn) => conn,
            None => door.connect().await?,
        };
        let answer = conn.ask(&ask).await?;
        kept = Some(conn).filter(|c| !c.over());
        Ok(answer)
    };
    let result = result.await;
    (kept, Sample { due, done: Instant::now(), result })
}

/// Middle, ends and the 99th percentile of some numbers.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// Half are below.
    pub median: f64,
    /// One in a hundred is above.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

/// Of no numbers all are zero.
#[must_use]
pub fn spread(mut numbers: Vec<f64>) -> Spread {
    numbers.sort_by(f64::total_cmp);
    let at = |share: usize| numbers.get((numbers.len() * share / 100).min(numbers.len().saturating_sub(1)));
    let pick = |share| at(share).copied().unwrap_or_default();
    Spread { min: pick(0), median: pick(50), p99: pick(99), max: pick(100) }
}

/// [`spread`] of durations, in milliseconds.
#[must_use]
pub fn spread_ms(times: impl IntoIterator<Item = Duration>) -> Spread {
    spread(times.into_iter().map(|t| t.as_secs_f64() * 1000.0).collect())
}
