//! Deadlines of a worker: thousands of timeouts for the price of one timer.
//!
//! A [`Clock`] belongs to one thread and is told the time by its tick. Arming a deadline writes one number;
//! a tick compares numbers and wakes the tasks whose time has come. A deadline fires at most one tick late,
//! never early. Knows nothing of sockets or of what is being waited for.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How often [`Clock::tick`] is to be called while deadlines exist.
pub const TICK: Duration = Duration::from_millis(10);

const NEVER: u64 = u64::MAX;

/// The time as one worker sees it, and its deadlines.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    now_ms: Cell<u64>,
    slots: RefCell<Slots>,
}

/// Two columns, so that a tick walks over plain numbers.
#[derive(Debug, Default)]
struct Slots {
    at_ms: Vec<u64>,
    waker: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// The time came before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// One deadline; armed again and again by the task that owns it.
#[derive(Debug)]
pub struct Deadline {
    clock: Rc<Clock>,
    slot: usize,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn new(now: Instant) -> Rc<Clock> {
        Rc::new(Clock { start: now, now_ms: Cell::new(0), slots: RefCell::default() })
    }

    /// Tells the time and wakes every task whose deadline has passed.
    pub fn tick(&self, now: Instant) {
        let ms = u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(NEVER - 1);
        self.now_ms.set(ms);
        let mut due = Vec::new();
        {
            let slots = &mut *self.slots.borrow_mut();
            for (at, waker) in slots.at_ms.iter().zip(&mut slots.waker) {
                if *at <= ms {
                    due.extend(waker.take());
                }
            }
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// Milliseconds since the clock started, as of the last tick.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// A new deadline, not armed.
    #[must_use]
    pub fn deadline(self: &Rc<Clock>) -> Deadline {
        let slots = &mut *self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.at_ms.push(NEVER);
            slots.waker.push(None);
            slots.at_ms.len() - 1
        });
        Deadline { clock: self.clone(), slot }
    }

    /// Deadlines that exist.
    #[must_use]
    pub fn len(&self) -> usize {
        let slots = self.slots.borrow();
        slots.at_ms.len() - slots.free.len()
    }

    /// True if no deadline exists, so that ticks may stop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Deadline {
    /// Fires once `after` has passed from now. Takes the place of what was armed before.
    pub fn arm(&self, after: Duration) {
        let ms = u64::try_from(after.as_millis()).unwrap_or(NEVER);
        // One tick more, since the clock's "now" may be a tick old.
        let at =
            self.clock.now_ms().saturating_add(ms).saturating_add(TICK.as_millis() as u64).min(NEVER - 1);
        self.set(at);
    }

    /// Does not fire.
    pub fn disarm(&self) {
        self.set(NEVER);
    }

    /// True from [`Deadline::arm`] to [`Deadline::disarm`].
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.at() != NEVER
    }

    /// True once the time has come, until armed again.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.at() <= self.clock.now_ms()
    }

    /// Ready once the time has come; else the task is woken when it comes.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Expired> {
        if self.is_expired() {
            return Poll::Ready(Expired);
        }
        if let Some(waker) = self.clock.slots.borrow_mut().waker.get_mut(self.slot) {
            match waker {
                Some(w) if w.will_wake(cx.waker()) => {}
                other => *other = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// The work's result, or [`Expired`] if the armed time comes first. Work that is ready always wins.
    pub async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Expired> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match Pin::as_mut(&mut work).poll(cx) {
            Poll::Ready(out) => Poll::Ready(Ok(out)),
            Poll::Pending => self.poll_expired(cx).map(Err),
        })
        .await
    }

    fn at(&self) -> u64 {
        self.clock.slots.borrow().at_ms.get(self.slot).copied().unwrap_or(NEVER)
    }

    fn set(&self, at: u64) {
        if let Some(slot) = self.clock.slots.borrow_mut().at_ms.get_mut(self.slot) {
            *slot = at;
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.set(NEVER);
        let slots = &mut *self.clock.slots.borrow_mut();
        if let Some(waker) = slots.waker.get_mut(self.slot) {
            *waker = None;
        }
        slots.free.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };
    use std::task::Wake;

    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn fires_after_its_time_and_wakes_once() {
        let start = Instant::now();
        let clock = Clock::new(start);
        let deadline = clock.deadline();
        let woken = Arc::new(Count(AtomicU32::new(0)));
        let waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        let at = |ms| clock.tick(start + Duration::from_millis(ms));
        let count = || woken.0.load(Ordering::Relaxed);

        deadline.arm(Duration::from_millis(100));
        assert!(deadline.poll_expired(&mut cx).is_pending());
        at(99);
        assert_eq!((count(), deadline.is_expired()), (0, false), "never early");
        at(110);
        assert_eq!((count(), deadline.is_expired()), (1, true));
        at(120);
        assert_eq!(count(), 1, "woken once");
        deadline.arm(Duration::from_millis(50));
        assert!(!deadline.is_expired(), "armed again");
        deadline.disarm();
        at(10_000);
        assert_eq!(count(), 1, "disarmed");
    }

    #[test]
    fn slots_are_used_again() {
        let clock = Clock::new(Instant::now());
        let (a, b) = (clock.deadline(), clock.deadline());
        a.arm(Duration::ZERO);
        drop(a);
        let c = clock.deadline();
        assert!(!c.is_expired(), "a new deadline is not armed");
        assert_eq!(clock.len(), 2);
        drop((b, c));
        assert!(clock.is_empty());
        assert_eq!(clock.slots.borrow().at_ms.len(), 2);
    }
}
