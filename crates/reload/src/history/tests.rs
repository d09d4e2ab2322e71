use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, UNIX_EPOCH},
};

use evergate_conf::{Digest, Entry, Map, Value, node::Place};
use tempfile::TempDir;

use super::*;
use crate::{
    inputs::Content,
    plan::hide_literals,
    revision::{self, Layers, Origin},
};

fn map(entries: impl IntoIterator<Item = (String, Node)>) -> Node {
    let entry = |(key, node): (String, Node)| Entry { key: key.into(), place: Place::default(), node };
    Node::made(Value::Map(Arc::new(Map::new(entries.into_iter().map(entry).collect()))))
}

fn text(value: &str) -> Node {
    Node::made(Value::Str(value.into()))
}

fn routes(count: usize, timeout: impl Fn(usize) -> String) -> Node {
    let route = |i| {
        (format!("route-{i}"), map([("timeout".into(), text(&timeout(i))), ("forward".into(), text("api"))]))
    };
    map([("routes".to_owned(), map((0..count).map(route)))])
}

fn secret(value: &str) -> Node {
    map([("admin".to_owned(), map([("token".to_owned(), map([("literal".to_owned(), text(value))]))]))])
}

fn inputs(files: &[(&str, &str)]) -> Inputs {
    let content = |text: &str| Content::Bytes(text.as_bytes().into(), Digest::of(text.as_bytes()));
    files.iter().map(|(path, text)| (PathBuf::from(path), content(text))).collect()
}

fn revision(seq: u64, base: Node, overlay: Node, inputs: &Inputs) -> Arc<Revision> {
    let layers = Layers { base, overlay };
    let (document, pins) = (layers.document(), inputs.pins());
    let digest = revision::digest(&document, &pins);
    Arc::new(Revision {
        id: RevisionId::new(seq, digest),
        digest,
        parent: (seq > 1).then(|| RevisionId { seq: seq - 1, hash: [1, 2, 3] }),
        origin: Origin::Api,
        author: Some("joe".into()),
        time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123 + seq),
        restores: None,
        held: seq.is_multiple_of(3).then(|| Digest::of(b"held")),
        files: Digest::of(&seq.to_le_bytes()),
        layers,
        document,
        pins,
    })
}

fn same(a: &Revision, b: &Revision) -> bool {
    (a.id, a.digest, a.parent, a.origin, &a.author, a.time, a.restores, a.held, a.files)
        == (b.id, b.digest, b.parent, b.origin, &b.author, b.time, b.restores, b.held, b.files)
        && (&a.layers, &a.document, &a.pins) == (&b.layers, &b.document, &b.pins)
}

fn open(dir: &TempDir) -> (History, Found) {
    History::open(dir.path(), &hide_literals()).unwrap()
}

