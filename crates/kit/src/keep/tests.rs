use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

fn entries(keep: &Keep) -> usize {
    keep.table().entries
}

#[test]
fn who_holds_it_finds_it_again() {
    let keep = Keep::new();
    let first = keep.get("pool", "a", || 1_u32);
    let again = keep.get("pool", "a", || 2_u32);
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!((*again, keep.len()), (1, 1));
}

#[test]
fn it_dies_with_the_last_holder() {
    let keep = Keep::new();
    let first = keep.get("pool", "a", || 1_u32);
    let second = Arc::clone(&first);
    drop(first);
    assert_eq!(keep.len(), 1);
    drop(second);
    assert_eq!((keep.len(), keep.is_empty()), (0, true));
    assert_eq!(*keep.get("pool", "a", || 2_u32), 2);
}

#[test]
fn kind_name_and_type_are_the_identity() {
    let keep = Keep::new();
    let held = (
        keep.get("pool", "a", || 1_u32),
        keep.get("pool", "b", || 2_u32),
        keep.get("health", "a", || 3_u32),
        keep.get("pool", "a", || 4_u64),
    );
    assert_eq!((*held.0, *held.1, *held.2, *held.3), (1, 2, 3, 4));
    assert_eq!(keep.len(), 4);
    assert_eq!(*keep.get("pool", "a", || 5_u32), 1);
    assert_eq!(*keep.get("pool", "a", || 5_u64), 4);
}

#[test]
fn a_failure_is_not_kept() {
    let keep = Keep::new();
    assert_eq!(keep.try_get::<u32, _>("key", "a", || Err("no")), Err("no"));
    assert_eq!((keep.len(), entries(&keep)), (0, 0));
    let held = keep.try_get::<u32, &str>("key", "a", || Ok(1));
    assert_eq!(held.as_deref(), Ok(&1));
    // Nothing is made, so nothing can fail.
    assert_eq!(keep.try_get::<u32, _>("key", "a", || Err("no")).as_deref(), Ok(&1));
}

#[test]
fn making_may_ask_for_more() {
    let keep = Keep::new();
    let outer = keep.get("outer", "a", || keep.get("inner", "a", || 7_u32));
    assert_eq!((**outer, keep.len()), (7, 2));
}

#[test]
fn the_first_of_two_makers_wins() {
    let keep = Keep::new();
    let mut inner = None;
    let outer = keep.get("pool", "a", || {
        inner = Some(keep.get("pool", "a", || 1_u32));
        2_u32
    });
    assert_eq!(*outer, 1);
    assert!(inner.is_some_and(|inner| Arc::ptr_eq(&inner, &outer)));
}

#[test]
fn dead_entries_are_cleared() {
    let keep = Keep::new();
    let held: Vec<_> = (0..10).map(|n| keep.get("pool", &n.to_string(), || n)).collect();
    let dead = keep.get("health", "x", || 0_u8);
    drop(dead);
    assert_eq!(entries(&keep), 11);
    keep.purge();
    assert_eq!((entries(&keep), keep.len()), (10, 10));
    assert!(Arc::ptr_eq(&held[3], &keep.get("pool", "3", || 0)));
}

#[test]
fn names_that_come_and_go_do_not_pile_up() {
    let keep = Keep::new();
    let held: Vec<_> = (0..100).map(|n| keep.get("pool", &n.to_string(), || n)).collect();
    for n in 0..100_000 {
        drop(keep.get("pool", &format!("gone {n}"), || n));
    }
    assert!(entries(&keep) <= 2 * held.len() + 1, "{}", entries(&keep));
    assert_eq!(keep.len(), held.len());
}

#[test]
fn threads_agree_on_one() {
    let keep = Keep::new();
    let made = AtomicUsize::new(0);
    let held: Vec<_> = std::thread::scope(|scope| {
        let ask = || keep.get("pool", "a", || made.fetch_add(1, Ordering::Relaxed));
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(made.load(Ordering::Relaxed) >= 1);
    assert!(held.iter().all(|state| Arc::ptr_eq(state, &held[0])));
}

struct Score(u32);

impl Carry for Score {
    fn save(&self) -> String {
        self.0.to_string()
    }
}

#[test]
fn state_goes_along_to_the_next_process() {
    let score = |keep: &Keep, name: &str| {
        keep.carried("score", name, |saved| Score(saved.and_then(|s| s.parse().ok()).unwrap_or(0)))
    };
    let old = Keep::new();
    old.carry(vec![Carried { kind: "score".into(), name: "a".into(), text: "7".into() }]);
    let (a, b) = (score(&old, "a"), score(&old, "b"));
    let _not_carried = old.get("other", "a", || 1_u8);
    drop(score(&old, "nobody holds it"));
    let mut saved = old.save();
    saved.sort_by(|x, y| x.name.cmp(&y.name));
    assert_eq!((a.0, b.0), (7, 0));
    let carried =
        |name: &str, text: &str| Carried { kind: "score".into(), name: name.into(), text: text.into() };
    assert_eq!(saved, [carried("a", "7"), carried("b", "0")]);

    let new = Keep::new();
    new.carry(saved);
    drop(score(&new, "a"));
    let again = score(&new, "a");
    assert_eq!(again.0, 7, "a first attempt to start may have failed");
    new.settle();
    drop(again);
    assert_eq!(score(&new, "a").0, 0);
}
