use std::{collections::HashMap, time::SystemTime};

use evergate_conf::{Entry, Map, Value, merge, node::Place};
use proptest::prelude::*;

use super::*;
use crate::{
    revision::{self, Origin, Pin},
    source::Draft,
};

mod simulator;

const MS: Duration = Duration::from_millis(1);

pub(super) fn map(entries: impl IntoIterator<Item = (String, Node)>) -> Node {
    let entry = |(key, node): (String, Node)| Entry { key: key.into(), place: Place::default(), node };
    Node::made(Value::Map(Arc::new(Map::new(entries.into_iter().map(entry).collect()))))
}

pub(super) fn int(value: i64) -> Node {
    Node::made(Value::Int(value))
}

pub(super) fn problem(text: &str) -> Report {
    let mut report = Report::new();
    report.problem("test", &Path::root(), Place::default(), text);
    report
}

fn reload(origin: Origin) -> Draft {
    Draft::new(origin, Intent::Reload { insist: false })
}

fn patch(key: &str, value: i64) -> Draft {
    Draft::new(Origin::Api, Intent::Patch(Body::Node(map([(key.to_owned(), int(value))]))))
}

/// An engine whose effects are carried out at once by a world that never fails.
struct Bench {
    engine: Engine,
    now: Moment,
    base: Node,
    seen: Vec<String>,
    verdicts: HashMap<Asker, Verdict>,
    history: Vec<Arc<Revision>>,
    published: Vec<Arc<Revision>>,
    fail: Option<Stage>,
}

impl Bench {
    fn new(recovered: Option<Arc<Revision>>, strict: bool) -> Bench {
        let last_seq = recovered.as_ref().map_or(0, |r| r.id.seq);
        let history = recovered.iter().cloned().collect();
        let mut engine = Engine::new(recovered, last_seq, strict);
        engine.set_debounce(20 * MS);
        Bench {
            engine,
            now: Moment::ZERO,
            base: map([("a".into(), int(1))]),
            seen: Vec::new(),
            verdicts: HashMap::new(),
            history,
            published: Vec::new(),
            fail: None,
        }
    }

    fn started() -> Bench {
        let mut bench = Bench::new(None, false);
        bench.send(Event::Drafted(0, reload(Origin::Start)));
        assert_eq!(bench.verdicts.remove(&0).unwrap().word(), "applied");
        bench.seen.clear();
        bench
    }

    fn files(&self) -> Digest {
        revision::digest(&self.base, &[])
    }

