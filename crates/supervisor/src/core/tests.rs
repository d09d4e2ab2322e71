use super::*;

const S: Duration = Duration::from_secs(1);

fn hello() -> ToParent {
    ToParent::Hello { version: "1".to_owned(), process: 0, takeover: TAKEOVER }
}

fn serving(revision: &str) -> ToParent {
    ToParent::Serving { revision: revision.to_owned() }
}

fn died() -> End {
    End { text: "was ended by signal 9".to_owned(), code: None }
}

fn exited(code: u8) -> End {
    End { text: format!("ended with code {code}"), code: Some(code) }
}

/// What matters of effects, in words.
fn words(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| {
        Some(match effect {
            Effect::Tell(id, ToChild::Begin(begin)) => format!("begin {id} {:?}", begin.from),
            Effect::Tell(id, ToChild::Upgraded { ok, .. }) => format!("upgraded {id} {ok}"),
            Effect::Tell(_, ToChild::Facts(_)) | Effect::Notify(_) | Effect::Forget(_) => return None,
            Effect::Tell(id, message) => format!("{message:?} {id}").to_lowercase(),
            Effect::Start(id, binary) => format!("start {id} {binary:?}"),
            Effect::Signal(id, signal) => format!("{signal:?} {id}").to_lowercase(),
            Effect::Owner(id) => format!("owner {id}"),
            Effect::Become(id) => format!("become {id}"),
            Effect::Complain(_) => "complain".to_owned(),
            Effect::Exit(code) => format!("exit {code}"),
        })
    };
    effects.iter().filter_map(word).collect()
}

struct Run(Supervisor, Moment);

impl Run {
    /// One whose first child serves.
    fn serving() -> Run {
        let (supervisor, effects) = Supervisor::start(7, Moment::ZERO);
        assert_eq!(words(&effects), ["start 1 Own"]);
        let mut run = Run(supervisor, Moment::ZERO);
        run.check(Event::Said(1, hello()), &["begin 1 Document"]);
        run.check(Event::Said(1, serving("1-a")), &["owner 1"]);
        run
    }

    fn check(&mut self, event: Event, expected: &[&str]) {
        let said = format!("{event:?}");
        let effects = self.0.step(self.1, event);
        assert_eq!(words(&effects), expected, "{said}");
    }

    fn at(&mut self, now: Moment) -> &mut Run {
        self.1 = now;
        self
    }
}

#[test]
fn a_first_child_that_does_not_start_ends_the_program_with_its_code() {
    let (supervisor, _) = Supervisor::start(7, Moment::ZERO);
    let mut run = Run(supervisor, Moment::ZERO);
    run.check(Event::Said(1, hello()), &["begin 1 Document"]);
    run.check(Event::Ended(1, exited(78)), &["exit 78"]);
}

#[test]
fn the_dead_are_replaced_at_once_by_what_ran_last() {
    let mut run = Run::serving();
    run.at(100 * S).check(Event::Ended(1, died()), &["start 2 Own"]);
    run.check(Event::Said(2, hello()), &["begin 2 Last"]);
    run.check(Event::Said(2, serving("1-a")), &["owner 2"]);
    assert_eq!((run.0.facts.crashes, run.0.facts.last_crash.contains("signal 9")), (1, true));
}

#[test]
fn a_change_that_ends_the_process_again_and_again_is_taken_back() {
    let mut run = Run::serving();
    run.at(100 * S).check(Event::Said(1, serving("2-b")), &[]);
    run.at(101 * S).check(Event::Ended(1, died()), &["start 2 Own"]);
    run.check(Event::Said(2, hello()), &["begin 2 Last"]);
    run.check(Event::Said(2, serving("2-b")), &["owner 2"]);
    run.at(102 * S).check(Event::Ended(2, died()), &["start 3 Own"]);
    run.check(Event::Said(3, hello()), &["begin 3 Previous"]);
    assert_eq!(run.0.facts.crash_loop, "2-b");
    run.check(Event::Said(3, serving("3-a")), &["owner 3"]);
    // If that does not help, it is not taken back further; tries become rarer.
    run.at(103 * S).check(Event::Ended(3, died()), &[]);
    assert_eq!(run.0.wake_at(), Some(103 * S + BACKOFF));
    run.at(104 * S).check(Event::Tick, &["start 4 Own"]);
    run.check(Event::Said(4, hello()), &["begin 4 Last"]);
}

