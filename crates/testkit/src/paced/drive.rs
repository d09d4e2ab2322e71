//! The thread of the paced client: a timer, connections, and what is due.

use std::{
    collections::VecDeque,
    io::Result,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use rustix::{
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use super::{
    Said, Sample, Shared,
    line::{Due, Keep, Line, Progress},
};

/// What is still due at the end gets this long.
const GRACE: Duration = Duration::from_secs(2);
/// The timer's mark among the connections.
const TIMER: u64 = u64::MAX;
/// Longest that the thread sleeps, so that it sees that it should stop.
const NAP: Duration = Duration::from_millis(20);

pub(super) struct Driver {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    timer: OwnedFd,
    lines: Vec<Option<Line>>,
    idle: VecDeque<usize>,
    /// Places whose connection nobody took; tried again when a question finds no other.
    lost: Vec<usize>,
    waiting: VecDeque<Due>,
    next: Duration,
    count: usize,
    /// Goes through all questions in turn, far from the last one.
    walk: usize,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Driver> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        let mut driver = Driver {
            lines: (0..shared.plan.connections).map(|_| None).collect(),
            shared,
            epoll,
            timer,
            idle: VecDeque::new(),
            lost: Vec::new(),
            waiting: VecDeque::new(),
            next: Duration::ZERO,
            count: 0,
            walk: 0,
        };
        for place in 0..driver.lines.len() {
            driver.open(place)?;
        }
        driver.next = driver.now();
        Ok(driver)
    }

    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.take_due();
            self.send();
            self.wait(self.next.saturating_sub(self.now()).min(NAP));
        }
        let until = self.now() + GRACE;
        while self.now() < until && !self.quiet() {
            self.send();
            self.wait(NAP);
        }
        let end = self.now();
        let open: Vec<Due> = self.lines.iter().flatten().filter_map(|l| l.due).collect();
        for due in open.into_iter().chain(std::mem::take(&mut self.waiting)) {
            self.keep(due, Said::Nothing, end);
        }
    }

    fn quiet(&self) -> bool {
        self.waiting.is_empty() && self.lines.iter().flatten().all(|l| l.due.is_none())
    }

    fn now(&self) -> Duration {
        self.shared.start.elapsed()
    }

    fn take_due(&mut self) {
        let now = self.now();
        let asks = self.shared.plan.asks.len();
        while self.next <= now {
            self.count += 1;
            let ask = if self.count.is_multiple_of(2) {
                self.shared.focus.load(Ordering::Acquire)
            } else {
                // A step that shares no factor with round numbers comes by all of them.
                self.walk = (self.walk + 7919) % asks;
                self.walk
            };
            self.waiting.push_back(Due { at: self.next, ask });
            self.next += self.shared.plan.every;
        }
    }

    fn send(&mut self) {
        while !self.waiting.is_empty() {
            let Some(place) = self.idle.pop_front() else {
                let Some(place) = self.lost.pop() else { break };
                if self.open(place).is_err() {
                    self.lost.push(place);
                    self.refused();
                }
                continue;
            };
            let Some(due) = self.waiting.pop_front() else { break };
            let shared = Arc::clone(&self.shared);
            let Some(Some(line)) = self.lines.get_mut(place) else { continue };
            if let Err(said) = line.ask(due, &shared.plan.asks[due.ask]) {
                self.end(place, said, Keep::No);
            }
        }
    }

    fn wait(&mut self, at_most: Duration) {
        let nanos = i64::try_from(at_most.as_nanos()).unwrap_or(i64::MAX).max(1);
        let value = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).expect("a timer");
        let mut space = [MaybeUninit::<Event>::uninit(); 256];
        let places: Vec<u64> = match epoll::wait(&self.epoll, &mut space, None) {
            Ok((events, _)) => events.iter().map(|e| e.data.u64()).collect(),
            Err(Errno::INTR) => Vec::new(),
            Err(error) => panic!("epoll: {error}"),
        };
        for place in places.into_iter().filter(|p| *p != TIMER) {
            self.read(usize::try_from(place).expect("a place"));
        }
    }

    fn read(&mut self, place: usize) {
        let Some(Some(line)) = self.lines.get_mut(place) else { return };
        match (line.read(), line.due) {
            (Progress::More, _) => {}
            (Progress::Done(said, keep), Some(_)) => self.end(place, said, keep),
            // Closed while nothing was asked: its good right.
            (Progress::Done(..), None) => self.again(place),
        }
    }

    /// The end of a question, good or bad.
    fn end(&mut self, place: usize, said: Said, keep: Keep) {
        let now = self.now();
        if let Some(due) = self.lines.get_mut(place).and_then(|l| l.as_mut()?.due.take()) {
            self.keep(due, said, now);
        }
        match keep {
            Keep::Yes => self.idle.push_back(place),
            Keep::No => self.again(place),
        }
    }

    /// A new connection in place of one that has ended.
    fn again(&mut self, place: usize) {
        self.idle.retain(|p| *p != place);
        self.lines[place] = None;
        if self.open(place).is_err() {
            self.lost.push(place);
        }
    }

    /// The next question finds nobody.
    fn refused(&mut self) {
        if let Some(due) = self.waiting.pop_front() {
            self.keep(due, Said::Refused, self.now());
        }
    }

    fn open(&mut self, place: usize) -> Result<()> {
        let line = Line::open(self.shared.plan.address)?;
        let mark = EventData::new_u64(place as u64);
        epoll::add(&self.epoll, &line.stream, mark, EventFlags::IN)?;
        self.lines[place] = Some(line);
        self.idle.push_back(place);
        Ok(())
    }

    fn keep(&self, due: Due, said: Said, done: Duration) {
        let sample = Sample { due: due.at, done, ask: due.ask, said };
        self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }
}
