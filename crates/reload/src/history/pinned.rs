//! Contents that must not be, or must not be twice, in revision files: pinned files by their digest, secrets by a keyed
//! one. Only the owner can read them.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use evergate_conf::{Digest, Node, format::json::to_json};

use super::{format::tree, sync_dir, write_whole};

/// The directory.
#[derive(Clone)]
pub(super) struct Pinned {
    dir: Arc<Path>,
    /// Makes names of secrets, so that they tell nothing of them.
    key: [u8; 32],
}

/// Secrets may be short, so that their plain digest would give them away.
const SECRET: &str = "s-";
const KEY: &str = "key";

impl Pinned {
    pub(super) fn open(dir: PathBuf) -> io::Result<Pinned> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let path = dir.join(KEY);
        let key = match fs::read(&path).map(<[u8; 32]>::try_from) {
            Ok(Ok(key)) => key,
            Ok(Err(_)) => new_key(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => new_key(&path)?,
            Err(error) => return Err(error),
        };
        Ok(Pinned { dir: dir.into(), key })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// Keeps contents under their names; those that are there already are left alone. When this returns, all
    /// survive a loss of power.
    pub(super) fn keep(&self, contents: &[(String, Arc<[u8]>)]) -> io::Result<()> {
        /// Syncing a whole file system costs about as much as syncing this many files.
        const FILES_SYNCED_ALONE: usize = 8;
        let there = |name: &str, bytes: &[u8]| {
            fs::metadata(self.dir.join(name)).is_ok_and(|m| m.len() == bytes.len() as u64)
        };
        let mut missing: Vec<_> = contents.iter().filter(|(name, bytes)| !there(name, bytes)).collect();
        missing.sort();
        missing.dedup_by(|a, b| a.0 == b.0);
        if missing.is_empty() {
            return Ok(());
        }
        let temporary = |name: &str| self.dir.join(format!("{name}.tmp"));
        for (name, bytes) in &missing {
            let path = temporary(name);
            let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
            file.write_all(bytes)?;
            if missing.len() <= FILES_SYNCED_ALONE {
                file.sync_all()?;
            }
        }
        if missing.len() > FILES_SYNCED_ALONE {
            rustix::fs::syncfs(File::open(&self.dir)?)?;
        }
        for (name, _) in &missing {
            fs::rename(temporary(name), self.dir.join(name))?;
        }
        sync_dir(&self.dir)
    }

    /// The name under which a secret is kept, and what is kept.
    pub(super) fn seal(&self, secret: &Node) -> (String, Arc<[u8]>) {
        let text = to_json(secret);
        (self.secret_name(&text), text.into_bytes().into())
    }

    fn secret_name(&self, text: &str) -> String {
        format!("{SECRET}{}", blake3::keyed_hash(&self.key, text.as_bytes()).to_hex())
    }

    /// The secret of that name; `None` if it is not there or was changed.
    pub(super) fn unseal(&self, name: &str) -> Option<Node> {
        let hex = name.strip_prefix(SECRET)?;
        // A name comes from a file and must not lead elsewhere.
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
        let text = fs::read_to_string(self.dir.join(name)).ok()?;
        (self.secret_name(&text) == name).then_some(())?;
        tree(&text).ok()
    }

    /// The content of that digest; `None` if it is not there or was changed.
    pub(super) fn content(&self, digest: Digest) -> Option<Arc<[u8]>> {
        let bytes = fs::read(self.dir.join(digest.hex())).ok()?;
        (Digest::of(&bytes) == digest).then(|| bytes.into())
    }

    /// Deletes what nobody needs any more.
    pub(super) fn retain(&self, needed: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_none_or(|n| n != KEY && !needed(n)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn new_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    write_whole(path, 0o600, |file| file.write_all(&key))?;
    Ok(key)
}
