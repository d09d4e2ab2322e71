//! Certificates of a document, read from pinned files: all at once where there are many, and only those that changed.

use std::{
    cmp::Ordering as Compare,
    collections::BTreeSet,
    path::Path as FsPath,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use evergate_contract::config::{Certificate, Name, Objects};
use evergate_reload::{Inputs, inputs::Content};
use evergate_tls::{Credential, Pem, PemError};

use super::{Builder, object};
use crate::snapshot::Credentials;

/// A thread is worth starting for so many certificates; reading one takes about 100 µs.
const PER_THREAD: usize = 64;

/// What is wrong with a certificate: a key of the document, and why.
type Faults = Vec<(&'static str, String)>;

impl Builder<'_> {
    /// All certificates; those that could not be read are reported and left out.
    pub(super) fn credentials(&mut self) -> Credentials {
        let nothing = (Credentials::default(), Objects::new());
        let known = self.before.map(|b| (&b.snapshot.credentials, &b.config.certificates));
        // Without the files before, nobody knows which of them changed.
        let (old, objects) =
            known.filter(|_| self.inputs_before.is_some()).unwrap_or((&nothing.0, &nothing.1));
        let config = self.config;
        let (mut wanted, mut changes) = (Vec::new(), Vec::new());
        for pair in objects.pairs(&config.certificates) {
            match pair {
                (Some((_, old)), Some((_, new))) if Arc::ptr_eq(old, new) => {}
                (_, Some((name, certificate))) => wanted.push((name, certificate)),
                (Some((name, _)), None) => changes.push((name.clone(), None)),
                (None, None) => {}
            }
        }
        if let Some(before) = self.inputs_before {
            wanted.extend(touched(&config.certificates, objects, &changed(before, self.inputs)));
        }
        let read = read_all(&wanted, |certificate| self.read(certificate));
        for ((name, certificate), read) in wanted.into_iter().zip(read) {
            match read {
                Ok(credential) => {
                    if let (Some(why), Some(ocsp)) = (credential.not_stapled, &certificate.ocsp) {
                        tracing::warn!(certificate = %name, file = %ocsp.0.display(), "OCSP response is not stapled: {why}");
                    }
                    changes.push((name.clone(), Some(credential)));
                }
                Err(faults) => {
                    for (field, message) in faults {
                        let code = if message.starts_with("cannot read") { "file" } else { "certificate" };
                        self.problem(code, &object("certificates", name).join(field), message);
                    }
                }
            }
        }
        if changes.is_empty() {
            return old.clone();
        }
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        old.with(&changes)
    }

    fn read(&self, certificate: &Certificate) -> Result<Arc<Credential>, Faults> {
        let file = |field, path: &FsPath| {
            let read = self.inputs.read(path);
            read.map_err(|error| (field, format!("cannot read {}: {error}", path.display())))
        };
        let (cert, key) = (file("cert", &certificate.cert.0), file("key", &certificate.key.0));
        let ocsp = certificate.ocsp.as_ref().map(|path| file("ocsp", &path.0)).transpose();
        let (cert, key, ocsp) = match (cert, key, ocsp) {
            (Ok(cert), Ok(key), Ok(ocsp)) => (cert, key, ocsp),
            (cert, key, ocsp) => {
                return Err([cert.err(), key.err(), ocsp.err()].into_iter().flatten().collect());
            }
        };
        let cert = Pem { path: &certificate.cert.0, bytes: &cert };
        let key = Pem { path: &certificate.key.0, bytes: &key };
        let loaded = Credential::load(&self.shop.keep, &self.shop.crypto, cert, key, ocsp.as_deref());
        let fault = |error: PemError| {
            (if error.path == certificate.key.0 { "key" } else { "cert" }, error.to_string())
        };
        loaded.map_err(|errors| errors.into_iter().map(fault).collect())
    }
}

/// Paths whose content is not what it was.
fn changed<'a>(before: &'a Inputs, now: &'a Inputs) -> BTreeSet<&'a FsPath> {
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    let mut changed = BTreeSet::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((old, _)), Some((new, _))) => old.cmp(new),
            (Some(_), None) => Compare::Less,
            (None, Some(_)) => Compare::Greater,
            (None, None) => return changed,
        };
        let (old, new) = match order {
            Compare::Less => (old.next(), None),
            Compare::Greater => (None, new.next()),
            Compare::Equal => (old.next(), new.next()),
        };
        let same = matches!((old, new), (Some((_, a)), Some((_, b))) if same(a, b));
        if let Some((path, _)) = new.or(old).filter(|_| !same) {
            changed.insert(path);
        }
    }
}

fn same(a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::Bytes(a, digest), Content::Bytes(b, other)) => Arc::ptr_eq(a, b) || digest == other,
        _ => false,
    }
}

/// Certificates that are written as before, but whose files changed.
fn touched<'a>(
    now: &'a Objects<Certificate>,
    before: &Objects<Certificate>,
    changed: &BTreeSet<&FsPath>,
) -> Vec<(&'a Name, &'a Arc<Certificate>)> {
    if changed.is_empty() {
        return Vec::new();
    }
    let has = |certificate: &Certificate| {
        let ocsp = certificate.ocsp.as_ref();
        let mut files = [Some(&certificate.cert), Some(&certificate.key), ocsp].into_iter().flatten();
        files.any(|file| changed.contains(&*file.0))
    };
    let is_as_before =
        |name: &Name, certificate| before.get(name).is_some_and(|old| Arc::ptr_eq(old, certificate));
    now.iter().filter(|(name, certificate)| has(certificate) && is_as_before(name, certificate)).collect()
}

/// Reads all, on every core if they are many; results in the order of what is wanted.
fn read_all<T: Send>(
    wanted: &[(&Name, &Arc<Certificate>)],
    read: impl Fn(&Certificate) -> T + Sync,
) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(wanted.len() / PER_THREAD);
    if threads < 2 {
        return wanted.iter().map(|(_, certificate)| read(certificate)).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::with_capacity(wanted.len() / threads);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((_, certificate)) = wanted.get(number) else { return done };
            done.push((number, read(certificate)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for thread in others {
            match thread.join() {
                Ok(done) => all.extend(done),
                // A defect of ours; as if it had happened on this thread.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, read)| read).collect()
}
