//! The thread `change`: carries out what the engine wants, one effect after the other, and may block.

mod pause;
mod say;
mod steps;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant, SystemTime},
};

use evergate_conf::{Digest, Node, Report};
use tokio::sync::oneshot;

use crate::{
    disk::Disk,
    engine::{Asker, Effect, Engine, Event, Head, Moment},
    generation::Generations,
    history::{Found, History, Memory, OpenError},
    inputs::Inputs,
    options::{Begin, Options, StartError},
    plan::Plan,
    revision::{Origin, RevisionId},
    source::{Draft, Intent, Notice},
    status::{Refusal, StartedFrom, Watching},
    target::{Live, Settings, Target},
    verdict::{Stage, Verdict},
    view::Shared,
    watch::Watcher,
};

/// How much the thread stands back behind those that serve. On a core that they fill it still has a tenth of the time:
/// a change must get through when the machine is overloaded, then above all.
const NICE: i32 = 10;

/// The asker of the very first draft.
const STARTER: Asker = 0;

/// What comes to the thread.
pub(crate) enum Message {
    Disturbed,
    Draft(Draft, oneshot::Sender<Verdict>),
    Freed(RevisionId, Duration),
    /// Make no changes, and leave the data directory to another process, until told otherwise.
    Pause(oneshot::Sender<()>),
    Resume,
    Stop(oneshot::Sender<()>),
}

type Started = oneshot::Sender<Result<Arc<Shared>, StartError>>;

pub(crate) struct Change<T: Target> {
    engine: Engine,
    target: T,
    disk: Disk,
    history: History,
    watcher: Watcher,
    settings: Settings,
    live: Option<Running<T::Config>>,
    candidate: Option<Built<T>>,
    transaction: Transaction,
    shared: Arc<Shared>,
    inbox: Receiver<Message>,
    disturbed: Arc<AtomicBool>,
    /// Since the files were loaded, what they say was read before anybody waited for it.
    has_read_ahead: bool,
    askers: HashMap<Asker, oneshot::Sender<Verdict>>,
    next_asker: Asker,
    started: Option<Started>,
    failed: Option<(Started, StartError)>,
    stop: Option<oneshot::Sender<()>>,
    pause: Option<oneshot::Sender<()>>,
    begin: Begin,
    data_dir: Option<PathBuf>,
    epoch: Instant,
    now: Moment,
}

/// What runs.
struct Running<C> {
    id: RevisionId,
    digest: Digest,
    document: Node,
    config: Arc<C>,
    inputs: Inputs,
}

/// A candidate as far as it came.
struct Built<T: Target> {
    document: Node,
    inputs: Inputs,
    config: Arc<T::Config>,
    plan: Arc<Plan>,
    built: Option<T::Built>,
}

/// What is noted of the transaction under way.
struct Transaction {
    number: u64,
    origin: Origin,
    span: tracing::Span,
    steps: Vec<(Stage, Duration)>,
    /// What it changes, in a line.
    summary: String,
    /// The set of watched files may differ afterwards.
    read: bool,
    fell_back: bool,
}