    fn send(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.engine.step(self.now, event) {
                events.extend(self.carry_out(effect));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        let fails = |stage| self.fail == Some(stage);
        match effect {
            Effect::Begin(head) => self.seen.push(format!("begin {}", head.origin)),
            Effect::Load(Load::Files { .. }) if fails(Stage::Load) => {
                return Some(Event::Loaded(Err(problem("broken"))));
            }
            Effect::Load(Load::Files { .. }) => {
                self.seen.push("load".into());
                return Some(Event::Loaded(Ok(Loaded::Files(self.base.clone(), self.files()))));
            }
            Effect::Load(load) => {
                let before = |seq| self.history.iter().rev().find(|r| r.id.seq < seq).cloned();
                let found = match load {
                    Load::Revision(id) => self.history.iter().find(|r| r.id == id).cloned(),
                    Load::Before(id) => before(id.seq),
                    Load::Older(seq) => before(seq),
                    Load::Files { .. } | Load::Text(..) => None,
                };
                return Some(Event::Loaded(found.map(Loaded::Revision).ok_or_else(|| problem("not kept"))));
            }
            Effect::Check(check) => {
                let digest = revision::digest(&check.document, &[]);
                let (plan, warnings) = (Arc::default(), Report::new());
                let time = SystemTime::UNIX_EPOCH;
                let checked = Checked { digest, pins: Arc::default(), plan, warnings, time };
                let result = if fails(Stage::Check) { Err(problem("wrong")) } else { Ok(checked) };
                return Some(Event::Checked(result));
            }
            Effect::Build(_) => {
                return Some(Event::Built(if fails(Stage::Build) { Err(problem("port")) } else { Ok(()) }));
            }
            Effect::Publish { revision, record } => {
                if record {
                    self.history.push(Arc::clone(&revision));
                }
                self.published.push(revision);
                return Some(Event::Published);
            }
            Effect::FallBack(stage, _) => self.seen.push(format!("fall back at {stage}")),
            Effect::Amend(_) => self.seen.push("amend".into()),
            Effect::End(_, askers, verdict) => {
                self.seen.push(verdict.word().into());
                self.verdicts.extend(askers.into_iter().map(|a| (a, verdict.clone())));
            }
            Effect::TurnAway(asker, verdict) => {
                self.verdicts.insert(asker, verdict);
            }
        }
        None
    }

    fn live(&self) -> &Revision {
        self.engine.live().unwrap()
    }
}

#[test]
fn a_burst_of_file_events_is_one_change() {
    let mut bench = Bench::started();
    for _ in 0..5 {
        bench.now += 15 * MS;
        bench.send(Event::Disturbed);
    }
    bench.base = map([("a".into(), int(2))]);
    assert_eq!(bench.engine.state(), State::Settling);
    assert_eq!(bench.engine.wake_at(), Some(bench.now + 20 * MS));
    bench.now += 20 * MS - Duration::from_nanos(1);
    bench.send(Event::Tick);
    assert_eq!(bench.seen, [""; 0]);
    bench.now += Duration::from_nanos(1);
    bench.send(Event::Tick);
    assert_eq!(bench.seen, ["begin file", "load", "applied"]);
    assert_eq!(bench.engine.state(), State::Idle);
    assert_eq!(bench.live().id.seq, 2);
}

#[test]
fn endless_file_events_do_not_starve_the_reload() {
    let mut bench = Bench::started();
    let begin = bench.now;
    while bench.seen.is_empty() {
        bench.send(Event::Disturbed);
        bench.now += 19 * MS;
        bench.send(Event::Tick);
        assert!(bench.now - begin < 250 * MS, "starved");
    }
    assert!(bench.now - begin >= 200 * MS);
}

#[test]
fn who_asks_does_not_wait_for_silence_and_shares_the_verdict() {
    let mut bench = Bench::started();
    bench.base = map([("a".into(), int(2))]);
    bench.send(Event::Disturbed);
    bench.send(Event::Drafted(1, reload(Origin::Signal)));
    assert_eq!(bench.seen, ["begin signal", "load", "applied"]);
    assert_eq!(bench.verdicts[&1].word(), "applied");
    bench.send(Event::Drafted(2, reload(Origin::Api)));
    assert_eq!(bench.verdicts[&2].word(), "unchanged");
}

#[test]
fn an_edit_is_for_the_revision_that_it_was_meant_for() {
    let mut bench = Bench::started();
    let id = bench.live().id;
    let matched = |key: &str| Draft { if_match: Some(id), ..patch(key, 1) };
    bench.send(Event::Drafted(1, matched("x")));
    bench.send(Event::Drafted(2, matched("y")));
    assert_eq!(bench.verdicts[&1].word(), "applied");
    let running = bench.live().id;
    assert!(matches!(bench.verdicts[&2], Verdict::Conflict { running: Some(r) } if r == running && r != id));
    bench.send(Event::Drafted(3, Draft { dry_run: true, ..patch("z", 1) }));
    assert_eq!(bench.verdicts[&3].word(), "planned");
    assert_eq!(bench.live().id, running);
}

#[test]
fn a_rolled_back_file_is_held_until_it_changes_or_somebody_insists() {
    let mut bench = Bench::started();
    let (first, second) = (bench.base.clone(), map([("a".into(), int(2))]));
    bench.base = second.clone();
    bench.send(Event::Drafted(1, reload(Origin::Api)));
    bench.send(Event::Drafted(2, Draft::new(Origin::Api, Intent::Rollback(None))));
    assert_eq!(bench.live().document, first);
    assert_eq!(bench.live().restores.map(|r| r.seq), Some(1));
    assert_eq!(bench.live().held, Some(bench.files()));

    bench.send(Event::Drafted(3, reload(Origin::File)));
    assert!(matches!(bench.verdicts[&3], Verdict::Unchanged { held: true, .. }));
    bench.send(Event::Drafted(4, patch("b", 9)));
    assert_eq!(bench.live().held, Some(bench.files()), "an edit does not free what is held");
    assert_eq!(bench.live().document, map([("a".into(), int(1)), ("b".into(), int(9))]));

    let mut restarted = Bench::new(Some(Arc::new(bench.live().clone())), true);
    restarted.base = second.clone();
    restarted.send(Event::Drafted(0, reload(Origin::Start)));
    assert_eq!(restarted.live().id, bench.live().id, "held across a restart");
    restarted.base = map([("a".into(), int(3))]);
    restarted.send(Event::Drafted(1, reload(Origin::File)));
    assert_eq!(restarted.live().document, map([("a".into(), int(3)), ("b".into(), int(9))]));
    assert_eq!(restarted.live().held, None);

    bench.send(Event::Drafted(5, Draft::new(Origin::Signal, Intent::Reload { insist: true })));
    assert_eq!(bench.live().document, map([("a".into(), int(2)), ("b".into(), int(9))]));
    assert_eq!(bench.live().held, None);
}

#[test]
fn files_that_say_next_to_nothing_are_a_wish_only_if_somebody_insists() {
    let section = |n: i64| map([("s".to_owned(), map((0..n).map(|i| (i.to_string(), int(i)))))]);
    let mut bench = Bench::started();
    let first = bench.live().id;
    bench.base = section(50);
    bench.send(Event::Drafted(1, reload(Origin::File)));
    let full = bench.live().clone();

    bench.base = section(4);
    bench.send(Event::Drafted(2, Draft { dry_run: true, ..reload(Origin::Api) }));
    bench.send(Event::Drafted(3, reload(Origin::Api)));
    for asker in [2, 3] {
        let Verdict::Refused { running, stage, report } = &bench.verdicts[&asker] else { panic!("{asker}") };
        assert_eq!((*running, *stage), (Some(full.id), Stage::Plan));
        assert!(report.to_string().contains("had 50 objects and now have 4"), "{report}");
    }
    assert_eq!((bench.live().id, &bench.live().layers), (full.id, &full.layers), "nothing changed");
    bench.send(Event::Drafted(
        4,
        Draft { dry_run: true, ..Draft::new(Origin::Api, Intent::Reload { insist: true }) },
    ));
    assert_eq!(bench.verdicts[&4].word(), "planned");
    bench.send(Event::Drafted(5, Draft::new(Origin::Signal, Intent::Reload { insist: true })));
    assert_eq!(bench.live().document, section(4));
    bench.send(Event::Drafted(6, reload(Origin::File)));
    assert_eq!(bench.verdicts[&6].word(), "unchanged", "measured by what the files are now");

    // Who goes back, or edits, knows what he wants.
    bench.send(Event::Drafted(7, Draft::new(Origin::Api, Intent::Rollback(Some(full.id)))));
    bench.send(Event::Drafted(8, Draft::new(Origin::Api, Intent::Rollback(Some(first)))));
    assert_eq!(bench.live().document, map([("a".into(), int(1))]));
    bench.send(Event::Drafted(9, Draft::new(Origin::Api, Intent::Rollback(Some(full.id)))));
    bench.send(Event::Drafted(
        10,
        Draft::new(Origin::Api, Intent::Patch(Body::Node(map([("s".into(), Node::made(Value::Null))])))),
    ));
    assert_eq!(bench.live().document, map([]));

    // So does who starts.
    let mut restarted = Bench::new(Some(Arc::new(full)), false);
    restarted.base = map([]);
    restarted.send(Event::Drafted(0, reload(Origin::Start)));
    assert_eq!(restarted.live().document, map([]));
}

#[test]
fn starts_from_the_last_good_revision() {
    for stage in [Stage::Load, Stage::Check, Stage::Build] {
        let good = Bench::started().live().clone();
        let mut bench = Bench::new(Some(Arc::new(good.clone())), false);
        bench.base = map([("a".into(), int(2))]);
        bench.fail = Some(stage);
        let mut events = vec![Event::Drafted(0, reload(Origin::Start))];
        while let Some(event) = events.pop() {
            for effect in bench.engine.step(bench.now, event) {
                if matches!(effect, Effect::FallBack(..)) {
                    bench.fail = None;
                }
                events.extend(bench.carry_out(effect));
            }
        }
        assert_eq!(bench.seen.last().unwrap(), "applied");
        assert!(bench.seen.contains(&format!("fall back at {stage}")), "{:?}", bench.seen);
        assert_eq!((bench.live().id, bench.live().document.clone()), (good.id, good.document));
        assert!(bench.history.len() == 1, "nothing new to write down");

        let mut strict = Bench::new(Some(Arc::new(bench.live().clone())), true);
        strict.fail = Some(stage);
        strict.base = map([("a".into(), int(2))]);
        strict.send(Event::Drafted(0, reload(Origin::Start)));
        assert!(
            matches!(&strict.verdicts[&0], Verdict::Refused { running: None, stage: s, .. } if *s == stage)
        );

        let mut hopeless = Bench::new(Some(Arc::new(bench.live().clone())), false);
        hopeless.fail = Some(stage);
        hopeless.base = map([("a".into(), int(2))]);
        hopeless.send(Event::Drafted(0, reload(Origin::Start)));
        let nothing = stage != Stage::Load;
        assert_eq!(hopeless.engine.live().is_none(), nothing, "{stage}: {:?}", hopeless.seen);
    }
}

#[test]
fn a_restart_with_the_same_files_is_the_same_revision() {
    let mut bench = Bench::started();
    bench.send(Event::Drafted(1, patch("b", 9)));
    let mut restarted = Bench::new(Some(Arc::new(bench.live().clone())), false);
    restarted.send(Event::Drafted(0, reload(Origin::Start)));
    assert_eq!(restarted.live().id, bench.live().id);
    assert_eq!(restarted.live().document, bench.live().document, "the overlay survives");
    restarted.send(Event::Drafted(2, patch("b", 8)));
    assert_eq!(restarted.live().id.seq, 3);
    assert_eq!(restarted.live().parent, Some(bench.live().id));
}

#[test]
fn too_many_that_wait_are_turned_away() {
    let mut bench = Bench::started();
    // Nothing is carried out, so that the first one is never done.
    let mut turned_away = 0;
    for asker in 0..waiting::WAITING_MAX as u64 + 3 {
        let effects = bench.engine.step(bench.now, Event::Drafted(asker, patch("a", 5)));
        turned_away += effects.iter().filter(|e| matches!(e, Effect::TurnAway(..))).count();
    }
    assert_eq!(turned_away, 2);
    assert_eq!(bench.engine.pending().len(), waiting::WAITING_MAX + 1);
}

#[test]
fn a_change_that_is_no_map_is_refused() {
    let mut bench = Bench::started();
    for (asker, intent) in
        [Intent::Patch(Body::Node(int(1))), Intent::Replace(Body::Node(int(1)))].into_iter().enumerate()
    {
        bench.send(Event::Drafted(asker as u64, Draft::new(Origin::Api, intent)));
        assert!(matches!(&bench.verdicts[&(asker as u64)], Verdict::Refused { stage: Stage::Load, .. }));
    }
}

#[test]
fn an_edit_is_checked_with_its_places_and_kept_without() {
    let mut bench = Bench::started();
    let place = Place { line: 7, column: 3, ..Place::default() };
    let value = Node { place, ..int(5) };
    let edit = Draft::new(Origin::Api, Intent::Patch(Body::Node(map([("x".to_owned(), value)]))));
    let mut events = vec![Event::Drafted(1, edit)];
    let mut checked = None;
    while let Some(event) = events.pop() {
        for effect in bench.engine.step(bench.now, event) {
            if let Effect::Check(check) = &effect {
                checked = check.document.get("x").map(|n| n.place);
            }
            events.extend(bench.carry_out(effect));
        }
    }
    assert_eq!(checked, Some(place));
    let live = bench.live();
    for node in [&live.document, &live.layers.overlay] {
        assert_eq!(node.get("x").map(|n| n.place), Some(Place::default()));
    }
}

fn tree() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![Just(Node::made(Value::Null)), (0..3i64).prop_map(int)];
    leaf.prop_recursive(3, 12, 3, |inner| prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(map))
}

