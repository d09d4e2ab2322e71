//! Many clients that ask without pause until they are told to stop, and count everything that somebody
//! could have noticed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::client::{Answer, Ask, Conn, Door, Failure};

/// Failures that are kept word for word.
const WORDS_MAX: usize = 20;

/// How a client uses connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One connection for as long as the server lets it.
    KeepAlive,
    /// A connection for each request.
    PerRequest,
}

/// Says what is wrong with an answer.
pub type Check = Arc<dyn Fn(&Answer) -> Result<(), String> + Send + Sync>;

/// One client of a crowd.
#[derive(Clone)]
pub struct Client {
    /// Where it asks.
    pub door: Door,
    /// How it uses connections.
    pub manner: Manner,
    /// What it asks, in turn.
    pub asks: Vec<Ask>,
    /// What an answer has to be.
    pub check: Check,
    /// Rest between two requests.
    pub pause: Duration,
}

impl Client {
    /// Asks for one thing and wants `200`.
    #[must_use]
    pub fn new(door: Door, manner: Manner, ask: Ask) -> Client {
        Client { door, manner, asks: vec![ask], check: Arc::new(is_ok), pause: Duration::from_millis(1) }
    }

    /// By what way it asks, for a failure.
    fn how(&self, reused: bool) -> String {
        let protocol = match (self.door.h3, self.door.h2) {
            (true, _) => "HTTP/3",
            (false, true) => "HTTP/2",
            (false, false) => "HTTP/1.1",
        };
        let tls = if self.door.tls.is_some() { "over TLS" } else { "in clear text" };
        let connection = if reused { "on a kept connection" } else { "on a new connection" };
        format!("by {protocol} {tls} {connection}")
    }

    /// Wants something else.
    #[must_use]
    pub fn checking(
        mut self,
        check: impl Fn(&Answer) -> Result<(), String> + Send + Sync + 'static,
    ) -> Client {
        self.check = Arc::new(check);
        self
    }
}

fn is_ok(answer: &Answer) -> Result<(), String> {
    if answer.status == 200 { Ok(()) } else { Err(format!("status {}: {}", answer.status, answer.text())) }
}

/// What a crowd has seen.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests with an answer, right or wrong.
    pub answered: usize,
    /// Requests without a right answer, of whatever kind.
    pub failed: usize,
    /// Connections that were reset.
    pub resets: usize,
    /// Kept-alive connections that had to be opened again because the server had closed them.
    pub reconnects: usize,
    /// `Connection: close` or GOAWAY to clients that had not asked for it.
    pub polite: usize,
    /// Answers from a revision older than one whose verdict was known when the request was sent.
    pub stale: usize,
    /// Answers by the number in `x-rev`.
    pub revisions: BTreeMap<u64, Answered>,
    /// The first failures in words.
    pub words: Vec<String>,
}

/// Answers of one revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// How many.
    pub count: usize,
    /// When the first was there.
    pub first: Instant,
    /// When the last was there.
    pub last: Instant,
}

impl Answered {
    fn once(at: Instant) -> Answered {
        Answered { count: 1, first: at, last: at }
    }

