//! What a supervisor does when something happens, pure: events and the time go in, effects come out.
//!
//! At most one child serves new connections; one that takes over does so only while the other waits, and the other goes on
//! if that fails. A child that dies is replaced at once; one that dies again and again after a change is replaced by one
//! that runs what was before. Knows neither processes nor descriptors nor what children do.

mod child;

use std::{collections::BTreeMap, time::Duration};

use crate::message::{Begin, Facts, From, TAKEOVER, Terms, ToChild, ToParent};
pub use child::{Child, Phase};

/// Time since some fixed moment, handed in by the caller; never goes back.
pub type Moment = Duration;

/// Counts children, from 1.
pub type ChildId = u32;

/// A process that dies so soon after it began, or after its revision changed, has not proved that it can live.
pub const QUICK: Duration = Duration::from_secs(10);
/// A change is blamed for deaths that begin so soon after it.
pub const BLAME: Duration = Duration::from_secs(60);
/// For the next process to serve.
pub const UPGRADE_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait before the next try when children keep dying before they serve.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// First wait when children keep dying; doubled each time if they do before they serve.
const BACKOFF: Duration = Duration::from_millis(100);
/// Quick deaths in a row after which a change is taken back.
const LOOP: u32 = 2;
/// Until a child has said how it wants to be treated.
const TERMS: Terms = Terms { watchdog_ms: 60_000, draining_max: 4 };

/// The program of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binary {
    /// What runs as supervisor, whatever has become of its file.
    Own,
    /// What is in the file that the supervisor was started from.
    Installed,
    /// What is in that file.
    File(String),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// In words, after "it".
    pub text: String,
    /// Its exit code; `None` if a signal ended it, or it never began.
    pub code: Option<u8>,
}

/// What a supervisor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A child said something.
    Said(ChildId, ToParent),
    /// A child is gone, or could not be started.
    Ended(ChildId, End),
    /// SIGTERM or SIGINT: end.
    Stop(Signal),
    /// SIGHUP: for the child.
    Reload,
    /// SIGUSR2.
    Upgrade,
    /// The moment of [`Supervisor::wake_at`] has come.
    Tick,
}

/// Signals that children get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Hangup,
    /// SIGKILL.
    Kill,
}

/// What a service manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Serving, and done with what was under way.
    Ready,
    /// Taking a change in.
    Reloading,
    /// Ending.
    Stopping,
    /// Still alive.
    Watchdog,
}

/// What a supervisor wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a process.
    Start(ChildId, Binary),
    /// Say something to a child. The state that is kept goes along with [`ToChild::Begin`].
    Tell(ChildId, ToChild),
    /// Send a signal.
    Signal(ChildId, Signal),
    /// From now on what this child opens and closes counts, and no other's.
    Owner(ChildId),
    /// What this child opened and closed is undone.
    Forget(ChildId),
    /// Tell the service manager.
    Notify(Word),
    /// Go on as the program that this child runs.
    Become(ChildId),
    /// Write to the log what no child can.
    Complain(String),
    /// End with that code.
    Exit(u8),
}

/// The state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supervisor {
    pub(crate) children: BTreeMap<ChildId, Child>,
    pub(crate) last_id: ChildId,
    /// Who serves, or is about to.
    pub(crate) current: Option<ChildId>,
    pub(crate) upgrade: Option<Upgrade>,
    pub(crate) restart: Option<Restart>,
    /// Deaths in a row that came too soon.
    pub(crate) quick: u32,
    /// What serves, or last did.
    pub(crate) revision: String,
    /// When a change was last made to it, until it has been taken back.
    pub(crate) changed_at: Option<Moment>,
    pub(crate) has_served: bool,
    pub(crate) stopping: bool,
    pub(crate) exit: u8,
    pub(crate) facts: Facts,
}

/// An upgrade under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    pub(crate) successor: ChildId,
    /// Who waits for the answer.
    pub(crate) asker: Option<ChildId>,
    pub(crate) until: Moment,
}

/// A child to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    pub(crate) at: Moment,
    pub(crate) begin: Begin,
}

impl Supervisor {
    /// A supervisor with its first child under way.
    #[must_use]
    pub fn start(process: u32, now: Moment) -> (Supervisor, Vec<Effect>) {
        let facts = Facts { supervisor: process, ..Facts::default() };
        let mut supervisor = Supervisor { facts, ..Supervisor::default() };
        let mut effects = Vec::new();
        let begin = Begin { from: From::Document, because: String::new() };
        supervisor.begin_child(now, begin, &mut effects);
        (supervisor, effects)
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        let silences = self.children.values().map(Child::hung_at);
        silences
            .chain(self.restart.iter().map(|r| r.at))
            .chain(self.upgrade.iter().filter(|u| u.until > Moment::ZERO).map(|u| u.until))
            .min()
    }