fn record(history: &mut History, revision: &Arc<Revision>, inputs: &Inputs, keep: usize) {
    history.record(revision, inputs, "routes.a changed".into(), keep).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_revision_is_read_as_it_was_written() {
    let dir = TempDir::new().unwrap();
    let mut written = Vec::new();
    let overlay = |i: u64| match i % 5 {
        0 => Node::empty_map(),
        1 => map([("routes".to_owned(), map([("route-1".to_owned(), Node::made(Value::Null))]))]),
        2 => map([("$sealed".to_owned(), text("key")), ("x".to_owned(), Node::made(Value::Float(1.0)))]),
        3 => map([("y".to_owned(), map([("$sealed".to_owned(), text("../key"))]))]),
        _ => secret(&format!("token {i}")),
    };
    for i in 1..=160 {
        let (mut history, found) = open(&dir);
        assert_eq!(found.last_seq, i - 1);
        assert!(
            found.newest.as_deref().zip(written.last()).is_none_or(|(a, b): (_, &Arc<Revision>)| same(a, b))
        );
        assert_eq!(found.newest.is_some(), i > 1);
        let contents = inputs(&[("/a.pem", &format!("certificate {}", i / 7)), ("/b.pem", "other")]);
        let timeout = |r| if r as u64 == i % 10 { format!("{i}s") } else { "1s".into() };
        let revision = revision(i, routes(10, timeout), overlay(i), &contents);
        record(&mut history, &revision, &contents, 1000);
        written.push(revision);
    }
    let (history, _) = open(&dir);
    let archive = history.archive();
    for revision in &written {
        assert!(same(&archive.read(revision.id).unwrap(), revision), "{}", revision.id);
        for pin in revision.pins.iter() {
            assert_eq!(Digest::of(&archive.content(pin.digest.unwrap()).unwrap()), pin.digest.unwrap());
        }
    }
    let listed: Vec<_> = archive.list(3).iter().map(|r| r.id.seq).collect();
    assert_eq!(listed, [160, 159, 158]);
    assert!(matches!(archive.read(RevisionId { seq: 7, hash: [0; 3] }), Err(ReadError::NotKept(_))));
}

#[test]
fn a_small_change_of_a_large_document_writes_little() {
    let dir = TempDir::new().unwrap();
    let (mut history, _) = open(&dir);
    let none = Inputs::new();
    let first = revision(1, routes(5000, |_| "1s".into()), Node::empty_map(), &none);
    let changed = routes(5000, |i| if i == 77 { "2s".into() } else { "1s".into() });
    let second = revision(2, changed, Node::empty_map(), &none);
    [&first, &second].into_iter().for_each(|r| record(&mut history, r, &none, 100));
    let files = names(&dir.path().join("history"));
    let size = |i: usize| fs::metadata(dir.path().join("history").join(&files[i])).unwrap().len();
    assert!(size(0) > 100_000 && size(1) < 1200, "{} {}", size(0), size(1));
    drop(history);
    let (history, found) = open(&dir);
    assert!(found.skipped.is_empty(), "{:?}", found.skipped);
    for revision in [first, second] {
        assert!(same(&history.archive().read(revision.id).unwrap(), &revision), "{}", revision.id);
    }
}

#[test]
fn secrets_are_not_in_revision_files() {
    let dir = TempDir::new().unwrap();
    let none = inputs(&[("/key.pem", "PRIVATE KEY")]);
    let (mut history, _) = open(&dir);
    // Written whole, as a difference inside a secret, as one around it, and in a place where it was none.
    let overlays = [secret("hunter2"), secret("hunter3"), Node::empty_map(), secret("hunter4")];
    let revisions: Vec<_> = overlays
        .into_iter()
        .zip(1..)
        .map(|(o, i)| revision(i, routes(50, |_| "1s".into()), o, &none))
        .collect();
    revisions.iter().for_each(|r| record(&mut history, r, &none, 100));
    let dir_history = dir.path().join("history");
    for name in names(&dir_history) {
        let text = fs::read_to_string(dir_history.join(&name)).unwrap();
        assert!(!text.contains("hunter") && !text.contains("PRIVATE"), "{text}");
    }
    drop(history);
    let (history, _) = open(&dir);
    revisions.iter().for_each(|r| assert!(same(&history.archive().read(r.id).unwrap(), r), "{}", r.id));

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let pinned = dir.path().join("pinned");
    assert_eq!((mode(&dir_history), mode(&pinned)), (0o700, 0o700));
    assert_eq!(names(&pinned).len(), 5, "a key, a file, three secrets");
    names(&pinned).iter().for_each(|name| assert_eq!(mode(&pinned.join(name)), 0o600));
}

#[test]
fn only_the_last_are_kept_and_what_they_need() {
    let dir = TempDir::new().unwrap();
    let (mut history, _) = open(&dir);
    let mut last = None;
    for i in 1..=400 {
        let contents = inputs(&[("/a.pem", &format!("certificate {i}")), ("/b.pem", "the same")]);
        let revision =
            revision(i, routes(20, |r| format!("{}s", r as u64 * i)), Node::empty_map(), &contents);
        record(&mut history, &revision, &contents, 5);
        last = Some(revision);
    }
    let files = names(&dir.path().join("history"));
    assert!((5..=5 + 50).contains(&files.len()), "{files:?}");
    let pinned = names(&dir.path().join("pinned"));
    assert_eq!(pinned.len(), files.len() + 2, "one for each file, the common one, the key");
    let archive = history.archive();
    for seq in 396..=400 {
        let read = archive.older(seq + 1).unwrap();
        assert_eq!(read.id.seq, seq);
        read.pins.iter().for_each(|pin| assert!(archive.content(pin.digest.unwrap()).is_some()));
    }
    assert!(same(&archive.read(last.as_ref().unwrap().id).unwrap(), &last.unwrap()));
}

/// A history of a whole revision and three differences; the last file, its bytes, and what is in all.
fn small() -> (TempDir, PathBuf, Vec<u8>, Vec<Arc<Revision>>) {
    let dir = TempDir::new().unwrap();
    let (mut history, _) = open(&dir);
    let none = Inputs::new();
    let timeout = |i: u64| move |route| if route == 7 { format!("{i}s") } else { "1s".into() };
    let revisions: Vec<_> =
        (1..=4).map(|i| revision(i, routes(40, timeout(i)), secret("x"), &none)).collect();
    revisions.iter().for_each(|r| record(&mut history, r, &none, 100));
    drop(history);
    let name = names(&dir.path().join("history")).pop().unwrap();
    let path = dir.path().join("history").join(name);
    let bytes = fs::read(&path).unwrap();
    (dir, path, bytes, revisions)
}

#[test]
fn a_damaged_file_is_skipped_wherever_it_is_damaged() {
    let (dir, path, bytes, revisions) = small();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        for damaged in [&bytes[..at], &flipped] {
            fs::write(&path, damaged).unwrap();
            let (_, found) = open(&dir);
            assert!(same(&found.newest.unwrap(), &revisions[2]), "at {at}");
            assert_eq!(found.last_seq, 4, "its number is not given again");
            assert_eq!(found.skipped.len(), 1);
        }
    }
    fs::write(&path, &bytes).unwrap();
    let (_, found) = open(&dir);
    assert!(same(&found.newest.unwrap(), &revisions[3]) && found.skipped.is_empty());
}

