//! Thousands of random schedules: files that change and break, edits, rollbacks, slow and failing steps,
//! restarts. What must always hold is checked after every step.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct World {
    random: Random,
    engine: Engine,
    now: Moment,
    /// What the files hold; `None` if they cannot be read.
    files: Option<Node>,
    certificate: u64,
    /// The effect under way and when it is done.
    under_way: Option<(Moment, Effect)>,
    in_transaction: bool,
    next_asker: Asker,
    /// Drafts without a verdict.
    open: BTreeMap<Asker, Draft>,
    answered: BTreeSet<Asker>,
    /// The last edit that was answered.
    last_edit: Asker,
    history: Vec<Arc<Revision>>,
    /// What should run: base, overlay.
    model: Option<(Node, Node)>,
    loaded: Option<Loaded>,
    last_disturbed: Option<Moment>,
    last_read: Option<Moment>,
    last_seq_published: u64,
    live: Option<RevisionId>,
    first_of_process: bool,
    transactions: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            random: Random(seed),
            engine: Engine::new(None, 0, false),
            now: Moment::ZERO,
            files: Some(map([("f".into(), int(0))])),
            certificate: 0,
            under_way: None,
            in_transaction: false,
            next_asker: 0,
            open: BTreeMap::new(),
            answered: BTreeSet::new(),
            last_edit: 0,
            history: Vec::new(),
            model: None,
            loaded: None,
            last_disturbed: None,
            last_read: None,
            last_seq_published: 0,
            live: None,
            first_of_process: true,
            transactions: 0,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let last_seq = self.history.last().map_or(0, |r| r.id.seq);
        self.engine = Engine::new(self.history.last().cloned(), last_seq, false);
        self.engine.set_debounce(20 * MS);
        self.under_way = None;
        self.in_transaction = false;
        self.first_of_process = true;
        self.open.clear();
        self.last_disturbed = None;
        self.live = None;
        self.model = None;
        self.ask(reload(Origin::Start));
    }

    fn ask(&mut self, draft: Draft) {
        self.next_asker += 1;
        self.open.insert(self.next_asker, draft.clone());
        self.step(Event::Drafted(self.next_asker, draft));
    }

    fn step(&mut self, event: Event) {
        let effects = self.engine.step(self.now, event);
        for effect in effects {
            self.take(effect);
        }
        assert_eq!(
            self.in_transaction,
            self.under_way.is_some(),
            "a transaction without work, or work without one"
        );
        assert!(!matches!(self.engine.state(), State::Idle) || self.open.is_empty());
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Begin(head) => {
                assert!(!self.in_transaction, "two at once");
                self.in_transaction = true;
                self.loaded = None;
                assert!(head.since <= self.now && head.transaction > 0);
            }
            Effect::End(_, askers, verdict) => {
                assert!(self.in_transaction);
                self.in_transaction = false;
                self.transactions += 1;
                let drafts: Vec<Draft> = askers.iter().map(|a| self.answer(*a)).collect();
                if let ([asker], [draft]) = (askers.as_slice(), drafts.as_slice())
                    && !matches!(draft.intent, Intent::Reload { .. })
                {
                    assert!(*asker > self.last_edit, "edits keep their order");
                    self.last_edit = *asker;
                }
                self.follow(&drafts, &verdict);
            }
            Effect::TurnAway(asker, _) => {
                self.answer(asker);
            }
            Effect::FallBack(..) => assert!(self.engine.live().is_none()),
            Effect::Amend(revision) => assert_eq!(Some(revision.id), self.live),
            work => {
                assert!(self.under_way.is_none(), "two at once");
                if matches!(work, Effect::Load(Load::Files { .. })) {
                    self.last_read = Some(self.now);
                }
                let takes = MS * self.random.below(30) as u32;
                self.under_way = Some((self.now + takes, work));
            }
        }
    }

    fn answer(&mut self, asker: Asker) -> Draft {
        assert!(self.answered.insert(asker), "two verdicts");
        self.open.remove(&asker).expect("nobody asked")
    }

    /// Does to the model what the verdict says was done.
    fn follow(&mut self, drafts: &[Draft], verdict: &Verdict) {
        let done = matches!(verdict, Verdict::Applied { .. } | Verdict::Unchanged { held: false, .. });
        let dry = drafts.first().is_some_and(|d| d.dry_run);
        if done && !dry {
            let old = self.model.clone().or_else(|| {
                let overlay = self.history.iter().rev().map(|r| r.layers.overlay.clone()).next();
                Some((Node::empty_map(), overlay.unwrap_or_else(Node::empty_map)))
            });
            let (base, overlay) = old.unwrap();
            self.model = Some(match (self.loaded.take(), drafts.first().map(|d| &d.intent)) {
                (Some(Loaded::Files(base, _)), _) => (base, overlay),
                (Some(Loaded::Revision(r)), _) => (r.layers.base.clone(), r.layers.overlay.clone()),
                (_, Some(Intent::Patch(Body::Node(node)))) => {
                    let overlay = overlay::edited(&base, &overlay, node);
                    (base, overlay)
                }
                (_, Some(Intent::Replace(Body::Node(node)))) => {
                    let overlay = overlay::tidy(&base, node);
                    (base, overlay)
                }
                other => panic!("done without anything loaded: {other:?}"),
            });
        }
        if let (Some((base, overlay)), Some(live)) = (&self.model, self.engine.live()) {
            assert_eq!(live.document, merge(base, overlay), "what runs is not what was applied");
        }
    }

    /// Lets the effect under way come to its end.
    fn finish(&mut self) {
        let (_, effect) = self.under_way.take().unwrap();
        let event = match effect {
            Effect::Load(load) => Event::Loaded(self.load(&load)),
            Effect::Check(check) => Event::Checked(self.check(&check)),
            Effect::Build(_) if self.random.one_in(8) => Event::Built(Err(problem("no memory"))),
            Effect::Build(_) => Event::Built(Ok(())),
            Effect::Publish { revision, record } => {
                self.publish(&revision, record);
                Event::Published
            }
            other => panic!("{other:?} is no work"),
        };
        self.step(event);
    }

    fn load(&mut self, load: &Load) -> Result<Loaded, Report> {
        let before = |seq| self.history.iter().rev().find(|r| r.id.seq < seq).cloned();
        let found = match load {
            Load::Files { .. } => self.files.clone().map(|base| {
                let digest = revision::digest(&base, &[self.pin()]);
                Loaded::Files(base, digest)
            }),
            Load::Revision(id) => self.history.iter().find(|r| r.id == *id).cloned().map(Loaded::Revision),
            Load::Before(id) => before(id.seq).map(Loaded::Revision),
            Load::Older(seq) => before(*seq).map(Loaded::Revision),
            Load::Text(..) => None,
        };
        self.loaded = found.clone();
        found.ok_or_else(|| problem("not there"))
    }

    fn pin(&self) -> Pin {
        Pin::new("/certificate".into(), Some(Digest::of(&self.certificate.to_le_bytes())))
    }

    fn check(&mut self, check: &Check) -> Result<Checked, Report> {
        if check.document.get("bad").is_some() {
            return Err(problem("bad"));
        }
        let pins: Arc<[Pin]> = match &check.pins {
            PinsFrom::Disk => Arc::new([self.pin()]),
            PinsFrom::Kept(pins) => Arc::clone(pins),
        };
        Ok(Checked {
            digest: revision::digest(&check.document, &pins),
            pins,
            plan: Arc::default(),
            warnings: Report::new(),
            time: SystemTime::UNIX_EPOCH,
        })
    }

    fn publish(&mut self, revision: &Arc<Revision>, record: bool) {
        assert_eq!(revision.document, revision.layers.document());
        assert_eq!(revision.digest, revision::digest(&revision.document, &revision.pins));
        assert_eq!(revision.id, RevisionId::new(revision.id.seq, revision.digest));
        if record {
            assert!(revision.id.seq > self.last_seq_published, "numbers rise");
            assert_eq!(revision.parent, self.live.or(self.history.last().map(|r| r.id)));
            self.history.push(Arc::clone(revision));
        } else {
            assert!(self.first_of_process, "only a start may publish what is written down already");
            assert!(self.history.iter().any(|r| r.id == revision.id && r.layers == revision.layers));
            // Files that were read may not be what was used: they were held or refused.
            self.loaded = Some(Loaded::Revision(Arc::clone(revision)));
        }
        self.first_of_process = false;
        self.live = Some(revision.id);
        self.last_seq_published = self.last_seq_published.max(revision.id.seq);
    }

    /// Something happens outside.
    fn happen(&mut self) {
        // Nobody is let in before something runs; a start that failed is tried again.
        if self.engine.live().is_none() {
            return if self.in_transaction { self.touch_files() } else { self.start() };
        }
        match self.random.below(20) {
            0..7 => self.touch_files(),
            7 => {
                self.certificate += 1;
                self.disturb();
            }
            8..15 => self.edit(),
            15 => {
                let insist = self.random.one_in(2);
                let origin = if self.random.one_in(2) { Origin::Signal } else { Origin::Api };
                self.ask(Draft::new(origin, Intent::Reload { insist }));
            }
            16 | 17 => {
                let count = self.history.len() as u64;
                let chosen = (count > 0).then(|| self.history[self.random.below(count) as usize].id);
                let to = chosen.filter(|_| !self.random.one_in(3));
                self.ask(Draft::new(Origin::Api, Intent::Rollback(to)));
            }
            _ if self.random.one_in(6) => self.start(),
            _ => self.disturb(),
        }
    }

    fn disturb(&mut self) {
        self.last_disturbed = Some(self.now);
        self.step(Event::Disturbed);
    }

    fn touch_files(&mut self) {
        let value = self.random.below(5) as i64;
        self.files = match self.random.below(8) {
            0 => None,
            1 => Some(map([("bad".into(), int(value))])),
            2 => Some(map([("f".into(), int(value)), ("k1".into(), int(100))])),
            _ => Some(map([("f".into(), int(value))])),
        };
        for _ in 0..=self.random.below(3) {
            self.disturb();
        }
    }

    fn edit(&mut self) {
        let key = format!("k{}", self.random.below(4));
        let value = match self.random.below(10) {
            0..3 => Node::made(Value::Null),
            3 => map([("in".to_owned(), int(1))]),
            n => int(n as i64),
        };
        let key = if self.random.one_in(12) { "bad".to_owned() } else { key };
        let body = Body::Node(map([(key, value)]));
        let intent = if self.random.one_in(6) { Intent::Replace(body) } else { Intent::Patch(body) };
        let live = self.engine.live().map(|l| l.id);
        let if_match = live.filter(|_| self.random.one_in(5));
        let dry_run = self.random.one_in(8);
        self.ask(Draft { if_match, dry_run, ..Draft::new(Origin::Api, intent) });
    }

    /// Time goes on until something is due.
    fn advance(&mut self) {
        let due = self.under_way.as_ref().map(|(at, _)| *at).or(self.engine.wake_at());
        let outside = self.now + MS * self.random.below(25) as u32;
        match due {
            Some(at) if at <= outside => {
                self.now = self.now.max(at);
                if self.under_way.is_some() { self.finish() } else { self.step(Event::Tick) }
            }
            _ => {
                self.now = outside;
                self.happen();
            }
        }
    }

    fn calm_down(&mut self) {
        for _ in 0..10_000 {
            let Some(at) = self.under_way.as_ref().map(|(at, _)| *at).or(self.engine.wake_at()) else {
                break;
            };
            self.now = self.now.max(at);
            if self.under_way.is_some() { self.finish() } else { self.step(Event::Tick) }
        }
        assert_eq!(self.engine.state(), State::Idle, "comes to rest");
        assert!(self.open.is_empty(), "somebody was never answered");
        assert!(self.last_read >= self.last_disturbed, "the last event was lost");
    }
}

fn run(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..120 {
        world.advance();
    }
    world.calm_down();
    // A good file that is quiet at last is what runs, whatever came before.
    world.files = Some(map([("f".into(), int(1000))]));
    world.ask(Draft::new(Origin::Api, Intent::Replace(Body::Node(Node::empty_map()))));
    world.disturb();
    world.calm_down();
    let mut tries = 0;
    while world.engine.live().is_none_or(|l| l.document != *world.files.as_ref().unwrap()) {
        // Building fails at random.
        world.ask(Draft::new(Origin::Api, Intent::Replace(Body::Node(Node::empty_map()))));
        world.disturb();
        world.calm_down();
        tries += 1;
        assert!(tries < 50, "a good file is never used");
    }
    assert_eq!(world.engine.live().unwrap().held, None);
    world.transactions
}

#[test]
fn thousands_of_schedules() {
    let transactions: u64 = (0..4096).map(run).sum();
    assert!(transactions > 50_000, "the schedules do something: {transactions}");
}
