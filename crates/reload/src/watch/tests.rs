use std::{
    fs,
    os::unix::fs::symlink,
    sync::mpsc::{Receiver, channel},
};

use evergate_conf::{Digest, InputKind};
use tempfile::TempDir;

use super::*;

fn input(path: &Path, kind: InputKind) -> Input {
    let digest = fs::read(path).ok().map(|bytes| Digest::of(&bytes));
    Input { path: path.to_owned(), kind, digest }
}

fn watcher() -> (Watcher, Receiver<()>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    // A test may be over when the last event comes.
    (
        Watcher::new(Arc::new(move || {
            let _ = tell.lock().unwrap().send(());
        })),
        told,
    )
}

/// A real folder: events name no links.
fn folder() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let real = dir.path().canonicalize().unwrap();
    (dir, real)
}

fn event(kind: EventKind, path: &Path) -> notify::Result<notify::Event> {
    Ok(notify::Event::new(kind).add_path(path.to_owned()))
}

#[test]
fn only_what_counts_is_told() {
    use notify::event::{CreateKind, DataChange, RemoveKind};
    let (_dir, dir) = folder();
    fs::create_dir(dir.join("all")).unwrap();
    fs::write(dir.join("file"), "").unwrap();
    symlink("file", dir.join("link")).unwrap();
    let inputs = [
        input(&dir.join("link"), InputKind::Document),
        input(&dir.join("missing/deep"), InputKind::Reference),
        input(&dir.join("all"), InputKind::Folder),
    ];
    let mut shared = Shared { interest: Interest::of(&inputs), ..Shared::default() };
    let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    let rows = [
        (data, "file", true),
        (data, "link", true),
        (data, "other", false),
        (data, "all/any", true),
        (data, "all/.swap", false),
        (EventKind::Create(CreateKind::Folder), "missing", true),
        (EventKind::Create(CreateKind::File), "data", false),
        (EventKind::Remove(RemoveKind::File), "file", true),
        (EventKind::Access(AccessKind::Open(AccessMode::Any)), "file", false),
        (EventKind::Access(AccessKind::Close(AccessMode::Read)), "file", false),
        (EventKind::Access(AccessKind::Close(AccessMode::Write)), "file", true),
    ];
    for (kind, name, expected) in rows {
        assert_eq!(shared.concerns(event(kind, &dir.join(name))), expected, "{kind:?} {name}");
    }
    let overflow = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    assert!(shared.concerns(Ok(overflow)), "events were lost");
    assert!(shared.lost.is_empty());
    shared.concerns(event(EventKind::Remove(RemoveKind::Folder), &dir.join("all"))).then_some(()).unwrap();
    assert!(shared.lost.contains(&dir.join("all")));
}

#[test]
fn a_ring_of_links_has_an_end() {
    let (_dir, dir) = folder();
    symlink("b", dir.join("a")).unwrap();
    symlink("a", dir.join("b")).unwrap();
    symlink("loop/loop", dir.join("loop")).unwrap();
    let inputs = [dir.join("a"), dir.join("a/x"), dir.join("loop/x")].map(|p| input(&p, InputKind::Document));
    let interest = Interest::of(&inputs);
    assert!(interest.concerns(&dir.join("a")) && interest.concerns(&dir.join("b")));
    assert!(interest.concerns(&dir.join("loop")));
}

#[test]
fn what_changed_while_it_was_read_is_told_at_once() {
    let (_dir, dir) = folder();
    let file = dir.join("file");
    fs::write(&file, "one").unwrap();
    let read_at = DiskTime::now();
    let same = [input(&file, InputKind::Document)];
    let (mut quiet, told) = watcher();
    quiet.update(&same, read_at).unwrap();
    assert!(told.try_recv().is_err(), "it says what was read");

    fs::write(&file, "two").unwrap();
    let (mut late, told) = watcher();
    late.update(&same, read_at).unwrap();
    told.try_recv().unwrap();

    fs::remove_file(&file).unwrap();
    let (mut gone, told) = watcher();
    gone.update(&same, read_at).unwrap();
    told.try_recv().unwrap();
}

#[test]
fn without_events_files_are_looked_at() {
    let (_dir, dir) = folder();
    fs::create_dir(dir.join("all")).unwrap();
    let file = dir.join("file");
    fs::write(&file, "one").unwrap();
    let inputs = [input(&file, InputKind::Document), input(&dir.join("all"), InputKind::Folder)];
    let (mut watcher, told) = watcher();
    watcher.folders_max = 0;
    let reason = watcher.update(&inputs, DiskTime::now()).unwrap_err();
    assert!(reason.contains("can be"), "{reason}");
    assert_eq!(watcher.state(), Watching::Polling);
    told.try_iter().count();
    let mut due = watcher.poll_at().unwrap();
    let mut look = |watcher: &mut Watcher| {
        watcher.poll(due - Duration::from_millis(1));
        assert!(told.try_recv().is_err(), "not yet");
        watcher.poll(due);
        due = watcher.poll_at().unwrap();
        told.try_iter().count()
    };
    assert_eq!(look(&mut watcher), 0);
    fs::write(dir.join("beside"), "").unwrap();
    assert_eq!(look(&mut watcher), 0, "what is beside does not count");
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(&file, "longer").unwrap(),
        &|| {
            fs::write(dir.join("new"), "longer").unwrap();
            fs::rename(dir.join("new"), &file).unwrap();
        },
        &|| fs::remove_file(&file).unwrap(),
        &|| fs::write(&file, "again").unwrap(),
        &|| fs::write(dir.join("all/added"), "").unwrap(),
    ];
    for (i, change) in changes.iter().enumerate() {
        change();
        assert_eq!(look(&mut watcher), 1, "change {i}");
        assert_eq!(look(&mut watcher), 0, "change {i} once");
    }
    watcher.update(&inputs, DiskTime::now()).unwrap();
    assert_eq!(watcher.state(), Watching::Polling, "said once");
    watcher.off();
    assert_eq!((watcher.state(), watcher.poll_at()), (Watching::Off, None));
}

#[test]
fn what_changed_before_it_was_of_interest_is_told() {
    let (_dir, dir) = folder();
    let (first, second) = (dir.join("first"), dir.join("second"));
    fs::write(&first, "1").unwrap();
    fs::write(&second, "1").unwrap();
    let (mut watcher, told) = watcher();
    watcher.update(&[input(&first, InputKind::Document)], DiskTime::now()).unwrap();
    // Read, then changed, and only then watched: the folder has been for long.
    let (read_at, both) =
        (DiskTime::now(), [input(&first, InputKind::Document), input(&second, InputKind::Document)]);
    fs::write(&second, "2").unwrap();
    watcher.update(&both, read_at).unwrap();
    told.recv_timeout(std::time::Duration::from_secs(20)).expect("told");
}