#[test]
fn who_never_comes_to_serve_is_tried_again_ever_more_rarely() {
    let mut run = Run::serving();
    run.at(1000 * S).check(Event::Ended(1, died()), &["start 2 Own"]);
    run.check(Event::Ended(2, exited(78)), &["start 3 Own"]);
    let mut waits = Vec::new();
    for id in 3..11 {
        run.check(Event::Ended(id, exited(78)), &[]);
        let at = run.0.wake_at().unwrap();
        waits.push(at - run.1);
        run.at(at).check(Event::Tick, &[&format!("start {} Own", id + 1)]);
    }
    assert_eq!(waits[..3], [BACKOFF, 2 * BACKOFF, 4 * BACKOFF]);
    assert_eq!(waits.last(), Some(&BACKOFF_MAX));
    // One that serves and dies is followed soon.
    run.check(Event::Said(11, hello()), &["begin 11 Last"]);
    run.check(Event::Said(11, serving("1-a")), &["owner 11"]);
    run.check(Event::Ended(11, died()), &[]);
    assert_eq!(run.0.wake_at(), Some(run.1 + BACKOFF));
}

#[test]
fn a_revision_that_has_lived_is_not_blamed() {
    let mut run = Run::serving();
    for id in 1..=2 {
        run.at(1000 * S).check(Event::Ended(id, died()), &[&format!("start {} Own", id + 1)]);
        run.check(Event::Said(id + 1, hello()), &[&format!("begin {} Last", id + 1)]);
        run.check(Event::Said(id + 1, serving("1-a")), &[&format!("owner {}", id + 1)]);
    }
}

