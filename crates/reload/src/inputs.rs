//! The contents of the files that a document refers to, as they were when its transaction read them.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use evergate_conf::Digest;

use crate::revision::Pin;

/// Pinned files by path. Equal contents are shared; cloning is cheap.
#[derive(Clone, Default)]
pub struct Inputs {
    files: Arc<BTreeMap<Arc<Path>, Content>>,
}

/// What was found at a path.
#[derive(Clone)]
pub enum Content {
    /// Its bytes and their hash.
    Bytes(Arc<[u8]>, Digest),
    /// It could not be read.
    Unreadable(io::ErrorKind),
}

impl Inputs {
    /// No files.
    #[must_use]
    pub fn new() -> Inputs {
        Inputs::default()
    }

    /// The content of a file that the document refers to.
    ///
    /// # Errors
    /// Why it could not be read; `NotFound` also for a path that the document does not refer to.
    pub fn read(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        match self.files.get(path) {
            Some(Content::Bytes(bytes, _)) => Ok(Arc::clone(bytes)),
            Some(Content::Unreadable(kind)) => Err((*kind).into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Hash of the content; `None` if it could not be read or is not referred to.
    #[must_use]
    pub fn digest(&self, path: &Path) -> Option<Digest> {
        self.files.get(path).and_then(Content::digest)
    }

    /// What is known of a path.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Content> {
        self.files.get(path)
    }

    /// Adds what was found at a path.
    pub fn insert(&mut self, path: impl Into<Arc<Path>>, content: Content) {
        Arc::make_mut(&mut self.files).insert(path.into(), content);
    }

    /// Every file, in the order of paths.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Content)> {
        self.files.iter().map(|(path, content)| (path.as_ref(), content))
    }

    /// The pins of a revision that uses these.
    #[must_use]
    pub fn pins(&self) -> Arc<[Pin]> {
        let pin = |(path, content): (&Arc<Path>, &Content)| Pin {
            path: Arc::clone(path),
            digest: content.digest(),
        };
        self.files.iter().map(pin).collect()
    }
}

impl Content {
    /// Hash of the bytes, if it could be read.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Content::Bytes(_, digest) => Some(*digest),
            Content::Unreadable(_) => None,
        }
    }

    /// Reads a file now, of at most 64 MiB. If it holds what is known already, the known allocation is used again.
    #[must_use]
    pub fn of_file(path: &Path, known: Option<&Content>) -> Content {
        match read(path) {
            Ok(bytes) => {
                let digest = Digest::of(&bytes);
                match known {
                    Some(Content::Bytes(old, same)) if *same == digest => {
                        Content::Bytes(Arc::clone(old), digest)
                    }
                    _ => Content::Bytes(bytes.into(), digest),
                }
            }
            Err(error) => Content::Unreadable(error.kind()),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    const BYTES_MAX: u64 = 64 << 20;
    let metadata = std::fs::metadata(path)?;
    // Reading a pipe would wait for ever.
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if metadata.len() > BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    std::fs::read(path)
}

impl FromIterator<(PathBuf, Content)> for Inputs {
    fn from_iter<I: IntoIterator<Item = (PathBuf, Content)>>(files: I) -> Inputs {
        let files = files.into_iter().map(|(path, content)| (path.into(), content));
        Inputs { files: Arc::new(files.collect()) }
    }
}

/// Names and hashes only: contents may be secrets.
impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.files.keys().map(|path| (path, self.digest(path)))).finish()
    }
}