/// Runs an engine until nobody holds it or it is told to stop.
pub(crate) fn run<T: Target>(
    target: T,
    options: Options,
    inbox: Receiver<Message>,
    door: &Weak<Sender<Message>>,
    started: Started,
) {
    let mut change = match Change::new(target, options, inbox, door) {
        Ok(change) => change,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    change.started = Some(started);
    change.work();
    // Who waits for the end finds the data directory free, and may start anew.
    let (failed, stopped) = (change.failed.take(), change.stop.take());
    drop(change);
    if let Some((started, error)) = failed {
        let _ = started.send(Err(error));
    }
    if let Some(stopped) = stopped {
        let _ = stopped.send(());
    }
}

impl<T: Target> Change<T> {
    fn new(
        target: T,
        options: Options,
        inbox: Receiver<Message>,
        door: &Weak<Sender<Message>>,
    ) -> Result<Change<T>, StartError> {
        let (history, found) = match &options.data_dir {
            None => (History::Memory(Memory::default()), Found::default()),
            Some(dir) => History::open(dir, &options.redactor).map_err(|error| match error {
                OpenError::Locked => StartError::Locked(dir.clone()),
                OpenError::Io(error) => StartError::DataDir(dir.clone(), error),
            })?,
        };
        let disturbed = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared::new(generations(door), history.archive(), options.redactor));
        let change = Change {
            engine: Engine::new(found.newest, found.last_seq, options.strict),
            target,
            disk: Disk::new(options.loader, options.roots, options.built_in, &options.folder),
            history,
            watcher: watcher(door, &disturbed),
            settings: Settings { watch: false, ..Settings::default() },
            live: None,
            candidate: None,
            transaction: Transaction::none(),
            shared,
            inbox,
            disturbed,
            has_read_ahead: false,
            askers: HashMap::new(),
            next_asker: STARTER,
            started: None,
            failed: None,
            stop: None,
            pause: None,
            begin: options.begin,
            data_dir: options.data_dir,
            epoch: Instant::now(),
            now: Moment::ZERO,
        };
        for (file, reason) in found.skipped {
            change.notice(Notice::HistorySkipped { file, reason });
        }
        Ok(change)
    }

    fn work(&mut self) {
        let intent = match self.begin {
            Begin::Files => Intent::Reload { insist: false },
            Begin::Last => Intent::Recover { previous: false },
            Begin::Previous => Intent::Recover { previous: true },
        };
        let effects = self.step(Event::Drafted(STARTER, Draft::new(Origin::Start, intent)));
        self.carry_out_all(effects);
        // Until now nobody was served, and all waited for this.
        if let Err(error) = evergate_kit::sched::stand_back(NICE) {
            tracing::debug!(%error, "changes are made by a thread that does not stand back");
        }
        self.recovered();
        while self.live.is_some() && self.stop.is_none() {
            let effects = match self.receive() {
                Ok(Some(message)) => self.take(message),
                Ok(None) => self.step(Event::Tick),
                Err(()) => break,
            };
            self.carry_out_all(effects);
            if let Some(paused) = self.pause.take() {
                self.paused(paused);
            }
        }
    }

    /// After a start without a look at the files they may say something else by now.
    fn recovered(&mut self) {
        if self.begin != Begin::Files && self.live.is_some() && self.settings.watch {
            let effects = self.step(Event::Disturbed);
            self.carry_out_all(effects);
        }
    }

    /// The next message; `None` when it is time for a look at the clock.
    fn receive(&mut self) -> Result<Option<Message>, ()> {
        let wake_at = self.engine.wake_at().map(|at| self.epoch + at);
        let due = wake_at.into_iter().chain(self.watcher.poll_at()).min();
        let Some(due) = due else { return self.inbox.recv().map(Some).map_err(|_| ()) };
        match self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => {
                self.watcher.poll(Instant::now());
                Ok(None)
            }
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }

    fn take(&mut self, message: Message) -> Vec<Effect> {
        match message {
            Message::Disturbed => {
                self.disturbed.store(false, Ordering::Release);
                let effects = self.step(Event::Disturbed);
                self.read_ahead();
                effects
            }
            Message::Draft(draft, reply) => {
                self.next_asker += 1;
                self.askers.insert(self.next_asker, reply);
                self.step(Event::Drafted(self.next_asker, draft))
            }
            Message::Freed(revision, age) => {
                self.notice(Notice::GenerationFreed { revision, age });
                Vec::new()
            }
            Message::Stop(stopped) => {
                self.stop = Some(stopped);
                Vec::new()
            }
            // Between transactions.
            Message::Pause(paused) => {
                self.pause = Some(paused);
                Vec::new()
            }
            Message::Resume => Vec::new(),
        }
    }

    /// While it waits for the files to be quiet, what they say already is read: most that are replaced are whole. Once for each
    /// load, for they may be replaced again and again.
    fn read_ahead(&mut self) {
        let waits = self.engine.wake_at().is_some_and(|at| at > self.now);
        if waits && !std::mem::replace(&mut self.has_read_ahead, true) {
            self.disk.read_ahead();
        }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.now = self.now.max(self.epoch.elapsed());
        let effects = self.engine.step(self.now, event);
        let pending = self.engine.pending();
        if self.shared.view.load().pending != pending {
            self.shared.see(|view| view.pending = pending);
        }
        effects
    }

    /// Carries out effects, and those that follow from them, until there are none.
    fn carry_out_all(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Some(event) = self.carry_out(effect) else { continue };
            // What came meanwhile counts before the next step is taken.
            while let Ok(message) = self.inbox.try_recv() {
                effects.extend(self.take(message));
            }
            effects.extend(self.step(event));
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Begin(head) => self.begin(&head),
            Effect::Load(load) => return Some(Event::Loaded(self.timed(Stage::Load, |c| c.load(load)))),
            Effect::Check(check) => return Some(Event::Checked(self.check(check))),
            Effect::Build(id) => return Some(Event::Built(self.timed(Stage::Build, |c| c.build(id)))),
            Effect::Publish { revision, record } => {
                self.publish(revision, record);
                return Some(Event::Published);
            }
            Effect::FallBack(stage, report) => self.fall_back(stage, report),
            Effect::Amend(revision) => {
                if let Some(live) = &mut self.live {
                    live.document = revision.document.clone();
                }
                self.shared.see(|view| view.running = revision);
            }
            Effect::End(head, askers, verdict) => self.end(&head, askers, &verdict),
            Effect::TurnAway(asker, verdict) => self.answer(asker, verdict),
        }
        None
    }

    fn begin(&mut self, head: &Head) {
        self.transaction = Transaction::new(head);
        let (transaction, origin, author) = (head.transaction, head.origin, head.author.clone());
        self.notice(Notice::Received { transaction, origin, author });
    }

    /// Does one step of the transaction in a span of its own, and notes how long it took.
    fn timed<R>(&mut self, stage: Stage, step: impl FnOnce(&mut Self) -> R) -> R {
        let span = say::step_span(&self.transaction.span, self.transaction.number, stage);
        let entered = span.enter();
        let begin = Instant::now();
        let result = step(self);
        let took = begin.elapsed();
        drop(entered);
        self.transaction.steps.push((stage, took));
        self.shared.counters.step(stage, took);
        self.notice(Notice::Step { transaction: self.transaction.number, stage, took });
        result
    }

    fn fall_back(&mut self, stage: Stage, report: Arc<Report>) {
        self.transaction.fell_back = true;
        self.candidate = None;
        say::fell_back(stage, &report);
        let refusal =
            Refusal { time: SystemTime::now(), origin: self.transaction.origin, author: None, stage, report };
        self.shared.see(|view| {
            view.last_refused = Some(refusal);
            view.started_from = StartedFrom::LastGood;
        });
    }

    fn end(&mut self, head: &Head, askers: Vec<Asker>, verdict: &Verdict) {
        let took = self.epoch.elapsed().saturating_sub(head.since);
        self.candidate = None;
        self.disk.forget();
        self.shared.counters.verdict(verdict, head.dry_run, took, SystemTime::now());
        match verdict {
            _ if head.dry_run => {}
            Verdict::Refused { stage, report, .. } => {
                let refusal = Refusal {
                    time: SystemTime::now(),
                    origin: head.origin,
                    author: head.author.clone(),
                    stage: *stage,
                    report: Arc::clone(report),
                };
                self.shared.see(|view| view.last_refused = Some(refusal));
            }
            Verdict::Applied { .. } | Verdict::Unchanged { held: false, .. }
                if !self.transaction.fell_back =>
            {
                self.shared.see(|view| view.last_refused = None);
            }
            _ => {}
        }
        say::ended(head, verdict, (&self.transaction.steps, &self.transaction.summary), took);
        if self.transaction.read {
            self.watch();
        }
        let transaction = head.transaction;
        let origin = head.origin;
        self.notice(Notice::Ended { transaction, origin, verdict: verdict.clone(), took });
        self.transaction = Transaction::none();
        for asker in askers {
            self.answer(asker, verdict.clone());
        }
    }

    fn answer(&mut self, asker: Asker, verdict: Verdict) {
        if asker == STARTER {
            let Some(started) = self.started.take() else { return };
            if let Verdict::Refused { report, .. } = verdict {
                self.failed = Some((started, StartError::Refused(report)));
            } else {
                let _ = started.send(Ok(Arc::clone(&self.shared)));
            }
        } else if let Some(reply) = self.askers.remove(&asker) {
            // Who asked may have gone.
            let _ = reply.send(verdict);
        }
    }

    /// Watches what counts now.
    fn watch(&mut self) {
        if self.settings.watch {
            let (inputs, read_at) = self.disk.watched(self.live.as_ref().map(|l| &l.inputs));
            if let Err(reason) = self.watcher.update(&inputs, read_at) {
                let reason = format!("{reason}; files are looked at every second instead");
                self.notice(Notice::SourceDown { origin: Origin::File, reason });
            }
        } else {
            self.watcher.off();
        }
        let watching = self.watcher.state();
        self.shared.counters.set_watcher_running(watching == Watching::Events);
        self.shared.see(|view| view.watching = watching);
    }

    fn notice(&self, notice: Notice) {
        say::noticed(&notice);
        self.shared.notice(notice);
    }
}

