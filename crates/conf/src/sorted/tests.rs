use std::collections::BTreeMap;

use proptest::{collection::btree_map, prelude::*};

use super::*;

type Set = Sorted<(Arc<str>, u32)>;

fn set(values: &BTreeMap<u32, u32>) -> Set {
    let name = |i: &u32| Arc::from(format!("{i:05}"));
    Sorted::from_sorted(values.iter().map(|(i, value)| (name(i), *value)).collect())
}

fn bounds(set: &Set) -> Vec<&str> {
    set.chunks().iter().filter_map(|c| c.entries.first()).map(Keyed::key).collect()
}

/// The same entries, cut at the same places, whatever way they came about.
fn check_same(a: &Set, b: &Set) {
    assert!(a.iter().eq(b.iter()));
    assert_eq!((a.len(), bounds(a)), (b.len(), bounds(b)));
    assert!(a.chunks().iter().all(|c| !c.entries.is_empty()));
}

proptest! {
    /// Against a map that copies everything. Changes come in clusters, so that chunks are emptied, split and joined.
    #[test]
    fn edits_do_what_they_say(
        old in btree_map(0..4000_u32, 0..3_u32, 0..1500),
        from in 0..4000_u32,
        changes in btree_map(0..600_u32, proptest::option::of(0..3_u32), 0..500),
    ) {
        let changes: BTreeMap<u32, Option<u32>> = changes.into_iter().map(|(i, v)| (from + i, v)).collect();
        let mut new = old.clone();
        for (i, value) in &changes {
            match value {
                Some(value) => drop(new.insert(*i, *value)),
                None => drop(new.remove(i)),
            }
        }
        let names: Vec<(Arc<str>, Option<u32>)> =
            changes.iter().map(|(i, v)| (format!("{i:05}").into(), *v)).collect();
        let edits = names.iter().map(|(name, value)| match value {
            Some(value) => Edit::Put((Arc::clone(name), *value)),
            None => Edit::Take(&**name),
        });
        let (before, expected) = (set(&old), set(&new));
        let after = before.with(edits.collect());
        check_same(&after, &expected);
        check_same(&before, &set(&old));
        for i in [0, 1, from, from + 300, 3999, 9999] {
            let name = format!("{i:05}");
            prop_assert_eq!(after.get(&name).map(|e| e.1), new.get(&i).copied());
            let above: Vec<_> = after.from(&name).map(|e| e.1).collect();
            prop_assert_eq!(above, new.range(i..).map(|(_, v)| *v).collect::<Vec<_>>());
        }
        // Whatever differs is among the pairs, each key at most once and in order, and both sides are right.
        let pairs: Vec<_> = before.pairs(&after).collect();
        let key = |(a, b): &Pair<'_, (Arc<str>, u32)>| a.or(*b).unwrap().0.clone();
        prop_assert!(pairs.is_sorted_by(|a, b| key(a) < key(b)));
        let differ = |(a, b): &&Pair<'_, (Arc<str>, u32)>| a != b;
        let found: BTreeMap<_, _> = pairs.iter().filter(differ).map(|p| (key(p), (p.0, p.1))).collect();
        let all: std::collections::BTreeSet<u32> = old.keys().chain(new.keys()).copied().collect();
        let differing = all.iter().filter(|i| old.get(i) != new.get(i)).count();
        prop_assert_eq!(found.len(), differing);
    }
}

#[test]
fn one_edit_copies_one_chunk() {
    let before = set(&(0..20_000).map(|i| (i, 0)).collect());
    let after = before.with(vec![Edit::Put(("07000".into(), 1))]);
    let shared = before.chunks().iter().zip(after.chunks()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
    assert_eq!(shared + 1, before.chunks().len());
    let looked_at = before.pairs(&after).count();
    assert!(looked_at < 1500, "{looked_at}");
    assert!((80..250).contains(&before.chunks().len()), "unevenly cut: {}", before.chunks().len());
    assert_eq!(before.pairs(&before.clone()).count(), 0);
}

#[test]
fn a_chunk_whose_first_entry_goes_joins_the_one_before() {
    let all: BTreeMap<u32, u32> = (0..1000).map(|i| (i, 0)).collect();
    let before = set(&all);
    let first = bounds(&before)[2].to_owned();
    let after = before.with(vec![Edit::Take(&*first)]);
    let left = all.into_iter().filter(|(i, _)| format!("{i:05}") != first).collect();
    check_same(&after, &set(&left));
    assert_eq!(after.chunks().len() + 1, before.chunks().len());
    assert!(Arc::ptr_eq(&before.chunks()[0], &after.chunks()[0]));
}
