//! Opens what is below a folder, and nothing else.
//!
//! The kernel does it (`openat2` with `RESOLVE_BENEATH`, Linux 5.6): a link may lead anywhere below the folder,
//! but `..` above it and absolute links are refused. Where a kernel or a sandbox has no `openat2`, `walk` gives the
//! same answers step by step.

mod walk;

use std::{
    cell::Cell,
    fs::{File, Metadata},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

/// How far files are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What the kernel has in memory of file systems of this machine, and may be asked for by a thread that must not wait: everything
    /// else is `WouldBlock`.
    Cached,
    /// Wherever they are.
    Disk,
}

/// A folder, opened.
pub(crate) struct Root {
    folder: OwnedFd,
    pub(crate) reach: Reach,
    /// There is no `openat2`.
    walk: Cell<bool>,
}

/// What a path is.
#[derive(Debug)]
pub(crate) enum Found {
    /// A folder.
    Folder,
    /// A regular file, open for reading.
    File(File, Metadata),
    /// A device, pipe or socket. It was not opened: that alone may do something.
    Special,
}

/// `openat2` gives up with `EAGAIN` when something is renamed while it looks; so often it is asked again.
const TRIES: usize = 16;

impl Root {
    /// Opens the folder, which may itself be reached by links.
    pub(crate) fn open(path: &Path, reach: Reach) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match reach {
            Reach::Cached => cached(CWD, path, flags, ResolveFlags::empty())?,
            Reach::Disk => openat(CWD, path, flags, Mode::empty())?,
        };
        // Elsewhere opening is a question to somebody who may not answer.
        if reach == Reach::Cached && !evergate_conf::is_local(&folder) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Root { folder, reach, walk: Cell::new(false) })
    }

    /// Opens what is there; `path` is relative and empty for the folder itself.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Found> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let kind = File::from(self.resolve(path, OFlags::PATH)?).metadata()?;
        if kind.is_dir() {
            return Ok(Found::Folder);
        }
        if !kind.is_file() {
            return Ok(Found::Special);
        }
        // Not blocking, and no terminal of ours: it may have become something else since.
        let file = File::from(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        let metadata = file.metadata()?;
        Ok(if metadata.is_file() { Found::File(file, metadata) } else { Found::Special })
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if self.reach == Reach::Cached {
            // What is mounted below may be of another kind.
            return match cached(self.folder.as_fd(), path, flags, beneath | ResolveFlags::NO_XDEV) {
                Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                opened => opened,
            };
        }
        for _ in 0..TRIES {
            if self.walk.get() {
                return Ok(walk::open(self.folder.as_fd(), path, flags)?);
            }
            match openat2(&self.folder, path, flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN) => {}
                // Old sandboxes answer what they do not know with EPERM, which opening for reading never gives.
                Err(Errno::NOSYS | Errno::PERM) => self.walk.set(true),
                done => return Ok(done?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// Opens what is found without waiting (`RESOLVE_CACHED`, Linux 5.12).
fn cached(folder: BorrowedFd<'_>, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    match openat2(folder, path, flags, Mode::empty(), resolve | ResolveFlags::CACHED) {
        // Not at hand, or no way to ask: no `openat2`, or one that does not know this.
        Err(Errno::AGAIN | Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        done => Ok(done?),
    }
}

/// True if the error says that there is no such file below the folder.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    let absent = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::LOOP,
        Errno::XDEV,
        Errno::NAMETOOLONG,
        Errno::NXIO,
        Errno::INVAL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| absent.contains(&errno))
}

#[cfg(test)]
mod tests;