fn generations(door: &Weak<Sender<Message>>) -> Generations {
    let door = Weak::clone(door);
    Generations::new(move |revision, age| {
        if let Some(door) = door.upgrade() {
            let _ = door.send(Message::Freed(revision, age));
        }
    })
}

fn watcher(door: &Weak<Sender<Message>>, disturbed: &Arc<AtomicBool>) -> Watcher {
    let (door, disturbed) = (Weak::clone(door), Arc::clone(disturbed));
    Watcher::new(Arc::new(move || {
        // One that waits stands for all.
        if !disturbed.swap(true, Ordering::AcqRel)
            && let Some(door) = door.upgrade()
        {
            let _ = door.send(Message::Disturbed);
        }
    }))
}

impl<C> Running<C> {
    fn live(&self) -> Live<'_, C> {
        Live { id: self.id, document: &self.document, config: &self.config, inputs: &self.inputs }
    }
}

impl Transaction {
    fn none() -> Transaction {
        Transaction {
            number: 0,
            origin: Origin::Start,
            span: tracing::Span::none(),
            steps: Vec::new(),
            summary: String::new(),
            read: false,
            fell_back: false,
        }
    }

    fn new(head: &Head) -> Transaction {
        let span = say::transaction_span(head);
        Transaction { number: head.transaction, origin: head.origin, span, ..Transaction::none() }
    }
}