    /// Who serves, or is about to.
    #[must_use]
    pub fn current(&self) -> Option<ChildId> {
        self.current
    }

    /// A child that has not ended.
    #[must_use]
    pub fn child(&self, id: ChildId) -> Option<&Child> {
        self.children.get(&id)
    }

    /// All of them.
    #[must_use]
    pub fn children(&self) -> Vec<ChildId> {
        self.children.keys().copied().collect()
    }

    /// Notes which process a child is.
    pub fn started(&mut self, id: ChildId, process: u32) {
        if let Some(child) = self.children.get_mut(&id) {
            child.process = process;
        }
    }

    /// What happens next.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        let before = self.facts.clone();
        match event {
            Event::Said(id, message) => self.said(now, id, message, &mut effects),
            Event::Ended(id, end) => self.ended(now, id, end, &mut effects),
            Event::Stop(signal) => self.stop(signal, &mut effects),
            Event::Reload => effects.extend(self.current.map(|id| Effect::Signal(id, Signal::Hangup))),
            Event::Upgrade => self.begin_upgrade(now, None, Binary::Installed, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.facts.draining = u32::try_from(self.left().count()).unwrap_or(u32::MAX);
        if self.facts != before {
            self.tell_facts(&mut effects);
        }
        effects
    }

    fn said(&mut self, now: Moment, id: ChildId, message: ToParent, effects: &mut Vec<Effect>) {
        let current = self.current == Some(id);
        let Some(child) = self.children.get_mut(&id) else { return };
        match message {
            ToParent::Hello { process, .. } if process != child.process => {
                // Signals would not reach it, and its end would not be told.
                child.killed_for =
                    Some("it did not become the gateway: a script has to `exec` it".to_owned());
                effects.push(Effect::Signal(id, Signal::Kill));
            }
            ToParent::Hello { version, takeover, .. } => {
                (child.version, child.takeover) = (version, takeover);
                self.greeted(id, effects);
            }
            ToParent::Alive(terms) => {
                (child.heard, child.terms) = (now, terms);
                if current {
                    effects.push(Effect::Notify(Word::Watchdog));
                }
            }
            ToParent::Serving { revision } => self.serving(now, id, revision, effects),
            ToParent::Paused => self.paused(id, effects),
            ToParent::Reloading if current && child.phase == Phase::Serving => {
                effects.push(Effect::Notify(Word::Reloading));
            }
            ToParent::Upgrade { binary } => {
                let binary = if binary.is_empty() { Binary::Installed } else { Binary::File(binary) };
                self.begin_upgrade(now, Some(id), binary, effects);
            }
            ToParent::Stopping => child.said_stopping = true,
            // Descriptors are for who holds them.
            ToParent::Keep { .. } | ToParent::LetGo { .. } | ToParent::Reloading => {}
        }
    }

    fn greeted(&mut self, id: ChildId, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(&id).filter(|c| c.phase == Phase::Starting) else { return };
        child.phase = Phase::Greeted;
        let takes_over = self.upgrade.as_ref().is_some_and(|u| u.successor == id);
        match self.current.filter(|_| takes_over) {
            Some(old) => self.pause(old, effects),
            None => self.begin(id, effects),
        }
    }

    /// Lets a child that waits begin.
    fn begin(&mut self, id: ChildId, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.phase = Phase::Beginning;
        effects.push(Effect::Tell(id, ToChild::Facts(self.facts.clone())));
        effects.push(Effect::Tell(id, ToChild::Begin(child.begin.clone())));
    }

    fn pause(&mut self, id: ChildId, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        child.phase = Phase::Pausing;
        effects.push(Effect::Tell(id, ToChild::Pause));
    }

    fn paused(&mut self, id: ChildId, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(&id).filter(|c| c.phase == Phase::Pausing) else { return };
        child.phase = Phase::Paused;
        match self.upgrade.as_ref().map(|u| u.successor) {
            Some(successor) => self.begin(successor, effects),
            None => self.resume(id, effects),
        }
    }

    fn resume(&mut self, id: ChildId, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        // One that is still on its way to a pause is told when it has arrived.
        if child.phase == Phase::Paused {
            child.phase = Phase::Serving;
            effects.push(Effect::Tell(id, ToChild::Resume));
        }
    }

    fn serving(&mut self, now: Moment, id: ChildId, revision: String, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        match child.phase {
            Phase::Beginning => {
                (child.phase, child.since) = (Phase::Serving, now);
                self.revision = revision;
                if !self.has_served {
                    self.changed_at = Some(now);
                }
                self.has_served = true;
                effects.push(Effect::Owner(id));
                match self.upgrade.take_if(|u| u.successor == id) {
                    Some(upgrade) => self.taken_over(id, &upgrade, effects),
                    None => self.current = Some(id),
                }
                effects.push(Effect::Notify(Word::Ready));
            }
            Phase::Serving | Phase::Pausing => {
                if self.revision != revision {
                    (self.revision, child.since) = (revision, now);
                    (self.changed_at, self.quick) = (Some(now), 0);
                    self.facts.crash_loop.clear();
                }
                effects.push(Effect::Notify(Word::Ready));
            }
            Phase::Starting | Phase::Greeted | Phase::Paused | Phase::Left => {}
        }
    }

    /// The successor serves: the one before may go.
    fn taken_over(&mut self, id: ChildId, upgrade: &Upgrade, effects: &mut Vec<Effect>) {
        self.facts.upgrades += 1;
        self.facts.last_failed_upgrade.clear();
        let version = self.children.get(&id).map(|c| c.version.clone()).unwrap_or_default();
        let old = self.current.replace(id);
        if let Some(child) = old.and_then(|old| self.children.get_mut(&old)) {
            child.phase = Phase::Left;
        }
        if let Some(asker) = upgrade.asker.filter(|asker| self.children.contains_key(asker)) {
            effects.push(Effect::Tell(asker, ToChild::Upgraded { ok: true, text: version }));
        }
        effects.extend(old.map(|old| Effect::Tell(old, ToChild::Leave)));
        self.thin_out(effects);
        // One that does not know what this one would write down serves, and this one goes on as it is.
        if !self.stopping && self.child(id).is_some_and(|c| c.takeover == TAKEOVER) {
            effects.push(Effect::Become(id));
        }
    }

    /// Tells the oldest that drain to finish, where there are more than may be.
    fn thin_out(&mut self, effects: &mut Vec<Effect>) {
        let terms = self.current.and_then(|id| self.children.get(&id)).map_or(TERMS, |c| c.terms);
        let most = usize::try_from(terms.draining_max).unwrap_or(usize::MAX);
        let over = self.left().count().saturating_sub(most);
        let oldest: Vec<ChildId> = self.left().take(over).collect();
        for id in oldest {
            let Some(child) = self.children.get_mut(&id).filter(|c| !c.told_to_finish) else { continue };
            child.told_to_finish = true;
            effects.push(Effect::Tell(id, ToChild::Finish));
        }
    }

    fn left(&self) -> impl Iterator<Item = ChildId> {
        self.children.iter().filter(|(_, c)| c.phase == Phase::Left).map(|(id, _)| *id)
    }

    fn begin_upgrade(
        &mut self,
        now: Moment,
        asker: Option<ChildId>,
        binary: Binary,
        effects: &mut Vec<Effect>,
    ) {
        let serves = |id: &ChildId| self.child(*id).is_some_and(|c| c.phase == Phase::Serving);
        let why_not = if self.stopping {
            Some("the gateway is being stopped")
        } else if self.upgrade.is_some() {
            Some("an upgrade is under way")
        } else if !self.current.as_ref().is_some_and(serves) {
            Some("the gateway is not serving yet")
        } else {
            None
        };
        if let Some(text) = why_not {
            return match asker {
                Some(id) => {
                    effects.push(Effect::Tell(id, ToChild::Upgraded { ok: false, text: text.to_owned() }));
                }
                None => effects.push(Effect::Complain(format!("no upgrade: {text}"))),
            };
        }
        let begin = Begin { from: From::Last, because: "upgrade".to_owned() };
        let successor = self.new_child(now, begin);
        self.upgrade = Some(Upgrade { successor, asker, until: now + UPGRADE_PATIENCE });
        effects.push(Effect::Start(successor, binary));
    }

    fn new_child(&mut self, now: Moment, begin: Begin) -> ChildId {
        self.last_id += 1;
        self.children.insert(self.last_id, Child::new(begin, TERMS, now));
        self.last_id
    }

    fn begin_child(&mut self, now: Moment, begin: Begin, effects: &mut Vec<Effect>) {
        let id = self.new_child(now, begin);
        self.current = Some(id);
        effects.push(Effect::Start(id, Binary::Own));
    }

    fn ended(&mut self, now: Moment, id: ChildId, end: End, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.remove(&id) else { return };
        let why = match &child.killed_for {
            Some(reason) => format!("{}: {reason}", end.text),
            None => end.text,
        };
        effects.push(Effect::Forget(id));
        if let Some(upgrade) = self.upgrade.take_if(|u| u.successor == id) {
            self.upgrade_failed(upgrade.asker, &why, effects);
        } else if self.current == Some(id) {
            self.current = None;
            self.exit = end.code.unwrap_or(self.exit);
            let failed_to_start = !self.has_served;
            if failed_to_start && !self.stopping {
                self.exit = end.code.unwrap_or(70);
                effects.push(Effect::Exit(self.exit));
            } else if !self.stopping {
                self.crashed(now, &child, &why, effects);
            }
        }
        if self.stopping && self.children.is_empty() {
            effects.push(Effect::Exit(self.exit));
        }
    }

    fn upgrade_failed(&mut self, asker: Option<ChildId>, why: &str, effects: &mut Vec<Effect>) {
        self.facts.last_failed_upgrade = format!("the new process {why}");
        if let Some(asker) = asker.filter(|id| self.children.contains_key(id)) {
            let text = self.facts.last_failed_upgrade.clone();
            effects.push(Effect::Tell(asker, ToChild::Upgraded { ok: false, text }));
        }
        match self.current {
            Some(current) => self.resume(current, effects),
            // The old one died meanwhile, and the new one was to be its successor.
            None if self.restart.is_none() && !self.stopping => {
                self.restart = Some(Restart {
                    at: Moment::ZERO,
                    begin: Begin { from: From::Last, because: self.facts.last_failed_upgrade.clone() },
                });
            }
            None => {}
        }
    }

    /// Who served is dead: another one takes its place.
    fn crashed(&mut self, now: Moment, child: &Child, why: &str, effects: &mut Vec<Effect>) {
        let asked_by_others = child.said_stopping;
        if !asked_by_others {
            self.facts.crashes += 1;
            self.facts.last_crash = format!("process {} {why}", child.process);
        }
        let quick = now.saturating_sub(child.since) < QUICK || !child.has_served();
        self.quick = if quick { self.quick + 1 } else { 1 };
        let blamed = self.changed_at.is_some_and(|at| now.saturating_sub(at) < BLAME);
        let from = if self.quick >= LOOP && blamed {
            // Once for each change: if going back does not help, it was not to blame.
            self.changed_at = None;
            self.facts.crash_loop.clone_from(&self.revision);
            From::Previous
        } else {
            From::Last
        };
        let begin = Begin { from, because: format!("the process before {why}") };
        if let Some(upgrade) = &self.upgrade {
            return self.inherit_the_lot(upgrade.successor, begin, effects);
        }
        let wait = match self.quick.checked_sub(LOOP + 1) {
            None => Duration::ZERO,
            // It did serve: the next one will, and clients wait.
            Some(_) if child.has_served() => BACKOFF,
            Some(more) => (BACKOFF * 2_u32.saturating_pow(more.min(16))).min(BACKOFF_MAX),
        };
        if wait.is_zero() {
            self.begin_child(now, begin, effects);
        } else {
            self.restart = Some(Restart { at: now + wait, begin });
        }
    }

    /// Who was to take over begins without a predecessor.
    fn inherit_the_lot(&mut self, id: ChildId, begin: Begin, effects: &mut Vec<Effect>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        if matches!(child.phase, Phase::Starting | Phase::Greeted) {
            child.begin = begin;
        }
        if child.phase == Phase::Greeted {
            self.begin(id, effects);
        }
    }

    fn stop(&mut self, signal: Signal, effects: &mut Vec<Effect>) {
        if !self.stopping {
            effects.push(Effect::Notify(Word::Stopping));
        }
        (self.stopping, self.restart) = (true, None);
        let successor = self.upgrade.as_ref().map(|u| u.successor);
        for (id, child) in &mut self.children {
            if successor == Some(*id) {
                child.killed_for = Some("the gateway is being stopped".to_owned());
                effects.push(Effect::Signal(*id, Signal::Kill));
            } else {
                effects.push(Effect::Signal(*id, signal));
            }
        }
        if self.children.is_empty() {
            effects.push(Effect::Exit(self.exit));
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for (id, child) in &mut self.children {
            if child.hung_at() <= now {
                child.killed_for = Some("it had said nothing for too long".to_owned());
                // Once is enough; its end is told.
                child.heard = Moment::MAX - Duration::from_millis(u64::from(child.terms.watchdog_ms));
                effects.push(Effect::Signal(*id, Signal::Kill));
            }
        }
        if let Some(upgrade) = self.upgrade.as_mut().filter(|u| u.until <= now && !u.until.is_zero()) {
            upgrade.until = Moment::ZERO;
            if let Some(child) = self.children.get_mut(&upgrade.successor) {
                child.killed_for = Some("it was not ready in time".to_owned());
                effects.push(Effect::Signal(upgrade.successor, Signal::Kill));
            }
        }
        if let Some(restart) = self.restart.take_if(|r| r.at <= now) {
            self.begin_child(now, restart.begin, effects);
        }
    }

    fn tell_facts(&self, effects: &mut Vec<Effect>) {
        let knows = |id: &ChildId| {
            self.children.get(id).is_some_and(|c| !matches!(c.phase, Phase::Starting | Phase::Greeted))
        };
        if let Some(id) = self.current.filter(knows) {
            effects.push(Effect::Tell(id, ToChild::Facts(self.facts.clone())));
        }
    }
}

#[cfg(test)]
mod tests;
