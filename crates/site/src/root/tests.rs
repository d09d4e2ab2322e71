use super::*;
use std::{fs, os::unix::fs::symlink};

/// A folder with links of all kinds, and something beside it that must not be reached.
fn tree() -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    let root = top.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir(top.path().join("secret")).unwrap();
    fs::write(top.path().join("secret/file"), "secret").unwrap();
    fs::write(root.join("file"), "top").unwrap();
    fs::write(root.join("a/b/file"), "deep").unwrap();
    // As Kubernetes mounts a ConfigMap.
    fs::create_dir(root.join("..2026")).unwrap();
    fs::write(root.join("..2026/mounted"), "mounted").unwrap();
    for (target, link) in [
        ("..2026", "..data"),
        ("..data/mounted", "mounted"),
        ("a/b", "to-folder"),
        ("to-folder/file", "to-file"),
        ("../file", "a/up"),
        ("b/../../a/./b//file", "a/around"),
        ("../../secret/file", "a/b/../out-file"),
        ("../secret", "out-folder"),
        ("..", "out"),
        ("../root/file", "out-and-in"),
        ("loop", "loop"),
        ("nowhere", "dangling"),
        ("/etc/passwd", "absolute"),
        ("/proc/self/root", "magic"),
        ("file/", "file-as-folder"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    symlink(root.join("file"), root.join("absolute-inside")).unwrap();
    rustix::fs::mknodat(CWD, root.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    top
}

/// The content of a file, `/` for a folder, `special`, or why not.
fn found(root: &Root, path: &str) -> Result<String, Errno> {
    match root.find(Path::new(path)) {
        Ok(Found::Folder) => Ok("/".to_owned()),
        Ok(Found::File(file, _)) => Ok(io::read_to_string(file).unwrap()),
        Ok(Found::Special) => Ok("special".to_owned()),
        Err(error) => {
            assert!(is_absent(&error), "{path}: {error}");
            Err(Errno::from_io_error(&error).unwrap())
        }
    }
}

#[test]
fn below_the_folder_and_nowhere_else() {
    let top = tree();
    let rows = [
        ("", Ok("/")),
        ("a", Ok("/")),
        ("a/b", Ok("/")),
        ("file", Ok("top")),
        ("a/b/file", Ok("deep")),
        ("mounted", Ok("mounted")),
        ("to-folder", Ok("/")),
        ("to-folder/file", Ok("deep")),
        ("to-file", Ok("deep")),
        ("a/up", Ok("top")),
        ("a/around", Ok("deep")),
        ("pipe", Ok("special")),
        ("missing", Err(Errno::NOENT)),
        ("missing/file", Err(Errno::NOENT)),
        ("file/x", Err(Errno::NOTDIR)),
        ("dangling", Err(Errno::NOENT)),
        ("loop", Err(Errno::LOOP)),
        ("out", Err(Errno::XDEV)),
        ("out/secret/file", Err(Errno::XDEV)),
        ("out-folder/file", Err(Errno::XDEV)),
        ("a/out-file", Err(Errno::XDEV)),
        ("out-and-in", Err(Errno::XDEV)),
        ("absolute", Err(Errno::XDEV)),
        ("absolute-inside", Err(Errno::XDEV)),
        ("magic/etc/passwd", Err(Errno::XDEV)),
    ];
    for walk in [false, true] {
        let root = Root::open(&top.path().join("root"), Reach::Disk).unwrap();
        root.walk.set(walk);
        for (path, expected) in rows {
            let found = found(&root, path);
            assert_eq!(found.as_deref().map_err(|errno| *errno), expected, "{path}, walk: {walk}");
        }
        assert_eq!(root.walk.get(), walk, "this kernel has openat2");
        // Now that it was looked at, the kernel has it at hand. It says the same, or that it would have to wait.
        let at_hand = Root::open(&top.path().join("root"), Reach::Cached).unwrap();
        for (path, expected) in rows {
            match at_hand.find(Path::new(path)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(!["", "file", "a/b/file", "missing"].contains(&path), "{path} is at hand");
                }
                _ => assert_eq!(found(&at_hand, path), expected.map(str::to_owned), "{path}"),
            }
        }
        // What the request's path can hold is checked elsewhere; it makes no difference here.
        assert!(root.find(Path::new("../secret/file")).is_err());
        assert!(root.find(&top.path().join("secret/file")).is_err());
    }
}

#[test]
fn more_links_than_the_kernel_follows() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("0"), "end").unwrap();
    for n in 1..=41 {
        symlink((n - 1).to_string(), top.path().join(n.to_string())).unwrap();
    }
    for walk in [false, true] {
        let root = Root::open(top.path(), Reach::Disk).unwrap();
        root.walk.set(walk);
        let ends = [found(&root, "40"), found(&root, "41")];
        assert_eq!(ends, [Ok("end".to_owned()), Err(Errno::LOOP)], "walk: {walk}");
    }
}

#[test]
fn the_folder_itself_may_be_a_link() {
    let top = tree();
    symlink("root", top.path().join("link")).unwrap();
    assert_eq!(
        found(&Root::open(&top.path().join("link"), Reach::Disk).unwrap(), "file"),
        Ok("top".to_owned())
    );
    for (path, expected) in [("nothing", Errno::NOENT), ("root/file", Errno::NOTDIR)] {
        let error = Root::open(&top.path().join(path), Reach::Disk).err().unwrap();
        assert_eq!(Errno::from_io_error(&error), Some(expected), "{path}");
    }
}

#[test]
fn a_pipe_is_not_even_opened() {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let top = tree();
    let events = init(CreateFlags::NONBLOCK).unwrap();
    add_watch(&events, top.path().join("root/pipe"), WatchFlags::OPEN).unwrap();
    add_watch(&events, top.path().join("root/file"), WatchFlags::OPEN).unwrap();
    let root = Root::open(&top.path().join("root"), Reach::Disk).unwrap();
    assert_eq!(found(&root, "pipe").as_deref(), Ok("special"));
    assert_eq!(rustix::io::read(&events, &mut [0; 64]), Err(Errno::AGAIN));
    assert_eq!(found(&root, "file").as_deref(), Ok("top"));
    assert!(rustix::io::read(&events, &mut [0; 64]).is_ok());
}
