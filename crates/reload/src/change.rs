//! The thread `change`: carries out what the engine wants, one effect after the other, and may block.

mod say;

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use evergate_conf::{Digest, Node, Report};
use tokio::sync::{broadcast, oneshot};

use crate::{
    counters::Counters,
    disk::Disk,
    drive::{Options, StartError},
    engine::{Asker, Check, Checked, Effect, Engine, Event, Head, Load, Loaded, Moment},
    explain::Names,
    generation::Generations,
    history::{Archive, History, Memory, OpenError},
    inputs::Inputs,
    plan::{Plan, Redactor, Side},
    revision::{self, Layers, Origin, Revision, RevisionId},
    source::{Draft, Intent, Notice},
    status::{Pending, Refusal, StartedFrom, Watching},
    target::{Build, Candidate, Live, Settings, Target},
    verdict::{Stage, Verdict},
    watch::Watcher,
};

/// Notices that a listener may be late.
const NOTICES_MAX: usize = 1024;

/// How much the thread stands back behind those that serve: enough to be felt when the machine is full, and
/// little enough that a change is not late then.
const NICE: i32 = 3;

/// The asker of the very first draft.
const STARTER: Asker = 0;

/// What comes to the thread.
pub(crate) enum Message {
    Disturbed,
    Draft(Draft, oneshot::Sender<Verdict>),
    Freed(RevisionId, Duration),
    Stop(oneshot::Sender<()>),
}

/// What others see of the thread's work.
pub(crate) struct Shared {
    pub(crate) view: ArcSwap<View>,
    pub(crate) notices: broadcast::Sender<Arc<Notice>>,
    pub(crate) counters: Counters,
    pub(crate) generations: Generations,
    pub(crate) archive: Archive,
    pub(crate) redactor: Redactor,
}