#[test]
fn what_builds_on_a_damaged_file_is_skipped_too() {
    let (dir, _, _, revisions) = small();
    let files = names(&dir.path().join("history"));
    let second = dir.path().join("history").join(&files[1]);
    fs::write(&second, b"nonsense").unwrap();
    let (mut history, found) = open(&dir);
    assert!(same(&found.newest.unwrap(), &revisions[0]));
    assert_eq!(found.skipped.len(), 3);

    // The next one builds on what is good, and is found again.
    let none = Inputs::new();
    let next = revision(5, routes(3, |_| "9s".into()), Node::empty_map(), &none);
    record(&mut history, &next, &none, 100);
    drop(history);
    assert!(same(&open(&dir).1.newest.unwrap(), &next));
}

#[test]
fn a_missing_secret_makes_a_revision_incomplete() {
    let (dir, ..) = small();
    let pinned = dir.path().join("pinned");
    for name in names(&pinned).iter().filter(|n| n.starts_with("s-")) {
        fs::remove_file(pinned.join(name)).unwrap();
    }
    let (_, found) = open(&dir);
    assert!(found.newest.is_none());
    assert_eq!(found.skipped.len(), 4);
}

#[test]
fn a_write_that_was_cut_off_leaves_nothing() {
    let (dir, path, bytes, revisions) = small();
    let mut name = path.file_name().unwrap().to_owned();
    name.push(".tmp");
    fs::write(path.with_file_name(&name), &bytes[..bytes.len() / 2]).unwrap();
    let (_, found) = open(&dir);
    assert!(same(&found.newest.unwrap(), &revisions[3]) && found.skipped.is_empty());
    assert!(!path.with_file_name(&name).exists());
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let dir = TempDir::new().unwrap();
    let (first, _) = open(&dir);
    assert!(matches!(History::open(dir.path(), &hide_literals()), Err(OpenError::Locked)));
    drop(first);
    open(&dir);
}

#[test]
fn before_a_way_back_is_what_ran_before_what_it_went_back_to() {
    let dir = TempDir::new().unwrap();
    let none = Inputs::new();
    for mut history in [open(&dir).0, History::Memory(Memory::default())] {
        let mut ids = Vec::new();
        for i in 1..=6u64 {
            let mut revision =
                Revision::clone(&revision(i, routes(2, |_| format!("{i}s")), Node::empty_map(), &none));
            revision.parent = ids.last().copied();
            // 5 went back to 3, 6 further back to 2.
            revision.restores = [(5, 3), (6, 2)].iter().find(|(a, _)| *a == i).map(|(_, b)| ids[*b - 1]);
            ids.push(revision.id);
            record(&mut history, &Arc::new(revision), &none, 100);
        }
        let archive = history.archive();
        for (id, before) in [(4, Some(3)), (5, Some(2)), (6, Some(1)), (2, Some(1)), (1, None)] {
            let found = archive.before(ids[id - 1]).ok().map(|r| r.id.seq);
            assert_eq!(found, before, "before {id}");
        }
        assert_eq!(archive.older(4).unwrap().id.seq, 3);
        assert!(archive.older(1).is_err());
    }
}