#[test]
fn an_upgrade_serves_before_the_old_one_leaves() {
    let mut run = Run::serving();
    run.check(Event::Said(1, ToParent::Upgrade { binary: "/b".into() }), &["start 2 File(\"/b\")"]);
    run.check(Event::Said(1, ToParent::Upgrade { binary: String::new() }), &["upgraded 1 false"]);
    run.check(Event::Said(2, hello()), &["pause 1"]);
    run.check(Event::Said(1, ToParent::Paused), &["begin 2 Last"]);
    run.check(Event::Said(2, serving("1-a")), &["owner 2", "upgraded 1 true", "leave 1", "become 2"]);
    run.check(Event::Ended(1, exited(0)), &[]);
    assert_eq!((run.0.current(), run.0.facts.upgrades, run.0.facts.draining), (Some(2), 1, 0));
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_one_as_it_was() {
    let mut run = Run::serving();
    run.check(Event::Upgrade, &["start 2 Installed"]);
    run.check(Event::Said(2, hello()), &["pause 1"]);
    run.check(Event::Said(1, ToParent::Paused), &["begin 2 Last"]);
    run.check(Event::Ended(2, exited(78)), &["resume 1"]);
    assert!(run.0.facts.last_failed_upgrade.contains("78"));
    // One that is never ready.
    run.check(Event::Upgrade, &["start 3 Installed"]);
    for id in [1, 3] {
        run.at(UPGRADE_PATIENCE - S).check(Event::Said(id, ToParent::Alive(TERMS)), &[]);
    }
    run.at(UPGRADE_PATIENCE).check(Event::Tick, &["kill 3"]);
    run.check(Event::Ended(3, died()), &[]);
    run.check(Event::Upgrade, &["start 4 Installed"]);
}

#[test]
fn one_that_fails_before_the_old_one_has_paused_is_undone_when_it_has() {
    let mut run = Run::serving();
    run.check(Event::Upgrade, &["start 2 Installed"]);
    run.check(Event::Said(2, hello()), &["pause 1"]);
    run.check(Event::Ended(2, died()), &[]);
    run.check(Event::Said(1, ToParent::Paused), &["resume 1"]);
}

#[test]
fn an_old_one_that_dies_in_an_upgrade_is_succeeded_all_the_same() {
    let mut run = Run::serving();
    run.check(Event::Upgrade, &["start 2 Installed"]);
    run.check(Event::Said(2, hello()), &["pause 1"]);
    run.at(50 * S).check(Event::Ended(1, died()), &["begin 2 Last"]);
    run.check(Event::Said(2, serving("1-a")), &["owner 2", "become 2"]);
    // Both die.
    run.check(Event::Upgrade, &["start 3 Installed"]);
    run.at(100 * S).check(Event::Ended(2, died()), &[]);
    run.check(Event::Ended(3, died()), &[]);
    run.check(Event::Tick, &["start 4 Own"]);
}

#[test]
fn a_program_of_another_form_serves_and_does_not_supervise() {
    let mut run = Run::serving();
    run.check(Event::Upgrade, &["start 2 Installed"]);
    let hello = ToParent::Hello { version: "2".to_owned(), process: 0, takeover: TAKEOVER + 1 };
    run.check(Event::Said(2, hello), &["pause 1"]);
    run.check(Event::Said(1, ToParent::Paused), &["begin 2 Last"]);
    run.check(Event::Said(2, serving("1-a")), &["owner 2", "leave 1"]);
}

#[test]
fn a_process_that_is_not_its_child_is_none() {
    let mut run = Run::serving();
    run.check(Event::Upgrade, &["start 2 Installed"]);
    let hello = ToParent::Hello { version: "1".to_owned(), process: 99, takeover: TAKEOVER };
    run.check(Event::Said(2, hello), &["kill 2"]);
    run.check(Event::Ended(2, died()), &[]);
    assert!(run.0.facts.last_failed_upgrade.contains("exec"));
}

#[test]
fn only_so_many_drain_at_once() {
    let mut run = Run::serving();
    for old in 1..=6 {
        let new = old + 1;
        run.check(Event::Upgrade, &[&format!("start {new} Installed")]);
        run.check(Event::Said(new, hello()), &[&format!("pause {old}")]);
        run.check(Event::Said(old, ToParent::Paused), &[&format!("begin {new} Last")]);
        let mut expected = vec![format!("owner {new}"), format!("leave {old}")];
        // Four may.
        expected.extend((old > 4).then(|| format!("finish {}", old - 4)));
        expected.push(format!("become {new}"));
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        run.check(Event::Said(new, serving("1-a")), &expected);
    }
}

#[test]
fn a_child_that_says_nothing_is_replaced() {
    let mut run = Run::serving();
    let terms = Terms { watchdog_ms: 5000, draining_max: 4 };
    run.at(20 * S).check(Event::Said(1, ToParent::Alive(terms)), &[]);
    assert_eq!(run.0.wake_at(), Some(25 * S));
    run.at(24 * S).check(Event::Tick, &[]);
    run.at(25 * S).check(Event::Tick, &["kill 1"]);
    run.at(26 * S).check(Event::Tick, &[]);
    run.check(Event::Ended(1, died()), &["start 2 Own"]);
    assert!(run.0.facts.last_crash.contains("said nothing"));
}

#[test]
fn stopping_stops_all_and_ends_with_the_last() {
    let mut run = Run::serving();
    run.check(Event::Upgrade, &["start 2 Installed"]);
    run.check(Event::Stop(Signal::Terminate), &["terminate 1", "kill 2"]);
    run.check(Event::Said(1, ToParent::Stopping), &[]);
    run.check(Event::Ended(2, died()), &[]);
    run.check(Event::Stop(Signal::Interrupt), &["interrupt 1"]);
    run.check(Event::Ended(1, exited(130)), &["exit 130"]);
}

#[test]
fn stopping_between_two_children_ends_at_once() {
    let mut run = Run::serving();
    for id in 1..=2 {
        run.check(Event::Ended(id, died()), &[&format!("start {} Own", id + 1)]);
    }
    run.check(Event::Ended(3, died()), &[]);
    run.check(Event::Stop(Signal::Terminate), &["exit 0"]);
}

/// Children that do what children may, in any order, for many seeds: nobody is forgotten, and there is never a moment in
/// which nobody serves, will serve, or is told to go on.
#[test]
fn whatever_happens_somebody_serves() {
    for seed in 0..3000_u64 {
        let mut random = evergate_kit::Rng::new(seed);
        let (mut supervisor, effects) = Supervisor::start(1, Moment::ZERO);
        let mut world = World { now: Moment::ZERO, alive: BTreeMap::new(), exit: None, stopping: false };
        world.carry_out(&effects);
        supervisor.step(world.now, Event::Said(1, hello()));
        let effects = supervisor.step(world.now, Event::Said(1, serving("1-a")));
        world.alive.insert(1, Inner::Serving);
        world.carry_out(&effects);
        for _ in 0..60 {
            let Some(event) = world.something(&mut random, &supervisor) else { break };
            let effects = supervisor.step(world.now, event.clone());
            world.carry_out(&effects);
            world.look(&supervisor, &format!("seed {seed}, after {event:?}"));
        }
    }
}

/// What a child is really doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Inner {
    Fresh,
    Waiting,
    Begun,
    Serving,
    AskedToPause,
    Paused,
    Left,
}

