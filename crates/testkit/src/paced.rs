//! A client that asks at fixed times whatever the answers do, so that a slow answer is not hidden by the
//! next question waiting for it; and what one can say of many times.
//!
//! It speaks HTTP/1.1 in clear text on a thread of its own, with nothing between it and the kernel: tens of
//! thousands of requests a second have to cost little beside the backend on the same core. Time counts from when a
//! request was due, not from when a connection was free for it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

mod drive;
mod line;

/// What is asked, and how often.
#[derive(Clone)]
pub struct Plan {
    /// Who is asked.
    pub address: SocketAddr,
    /// Connections, at most. They are opened before the first question.
    pub connections: usize,
    /// From one question to the next.
    pub every: Duration,
    /// Whole requests. Every second one is the one in focus, the others go through all.
    pub asks: Arc<Vec<Vec<u8>>>,
}

/// What came of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A whole answer: its status and the first byte of its body.
    Answer(u16, u8),
    /// Nobody took the connection.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was whole.
    Closed,
    /// What came was not HTTP/1.1 with a known length.
    Bad,
    /// Nothing came until the end.
    Nothing,
}

/// One question and its answer. Times count from the start of the client.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was to be asked.
    pub due: Duration,
    /// When the answer was there, or the failure.
    pub done: Duration,
    /// Which of the questions.
    pub ask: usize,
    /// What came.
    pub said: Said,
}

impl Sample {
    /// From when it was due to the whole answer.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.done.saturating_sub(self.due)
    }

    /// A whole answer with status 200.
    #[must_use]
    pub fn good(&self) -> bool {
        matches!(self.said, Said::Answer(200, _))
    }
}

/// Asks until stopped.
pub struct Paced {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    start: Instant,
    stop: AtomicBool,
    focus: AtomicUsize,
    samples: Mutex<Vec<Sample>>,
}

impl Paced {
    /// Begins.
    ///
    /// # Errors
    /// If nobody takes the connections.
    pub fn start(plan: Plan) -> std::io::Result<Paced> {
        let shared = Arc::new(Shared {
            plan,
            start: Instant::now(),
            stop: AtomicBool::new(false),
            focus: AtomicUsize::new(0),
            samples: Mutex::default(),
        });
        let driver = drive::Driver::new(Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name("paced".to_owned()).spawn(move || driver.run())?;
        Ok(Paced { shared, thread: Some(thread) })
    }

    /// Time since the start, as in [`Sample`].
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Puts another question in focus.
    pub fn focus(&self, ask: usize) {
        self.shared.focus.store(ask, Ordering::Release);
    }

    /// How many samples there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What has come since a number of samples, in the order in which it came.
    #[must_use]
    pub fn since(&self, count: usize) -> Vec<Sample> {
        let samples = self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.get(count..).map(<[Sample]>::to_vec).unwrap_or_default()
    }

    /// Ends, waits two seconds for what is still due, and gives all samples in the order in which they were due.
    #[must_use]
    pub fn stop(mut self) -> Vec<Sample> {
        self.end();
        let mut samples =
            std::mem::take(&mut *self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner));
        samples.sort_by_key(|s| s.due);
        samples
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.end();
    }
}

/// Middle, ends and the 99th percentile of some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
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
    let pick = |share| quantile(&numbers, share);
    Spread { min: pick(0.0), median: pick(0.5), p99: pick(0.99), max: pick(1.0) }
}

/// The number that a share of the sorted numbers stays below; zero if there are none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// [`spread`] of durations, in milliseconds.
#[must_use]
pub fn spread_ms(times: impl IntoIterator<Item = Duration>) -> Spread {
    spread(times.into_iter().map(|t| t.as_secs_f64() * 1000.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_picked() {
        let numbers = |n: usize| (0..n).map(|i| i as f64).collect::<Vec<_>>();
        for (n, share, expected) in [
            (0, 0.5, 0.0),
            (1, 0.0, 0.0),
            (1, 1.0, 0.0),
            (2, 0.5, 1.0),
            (100, 0.5, 50.0),
            (100, 0.99, 99.0),
            (1000, 0.99, 990.0),
            (1000, 0.999, 999.0),
            (1000, 1.0, 999.0),
        ] {
            assert_eq!(quantile(&numbers(n), share), expected, "{share} of {n}");
        }
        let shuffled = vec![3.0, 1.0, 2.0];
        assert_eq!(spread(shuffled), Spread { min: 1.0, median: 2.0, p99: 3.0, max: 3.0 });
    }
}