proptest! {
    #[test]
    fn leaving_idle_nulls_out_changes_nothing(base in tree(), overlay in tree()) {
        let base = evergate_conf::strip_nulls(&map([("x".to_owned(), base)]));
        let overlay = map([("x".to_owned(), overlay)]);
        let left = overlay::tidy(&base, &overlay);
        prop_assert_eq!(merge(&base, &left), merge(&base, &overlay));
    }

    #[test]
    fn an_edit_does_to_the_document_what_a_merge_patch_does(base in tree(), overlay in tree(), patch in tree()) {
        let base = evergate_conf::strip_nulls(&map([("x".to_owned(), base)]));
        let (overlay, patch) = (map([("x".to_owned(), overlay)]), map([("x".to_owned(), patch)]));
        let edited = overlay::edited(&base, &overlay, &patch);
        prop_assert_eq!(merge(&base, &edited), merge(&merge(&base, &overlay), &patch));
    }

    #[test]
    fn what_is_set_and_unset_again_leaves_nothing(base in tree(), value in 0..3i64) {
        let base = evergate_conf::strip_nulls(&map([("x".to_owned(), base)]));
        let set = overlay::edited(&base, &Node::empty_map(), &map([("new".to_owned(), int(value))]));
        let unset = overlay::edited(&base, &set, &map([("new".to_owned(), Node::made(Value::Null))]));
        prop_assert_eq!(unset, Node::empty_map());
    }
}

#[test]
fn who_insists_has_every_file_read() {
    for insist in [false, true] {
        let mut engine = Engine::new(None, 0, false);
        let draft = Draft::new(Origin::Signal, Intent::Reload { insist });
        let effects = engine.step(Moment::ZERO, Event::Drafted(1, draft));
        let loads = |e: &Effect| matches!(e, Effect::Load(Load::Files { distrust }) if *distrust == insist);
        assert!(effects.iter().any(loads), "{effects:?}");
    }
}