struct World {
    now: Moment,
    alive: BTreeMap<ChildId, Inner>,
    exit: Option<u8>,
    stopping: bool,
}

impl World {
    fn carry_out(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Start(id, _) => drop(self.alive.insert(*id, Inner::Fresh)),
                Effect::Tell(id, message) => {
                    let Some(inner) = self.alive.get_mut(id) else {
                        panic!("{effect:?} is told to the dead")
                    };
                    *inner = match (message, *inner) {
                        (ToChild::Begin(_), Inner::Waiting) => Inner::Begun,
                        (ToChild::Pause, Inner::Serving) => Inner::AskedToPause,
                        (ToChild::Resume, Inner::Paused) => Inner::Serving,
                        (ToChild::Leave, Inner::Paused) => Inner::Left,
                        (ToChild::Facts(_) | ToChild::Upgraded { .. } | ToChild::Finish, same) => same,
                        (message, inner) => panic!("{message:?} for one that is {inner:?}"),
                    };
                }
                Effect::Exit(code) => self.exit = Some(*code),
                _ => {}
            }
        }
    }

    fn something(&mut self, random: &mut evergate_kit::Rng, supervisor: &Supervisor) -> Option<Event> {
        if self.exit.is_some() {
            return None;
        }
        self.now += Duration::from_millis(random.below(4000));
        let ids: Vec<ChildId> = self.alive.keys().copied().collect();
        let pick = ids.get(random.below(ids.len().max(1) as u64) as usize).copied();
        let dice = random.below(20);
        match (pick, dice) {
            (Some(id), 0..12) => {
                let inner = self.alive.get_mut(&id)?;
                let (next, message) = match *inner {
                    Inner::Fresh => (Inner::Waiting, hello()),
                    Inner::Begun => (Inner::Serving, serving("1-a")),
                    Inner::AskedToPause => (Inner::Paused, ToParent::Paused),
                    Inner::Serving if dice < 2 => (Inner::Serving, serving("2-b")),
                    same => (same, ToParent::Alive(TERMS)),
                };
                *inner = next;
                Some(Event::Said(id, message))
            }
            (Some(id), 12..15) => {
                self.alive.remove(&id);
                Some(Event::Ended(id, died()))
            }
            (Some(id), 15) => Some(Event::Said(id, ToParent::Upgrade { binary: String::new() })),
            (_, 16) if random.below(10) == 0 => {
                self.stopping = true;
                Some(Event::Stop(Signal::Terminate))
            }
            (_, 17) => Some(Event::Upgrade),
            _ => {
                self.now = self.now.max(supervisor.wake_at().unwrap_or_default().min(self.now + 100 * S));
                Some(Event::Tick)
            }
        }
    }

    fn look(&self, supervisor: &Supervisor, when: &str) {
        if self.exit.is_some() {
            return assert!(self.alive.is_empty() || !self.stopping, "{when}: ended before its children");
        }
        let known: Vec<ChildId> = supervisor.children.keys().copied().collect();
        assert_eq!(known, self.alive.keys().copied().collect::<Vec<_>>(), "{when}");
        let will =
            supervisor.restart.is_some() || supervisor.current.is_some() || supervisor.upgrade.is_some();
        assert!(self.stopping || will, "{when}: nobody serves, and nobody will");
        // Who is paused is so for the sake of another that is there.
        let paused = self.alive.values().any(|i| *i == Inner::Paused);
        assert!(!paused || supervisor.upgrade.is_some(), "{when}: paused for nothing");
    }
}
