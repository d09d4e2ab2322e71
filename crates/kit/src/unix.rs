//! Unix sockets with their files: a socket that nobody answers on is replaced, one that lives is not, and the file
//! goes with its owner.
//!
//! Knows nothing of what is spoken. Blocks on the file system: for who builds, not for who serves.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use crate::fds::{self, Fds, Lease};

/// Why a Unix socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Somebody answers on it.
    #[error("another process answers on {0}")]
    Taken(PathBuf),
    /// There is a file of that name that is no socket.
    #[error("{0} exists and is no socket")]
    NoSocket(PathBuf),
    /// It cannot be made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The file of a listening Unix socket. Dropped, it is removed, unless another one stands in its place, or another
/// process goes on with it. It is to be dropped before the socket: until then the kernel gives its inode to no other file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
    gone: AtomicBool,
    lease: Lease,
}

impl SocketFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode)
    }

    /// Changes who may connect.
    ///
    /// # Errors
    /// That of the file system. None if another socket stands there now.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        if self.gone.load(Ordering::Acquire) || !self.is_ours() {
            return Ok(());
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
    }

    /// Removes it now: nobody finds the socket any more.
    pub fn remove(&self) {
        // Another process may have put its own socket there since.
        if self.lease.is_ours() && !self.gone.swap(true, Ordering::AcqRel) && self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes a Unix socket of that mode, and its folder if that is missing. A socket that nobody answers on is replaced; that
/// of the process before is taken, if its file is still there.
///
/// # Errors
/// If somebody answers there, another kind of file stands there, or the file system refuses.
pub fn listen(path: &Path, mode: u32, fds: &Fds) -> Result<(UnixListener, SocketFile), UnixError> {
    let name = fds::unix(path);
    if let Some((socket, lease)) = fds.inherit(&name)
        && let Ok(inode) = fs::symlink_metadata(path).map(|found| found.ino())
    {
        let file = SocketFile { path: path.to_owned(), inode, gone: AtomicBool::new(false), lease };
        return Ok((socket.into(), file));
    }
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        fs::create_dir_all(folder)?;
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e.into()),
        Ok(found) if !found.file_type().is_socket() => return Err(UnixError::NoSocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(UnixError::Taken(path.to_owned())),
            // Removed since, or nobody answers.
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
            Err(e) => return Err(e.into()),
        },
    }
    let (listener, inode) = make(path, mode)?;
    let lease = fds.hold(&name, &listener);
    Ok((listener, SocketFile { path: path.to_owned(), inode, gone: AtomicBool::new(false), lease }))
}

/// Under another name first: the real name then appears with the right mode, and replaces a stale one in one step.
fn make(path: &Path, mode: u32) -> io::Result<(UnixListener, u64)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let draft = path.with_file_name(format!(".{}-{number}", std::process::id()));
    let _ = fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    let named = fs::set_permissions(&draft, fs::Permissions::from_mode(mode))
        .and_then(|()| fs::symlink_metadata(&draft))
        .and_then(|m| fs::rename(&draft, path).map(|()| m.ino()));
    match named {
        Ok(inode) => Ok((listener, inode)),
        Err(e) => {
            let _ = fs::remove_file(&draft);
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), UnixError> {
        super::listen(path, mode, &Fds::default())
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_has_its_mode_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/a.sock");
        let (_socket, file) = listen(&path, 0o600).unwrap();
        assert_eq!((mode(&path), file.path()), (0o600, &*path));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        file.set_mode(0o666).unwrap();
        assert_eq!(mode(&path), 0o666);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (socket, file) = listen(&path, 0o600).unwrap();
        assert!(matches!(listen(&path, 0o600), Err(UnixError::Taken(_))));
        // A crash leaves the file behind.
        let copy = dir.path().join("copy");
        fs::hard_link(&path, &copy).unwrap();
        drop((file, socket));
        fs::rename(&copy, &path).unwrap();
        let new = listen(&path, 0o600).unwrap();
        assert!(path.exists());
        drop(new);
        fs::write(&path, "mine").unwrap();
        assert!(matches!(listen(&path, 0o600), Err(UnixError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_socket_that_another_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (_socket, file) = listen(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        let before = mode(&path);
        file.set_mode(0o111).unwrap();
        assert_eq!(mode(&path), before);
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn the_next_process_takes_the_socket_and_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let before = Fds::default();
        let (socket, file) = super::listen(&path, 0o600, &before).unwrap();
        let left = vec![(fds::unix(&path), socket.try_clone().unwrap().into())];
        let (taken, _file) = super::listen(&path, 0o600, &Fds::new(left, None)).unwrap();
        before.leave();
        drop((file, socket));
        let _client = UnixStream::connect(&path).unwrap();
        taken.accept().unwrap();
    }
}
