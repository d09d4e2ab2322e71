//! Resolves a path as `openat2` with `RESOLVE_BENEATH` does, for where that does not exist: one name at a
//! time, each from a folder that is open already, links read by hand.

use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, openat, readlinkat},
    io::{Errno, Result},
};

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Opens `path` below `root` with these flags.
pub(super) fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    // The folders entered so far; `..` leaves the last one.
    let mut within: Vec<OwnedFd> = Vec::new();
    let mut to_go = names(path)?;
    let mut links = 0;
    while let Some(name) = to_go.pop() {
        if name == ".." {
            within.pop().ok_or(Errno::XDEV)?;
            continue;
        }
        let here = within.last().map_or(root, AsFd::as_fd);
        let looking = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(here, &name, looking, Mode::empty())?;
        match FileType::from_raw_mode(fstat(&found)?.st_mode) {
            FileType::Directory => within.push(found),
            FileType::Symlink => {
                links += 1;
                if links > LINKS {
                    return Err(Errno::LOOP);
                }
                let link = readlinkat(&found, "", Vec::new())?;
                to_go.extend(names(&PathBuf::from(OsString::from_vec(link.into_bytes())))?);
            }
            _ if to_go.is_empty() => return openat(here, &name, flags | OFlags::NOFOLLOW, Mode::empty()),
            _ => return Err(Errno::NOTDIR),
        }
    }
    openat(within.last().map_or(root, AsFd::as_fd), ".", flags, Mode::empty())
}

/// The names of a relative path, the first one last.
fn names(path: &Path) -> Result<Vec<OsString>> {
    let name = |part: Component<'_>| match part {
        Component::Normal(_) | Component::ParentDir => Some(Ok(part.as_os_str().to_owned())),
        Component::CurDir => None,
        Component::RootDir | Component::Prefix(_) => Some(Err(Errno::XDEV)),
    };
    path.components().rev().filter_map(name).collect()
}