    fn and(self, other: Answered) -> Answered {
        Answered {
            count: self.count + other.count,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

impl Outcome {
    fn revision(&mut self, revision: u64, answered: Answered) {
        self.revisions.entry(revision).and_modify(|a| *a = a.and(answered)).or_insert(answered);
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        if self.words.len() < WORDS_MAX {
            self.words.push(why);
        }
    }

    fn add(&mut self, other: Outcome) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.resets += other.resets;
        self.reconnects += other.reconnects;
        self.polite += other.polite;
        self.stale += other.stale;
        for (revision, answered) in other.revisions {
            self.revision(revision, answered);
        }
        self.words.extend(other.words);
        self.words.truncate(WORDS_MAX);
    }

    /// Panics unless there was load and nobody noticed anything.
    #[track_caller]
    pub fn assert_unnoticed(&self) {
        assert!(self.answered > 0, "no load at all");
        let seen = [self.failed, self.resets, self.reconnects, self.polite, self.stale];
        assert_eq!(seen, [0; 5], "[failed, resets, reconnects, polite closes, stale]: {self:#?}");
    }
}

/// Clients at work.
pub struct Crowd {
    clients: JoinSet<Outcome>,
    stop: Arc<AtomicBool>,
    floor: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

impl Crowd {
    /// Sets them to work.
    #[must_use]
    pub fn start(clients: impl IntoIterator<Item = Client>) -> Crowd {
        let mut crowd = Crowd {
            clients: JoinSet::new(),
            stop: Arc::default(),
            floor: Arc::default(),
            answered: Arc::default(),
        };
        for client in clients {
            let (stop, floor) = (Arc::clone(&crowd.stop), Arc::clone(&crowd.floor));
            let work = Work {
                client,
                stop,
                floor,
                answered: Arc::clone(&crowd.answered),
                outcome: Outcome::default(),
            };
            crowd.clients.spawn(work.run());
        }
        crowd
    }

    /// The verdict on a revision has been seen: requests sent from now on must not be answered by an older one.
    pub fn seen(&self, revision: u64) {
        self.floor.store(revision, Ordering::Release);
    }

    /// Requests answered up to now.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Waits until so many further requests have been answered. Panics if no answer comes for long.
    pub async fn more(&self, count: u64) {
        let goal = self.answered() + count;
        let wait = async {
            while self.answered() < goal {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("load goes on");
    }

    /// Lets every client finish its request, and tells what all have seen.
    pub async fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::Release);
        let mut all = Outcome::default();
        while let Some(outcome) = self.clients.join_next().await {
            all.add(outcome.expect("no panic"));
        }
        all
    }
}

struct Work {
    client: Client,
    stop: Arc<AtomicBool>,
    floor: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    outcome: Outcome,
}

impl Work {
    async fn run(mut self) -> Outcome {
        let mut kept: Option<Conn> = None;
        for turn in 0.. {
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            let ask = self.client.asks[turn % self.client.asks.len()].clone();
            let floor = self.floor.load(Ordering::Acquire);
            let reused = kept.is_some();
            let conn = match kept.take() {
                Some(conn) => Ok(conn),
                None => self.client.door.connect().await,
            };
            let result = match conn {
                Ok(mut conn) => {
                    let result = conn.ask(&ask).await;
                    if result.is_ok() && self.client.manner == Manner::KeepAlive {
                        if conn.over() {
                            self.outcome.polite += 1;
                        } else {
                            kept = Some(conn);
                        }
                    }
                    result
                }
                Err(failure) => Err(failure),
            };
            self.judge(result, &ask, floor, reused);
            tokio::time::sleep(self.client.pause).await;
        }
        self.outcome
    }

    fn judge(&mut self, result: Result<Answer, Failure>, ask: &Ask, floor: u64, reused: bool) {
        let answer = match result {
            Ok(answer) => answer,
            Err(failure) => {
                match failure {
                    Failure::Reset(_) => self.outcome.resets += 1,
                    // It was not sent, and whoever asks opens another connection (RFC 9113 §6.8).
                    Failure::Goaway if reused => {
                        self.outcome.polite += 1;
                        return;
                    }
                    Failure::Goaway => self.outcome.polite += 1,
                    _ => {}
                }
                if reused {
                    self.outcome.reconnects += 1;
                }
                let how = self.client.how(reused);
                return self.outcome.fail(format!("{} {} {how}: {failure:?}", ask.method, ask.target));
            }
        };
        self.outcome.answered += 1;
        self.answered.fetch_add(1, Ordering::AcqRel);
        if let Err(why) = (self.client.check)(&answer) {
            let how = self.client.how(reused);
            self.outcome.fail(format!("{} {} {how}: {why}", ask.method, ask.target));
        }
        if let Some(revision) = answer.fields.get("x-rev").and_then(|r| r.parse().ok()) {
            self.outcome.revision(revision, Answered::once(Instant::now()));
            if revision < floor {
                self.outcome.stale += 1;
            }
        }
    }
}