/// The facts of one moment.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) running: Arc<Revision>,
    pub(crate) since: SystemTime,
    pub(crate) started_from: StartedFrom,
    pub(crate) pending: Vec<Pending>,
    pub(crate) last_refused: Option<Refusal>,
    pub(crate) watching: Watching,
    pub(crate) degraded: Option<String>,
    pub(crate) names: Names,
    pub(crate) kept: usize,
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
    askers: HashMap<Asker, oneshot::Sender<Verdict>>,
    next_asker: Asker,
    started: Option<Started>,
    stop: Option<oneshot::Sender<()>>,
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
    // Not allowed everywhere, and only politeness.
    let _ = rustix::process::setpriority_process(None, NICE);
    match Change::new(target, options, inbox, door) {
        Ok(mut change) => {
            change.started = Some(started);
            change.work();
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
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
            None => (History::Memory(Memory::default()), crate::history::Found::default()),
            Some(dir) => History::open(dir, &options.redactor).map_err(|error| match error {
                OpenError::Locked => StartError::Locked(dir.clone()),
                OpenError::Io(error) => StartError::DataDir(dir.clone(), error),
            })?,
        };
        let disturbed = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            view: ArcSwap::from_pointee(View::nothing()),
            notices: broadcast::Sender::new(NOTICES_MAX),
            counters: Counters::default(),
            generations: generations(door),
            archive: history.archive(),
            redactor: options.redactor,
        });
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
            askers: HashMap::new(),
            next_asker: STARTER,
            started: None,
            stop: None,
            epoch: Instant::now(),
            now: Moment::ZERO,
        };
        for (file, reason) in found.skipped {
            change.notice(Notice::HistorySkipped { file, reason });
        }
        Ok(change)
    }

    fn work(&mut self) {
        let first = Draft::new(Origin::Start, Intent::Reload { insist: false });
        let effects = self.step(Event::Drafted(STARTER, first));
        self.carry_out_all(effects);
        while self.live.is_some() && self.stop.is_none() {
            let effects = match self.receive() {
                Ok(Some(message)) => self.take(message),
                Ok(None) => self.step(Event::Tick),
                Err(()) => break,
            };
            self.carry_out_all(effects);
        }
        // Whoever still waits is told by the fall of its channel.
        self.watcher.off();
        if let Some(stopped) = self.stop.take() {
            self.askers.clear();
            let _ = stopped.send(());
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
                self.step(Event::Disturbed)
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
        }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.now = self.now.max(self.epoch.elapsed());
        let effects = self.engine.step(self.now, event);
        let pending = self.engine.pending();
        if self.shared.view.load().pending != pending {
            self.see(|view| view.pending = pending);
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
                self.see(|view| view.running = revision);
            }
            Effect::End(head, askers, verdict) => self.end(&head, askers, verdict),
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

    fn load(&mut self, load: Load) -> Result<Loaded, Report> {
        let archive = &self.shared.archive;
        let kept = match load {
            Load::Files { insist } => {
                self.transaction.read = true;
                let none = Inputs::new();
                let known = self.live.as_ref().map_or(&none, |l| &l.inputs);
                let before = self.engine.live().map(|r| &r.layers.base);
                let loaded = self.disk.load(before, known, insist);
                let names = self.disk.names();
                self.see(|view| view.names = names);
                return loaded.map(|(base, files)| Loaded::Files(base, files));
            }
            Load::Text(text, format) => return self.disk.parse(&text, format).map(Loaded::Text),
            Load::Revision(id) => archive.read(id),
            Load::Before(id) => archive.before(id),
            Load::Older(seq) => archive.older(seq),
        };
        kept.map(Loaded::Revision).map_err(|error| say::problem("history", error.to_string()))
    }

    fn check(&mut self, check: Check) -> Result<Checked, Report> {
        let (digest, built, warnings) = self.timed(Stage::Check, |c| c.checked(check))?;
        let (built, plan) = self.timed(Stage::Plan, move |c| c.plan(built));
        let pins = built.inputs.pins();
        let transaction = self.transaction.number;
        self.notice(Notice::Planned { transaction, plan: Arc::clone(&plan) });
        self.candidate = Some(built);
        Ok(Checked { digest, pins, plan, warnings, time: SystemTime::now() })
    }

    fn checked(&mut self, check: Check) -> Result<(Digest, Built<T>, Report), Report> {
        let none = Inputs::new();
        let known = self.live.as_ref().map_or(&none, |l| &l.inputs);
        let inputs = self.disk.inputs(&check.document, &check.pins, known, &self.shared.archive)?;
        let digest = revision::digest(&check.document, &inputs.pins());
        let mut report = Report::new();
        let config = match self.live.as_ref().filter(|l| l.digest == digest) {
            Some(live) => Some(Arc::clone(&live.config)),
            None => {
                let candidate = Candidate { document: &check.document, inputs: &inputs };
                let live = self.live.as_ref().map(Running::live);
                let target = &mut self.target;
                let config = survive(|| Ok(target.check(candidate, live, &mut report)));
                config
                    .unwrap_or_else(|panicked| {
                        report.append(panicked);
                        None
                    })
                    .map(Arc::new)
            }
        };
        self.disk.locate(&mut report);
        match config.filter(|_| !report.has_errors()) {
            Some(config) => {
                let built =
                    Built { document: check.document, inputs, config, plan: Arc::default(), built: None };
                Ok((digest, built, report))
            }
            None if report.has_errors() => Err(report),
            None => Err(say::problem("check", "refused without a reason".to_owned())),
        }
    }

    fn plan(&mut self, mut built: Built<T>) -> (Built<T>, Arc<Plan>) {
        let (nothing, no_pins) = (Node::empty_map(), Inputs::new().pins());
        let old_pins = self.live.as_ref().map_or(no_pins, |l| l.inputs.pins());
        let old = Side { document: self.live.as_ref().map_or(&nothing, |l| &l.document), pins: &old_pins };
        let new = Side { document: &built.document, pins: &built.inputs.pins() };
        let mut plan = Plan::between(old, new, &self.shared.redactor);
        if let Some(live) = &self.live {
            plan.touches = self.target.touches(&live.config, &built.config, &plan);
        }
        let plan = Arc::new(plan);
        built.plan = Arc::clone(&plan);
        (built, plan)
    }

    fn build(&mut self, id: RevisionId) -> Result<(), Report> {
        let Some(candidate) = &mut self.candidate else {
            return Err(say::problem("build", "nothing was checked".to_owned()));
        };
        let build = Build {
            id,
            config: &candidate.config,
            document: &candidate.document,
            inputs: &candidate.inputs,
            plan: &candidate.plan,
            live: self.live.as_ref().map(Running::live),
            generation: self.shared.generations.token(id),
        };
        let target = &mut self.target;
        let built = survive(|| target.build(build)).map_err(|mut report| {
            self.disk.locate(&mut report);
            report
        })?;
        candidate.built = Some(built);
        Ok(())
    }

    fn publish(&mut self, revision: Arc<Revision>, record: bool) {
        let Some(candidate) = self.candidate.take() else { return };
        let settings = self.target.settings(&candidate.config);
        if record {
            let summary = candidate.plan.summary(say::CHANGES_MAX);
            let keep = settings.history;
            let done =
                self.timed(Stage::Record, |c| c.history.record(&revision, &candidate.inputs, summary, keep));
            let degraded = done.err().map(|error| error.to_string());
            if let Some(reason) = degraded.clone() {
                self.notice(Notice::HistoryDegraded { reason });
            }
            self.see(|view| view.degraded = degraded);
        }
        let (id, restores) = (revision.id, revision.restores);
        self.timed(Stage::Publish, |c| {
            if let Some(built) = candidate.built {
                c.target.publish(built);
            }
            c.shared.generations.publish(id);
        });
        self.live = Some(Running {
            id,
            digest: revision.digest,
            document: revision.document.clone(),
            config: candidate.config,
            inputs: candidate.inputs,
        });
        let held_at_start = !record && !self.transaction.fell_back && revision.held.is_some();
        self.see(|view| {
            view.running = revision;
            view.since = SystemTime::now();
            view.kept = settings.history;
            if held_at_start {
                view.started_from = StartedFrom::Held;
            }
        });
        self.transaction.read = true;
        self.engine.set_debounce(settings.debounce);
        self.settings = settings;
        self.notice(Notice::Published { revision: id, restores });
        let oldest = self.shared.generations.over(self.settings.generations);
        if !oldest.is_empty() {
            self.target.drain(&oldest);
            self.notice(Notice::Draining { revisions: oldest });
        }
    }

    fn fall_back(&mut self, stage: Stage, report: Arc<Report>) {
        self.transaction.fell_back = true;
        self.candidate = None;
        say::fell_back(stage, &report);
        let refusal =
            Refusal { time: SystemTime::now(), origin: self.transaction.origin, author: None, stage, report };
        self.see(|view| {
            view.last_refused = Some(refusal);
            view.started_from = StartedFrom::LastGood;
        });
    }

    fn end(&mut self, head: &Head, askers: Vec<Asker>, verdict: Verdict) {
        let took = self.epoch.elapsed().saturating_sub(head.since);
        self.candidate = None;
        self.disk.forget();
        self.shared.counters.verdict(&verdict, took, SystemTime::now());
        match &verdict {
            Verdict::Refused { stage, report, .. } => {
                let refusal = Refusal {
                    time: SystemTime::now(),
                    origin: head.origin,
                    author: head.author.clone(),
                    stage: *stage,
                    report: Arc::clone(report),
                };
                self.see(|view| view.last_refused = Some(refusal));
            }
            Verdict::Applied { .. } | Verdict::Unchanged { held: false, .. }
                if !self.transaction.fell_back =>
            {
                self.see(|view| view.last_refused = None);
            }
            _ => {}
        }
        say::ended(head, &verdict, &self.transaction.steps, took);
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
            let _ = started.send(match verdict {
                Verdict::Refused { report, .. } => Err(StartError::Refused(report)),
                _ => Ok(Arc::clone(&self.shared)),
            });
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
        self.see(|view| view.watching = watching);
    }

    fn see(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.shared.view.load());
        change(&mut view);
        self.shared.view.store(Arc::new(view));
    }

    fn notice(&self, notice: Notice) {
        say::noticed(&notice);
        // Nobody may be listening.
        let _ = self.shared.notices.send(Arc::new(notice));
    }
}

/// A bug in the target's code refuses the candidate; what runs goes on.
fn survive<R>(work: impl FnOnce() -> Result<R, Report>) -> Result<R, Report> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(say::problem("internal", format!("a defect of the program, please report it: {text}")))
    })
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
            read: false,
            fell_back: false,
        }
    }

    fn new(head: &Head) -> Transaction {
        let span = say::transaction_span(head);
        Transaction { number: head.transaction, origin: head.origin, span, ..Transaction::none() }
    }
}

impl View {
    /// Before anything runs; nobody sees it.
    fn nothing() -> View {
        let (layers, digest) = (Layers::empty(), Digest([0; 32]));
        View {
            running: Arc::new(Revision {
                id: RevisionId::new(0, digest),
                digest,
                parent: None,
                origin: Origin::Start,
                author: None,
                time: SystemTime::UNIX_EPOCH,
                restores: None,
                held: None,
                files: digest,
                document: layers.document(),
                layers,
                pins: Arc::default(),
            }),
            since: SystemTime::UNIX_EPOCH,
            started_from: StartedFrom::Files,
            pending: Vec::new(),
            last_refused: None,
            watching: Watching::Off,
            degraded: None,
            names: Names::default(),
            kept: 1,
        }
    }
}
