//! One load: from roots through includes to the files in their order.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{File, Metadata},
    io::Read,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{
    Input, InputKind, Loader,
    again::again,
    stamp::{self, Stamp},
    top_of,
};
use crate::{
    format::Format,
    node::{Digest, FileId, Map, Node, Place, Value},
    path::Path,
    report::Report,
};

/// Includes within includes.
const DEPTH_MAX: usize = 32;

/// A file as it is kept from load to load: variables and paths done, `include` taken out.
pub(super) struct Document {
    digest: Digest,
    file: FileId,
    includes: Vec<(Arc<str>, Place)>,
    pub(super) node: Node,
}

/// A document that is kept, and how its file looked.
pub(super) struct Cached {
    document: Arc<Document>,
    /// While the file looks so, it says the same; `None` if its looks do not tell.
    stamp: Option<Stamp>,
}

impl Cached {
    pub(super) fn distrust(&mut self) {
        self.stamp = None;
    }
}

/// A document that is to be read, and what it was.
struct Unread<'a> {
    digest: Digest,
    file: FileId,
    before: Option<&'a Node>,
}

pub(super) struct Run<'a> {
    loader: &'a mut Loader,
    report: Report,
    inputs: BTreeMap<(PathBuf, InputKind), Option<Digest>>,
    documents: Vec<Arc<Document>>,
    /// Files that have been named, by their real path.
    seen: HashSet<PathBuf>,
    /// Files that are being read, each included by the one before.
    inside: Vec<PathBuf>,
    /// Paths whose documents are still of use.
    used: HashSet<PathBuf>,
    /// Where folders really are.
    folders: HashMap<PathBuf, PathBuf>,
}

impl<'a> Run<'a> {
    pub(super) fn new(loader: &'a mut Loader) -> Run<'a> {
        Run {
            loader,
            report: Report::new(),
            inputs: BTreeMap::new(),
            documents: Vec::new(),
            seen: HashSet::new(),
            inside: Vec::new(),
            used: HashSet::new(),
            folders: HashMap::new(),
        }
    }

    pub(super) fn done(self) -> (Vec<Arc<Document>>, Vec<Input>, Report) {
        let used = self.used;
        self.loader.cache.retain(|path, _| used.contains(path));
        let inputs =
            self.inputs.into_iter().map(|((path, kind), digest)| Input { path, kind, digest }).collect();
        (self.documents, inputs, self.report)
    }

    /// A file or a folder that was asked for.
    pub(super) fn root(&mut self, path: &FsPath) {
        if !path.is_dir() {
            return self.file(path, None);
        }
        let files = self.folder(path, |name| Format::of_name(FsPath::new(name)).is_some(), None);
        if files.is_empty() {
            let message = "no *.yaml, *.yml, *.toml or *.json in this folder";
            self.report.file_problem("empty", path, message);
        }
        files.iter().for_each(|file| self.file(file, None));
    }

    /// The files of a folder that are wanted, in the order of their names.
    fn folder(
        &mut self,
        folder: &FsPath,
        wanted: impl Fn(&str) -> bool,
        from: Option<Place>,
    ) -> Vec<PathBuf> {
        let name = |entry: std::fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let wanted = !name.starts_with('.') && wanted(&name);
            // The folder says of most what they are; of a link it does not say where it leads.
            let is_file = || entry.file_type().is_ok_and(|t| t.is_file());
            (wanted && (is_file() || !folder.join(&name).is_dir())).then_some(name)
        };
        let mut names: Vec<String> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(|e| name(e.ok()?)).collect(),
            Err(error) => {
                self.unreadable(folder, from, &error);
                Vec::new()
            }
        };
        names.sort();
        let digest = Some(Digest::of(names.join("\0").as_bytes()));
        self.inputs.insert((absolute(folder), InputKind::Folder), digest);
        names.iter().map(|name| folder.join(name)).collect()
    }

    /// A file, after all that it includes. `from` is where it was included.
    fn file(&mut self, path: &FsPath, from: Option<Place>) {
        let (real, metadata) = self.real(path);
        self.found(path, real, metadata.as_ref(), from);
    }

    /// Where a file really is, and what the system says of it.
    fn real(&mut self, path: &FsPath) -> (PathBuf, Option<Metadata>) {
        if let Some(full) = self.in_real_folder(path)
            && let Ok(metadata) = std::fs::symlink_metadata(&full)
            && metadata.is_file()
        {
            return (full, Some(metadata));
        }
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| absolute(path));
        let metadata = std::fs::metadata(&real).ok();
        (real, metadata)
    }

    /// A path without links but perhaps the last. Of a hundred files in a folder the way there is looked at once.
    fn in_real_folder(&mut self, path: &FsPath) -> Option<PathBuf> {
        let (folder, name) = (path.parent()?, path.file_name()?);
        if let Some(real) = self.folders.get(folder) {
            return Some(real.join(name));
        }
        let shown = if folder.as_os_str().is_empty() { FsPath::new(".") } else { folder };
        let real = std::fs::canonicalize(shown).ok()?;
        let full = real.join(name);
        self.folders.insert(folder.to_owned(), real);
        Some(full)
    }

    fn found(&mut self, path: &FsPath, real: PathBuf, metadata: Option<&Metadata>, from: Option<Place>) {
        if let Some(place) = from
            && self.inside.contains(&real)
        {
            let message = format!("`{}` includes itself", path.display());
            self.report.problem("include", &include_key(), place, message);
            return;
        }
        if let Some(place) = from.filter(|_| self.inside.len() > DEPTH_MAX) {
            let message = format!("includes nested deeper than {DEPTH_MAX} files");
            self.report.problem("limit", &include_key(), place, message);
            return;
        }
        if !self.seen.insert(real.clone()) {
            return;
        }
        let Some(document) = self.document(path, metadata, from) else { return };
        self.inside.push(real);
        for (text, place) in &document.includes {
            self.include(path, text, *place);
        }
        self.inside.pop();
        self.documents.push(document);
    }

    /// A path, a folder, or a name with stars in a folder; relative to the file that says it.
    fn include(&mut self, by: &FsPath, text: &str, place: Place) {
        let path = by.parent().unwrap_or(FsPath::new("")).join(text);
        if path.is_dir() {
            let files = self.folder(&path, |name| Format::of_name(FsPath::new(name)).is_some(), Some(place));
            return self.included(by, &files, place);
        }
        if !text.contains('*') {
            return self.file(&path, Some(place));
        }
        let (folder, name) = (path.parent().unwrap_or(FsPath::new("")), path.file_name());
        let Some(pattern) = name.and_then(|n| n.to_str()).filter(|_| !has_star(folder)) else {
            let message = format!("`{text}`: stars can stand in the last part of a path only");
            self.report.problem("include", &include_key(), place, message);
            return;
        };
        let folder = if folder.as_os_str().is_empty() { FsPath::new(".") } else { folder };
        let files = self.folder(folder, |name| star_matches(pattern, name), Some(place));
        self.included(by, &files, place);
    }

    /// What a pattern found; a file that finds itself is not meant.
    fn included(&mut self, by: &FsPath, files: &[PathBuf], place: Place) {
        let (own, _) = self.real(by);
        for file in files {
            let (real, metadata) = self.real(file);
            if real != own {
                self.found(file, real, metadata.as_ref(), Some(place));
            }
        }
    }

    fn unreadable(&mut self, path: &FsPath, from: Option<Place>, error: &std::io::Error) {
        match from {
            Some(place) => {
                let message = format!("cannot read `{}`: {error}", path.display());
                self.report.problem("unreadable", &include_key(), place, message);
            }
            None => {
                self.report.file_problem("unreadable", path, format!("cannot read: {error}"));
            }
        }
    }

    /// A file as it was, if it looks as it did, or read.
    fn document(
        &mut self,
        path: &FsPath,
        metadata: Option<&Metadata>,
        from: Option<Place>,
    ) -> Option<Arc<Document>> {
        let key = absolute(path);
        let known = self.loader.cache.get(&key);
        let Some(Cached { document, stamp: Some(stamp) }) = known else { return self.read(path, key, from) };
        if metadata.map(Stamp::of) != Some(*stamp) {
            return self.read(path, key, from);
        }
        let document = Arc::clone(document);
        let folder = key.parent().unwrap_or(FsPath::new("/"));
        if self.loader.files.on_disk(path, folder) != document.file {
            return self.read(path, key, from);
        }
        self.inputs.insert((key.clone(), InputKind::Document), Some(document.digest));
        self.used.insert(key);
        Some(document)
    }

    fn read(&mut self, path: &FsPath, key: PathBuf, from: Option<Place>) -> Option<Arc<Document>> {
        let input = (key.clone(), InputKind::Document);
        let now = (self.loader.now)();
        let (bytes, stamp) = match read_bytes(path, self.loader.limits.bytes, now) {
            Ok(read) => read,
            Err(error) => {
                self.inputs.insert(input, None);
                self.unreadable(path, from, &error);
                return None;
            }
        };
        let digest = Digest::of(&bytes);
        self.inputs.insert(input, Some(digest));
        let text: Arc<str> = match String::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => {
                let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
                let line = 1 + memchr::memchr_iter(b'\n', good).count();
                self.report.file_problem("syntax", path, format!("line {line} is not UTF-8 text"));
                return None;
            }
        };
        let folder = key.parent().unwrap_or(FsPath::new("/")).to_owned();
        let file = self.loader.files.file(path, &folder, Some(Arc::clone(&text)));
        if file == FileId::NONE {
            self.report.file_problem("limit", path, "too many files");
            return None;
        }
        let known = self.loader.cache.get(&key).map(|cached| &cached.document);
        let document = match known.filter(|d| d.digest == digest && d.file == file) {
            Some(document) => Arc::clone(document),
            None => {
                let before = known.map(Arc::clone);
                let new = Unread { digest, file, before: before.as_ref().map(|before| &before.node) };
                let new = self.parse(path, &text, new, &folder)?;
                Arc::new(match before {
                    Some(before) => Document { node: again(&before.node, new.node), ..new },
                    None => new,
                })
            }
        };
        self.loader.cache.insert(key.clone(), Cached { document: Arc::clone(&document), stamp });
        self.used.insert(key);
        Some(document)
    }

    fn parse(
        &mut self,
        path: &FsPath,
        text: &str,
        Unread { digest, file, before }: Unread<'_>,
        folder: &FsPath,
    ) -> Option<Document> {
        let mut report = Report::new();
        let format = Format::of_name(path).unwrap_or_else(|| Format::of_text(text));
        let node = self.loader.parse((text, format, file), folder, before, &mut report);
        let document = node.map(|node| {
            let (node, includes) = take_includes(node, &mut report);
            Document { digest, file, includes, node }
        });
        let good = !report.has_errors();
        self.report.append(report);
        // With problems it is of no use later, but its includes may have some too.
        if !good && let Some(document) = &document {
            for (text, place) in &document.includes {
                self.include(path, text, *place);
            }
        }
        document.filter(|_| good)
    }
}

fn include_key() -> Path {
    Path::from(["include"])
}

fn absolute(path: &FsPath) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn has_star(path: &FsPath) -> bool {
    path.to_string_lossy().contains('*')
}

/// Content of a file, one byte over the limit at most: the reader then says that it is too long. Of the two looks at it the
/// stamp is of the first: what changes meanwhile changes it.
fn read_bytes(path: &FsPath, limit: usize, now: SystemTime) -> std::io::Result<(Vec<u8>, Option<Stamp>)> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let stamp = stamp::before_reading(&file, &metadata, now);
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let expected = usize::try_from(metadata.len().min(most)).unwrap_or(limit);
    let mut bytes = Vec::with_capacity(expected.saturating_add(1));
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes, stamp))
}

/// The document without its `include`, and what that says.
fn take_includes(node: Node, report: &mut Report) -> (Node, Vec<(Arc<str>, Place)>) {
    let Some(map) = node.as_map() else { return (node, Vec::new()) };
    let Some(written) = map.get("include") else { return (node, Vec::new()) };
    let items = match &written.value {
        Value::List(items) => items.to_vec(),
        _ => vec![written.clone()],
    };
    let mut includes = Vec::new();
    for item in items {
        match &item.value {
            Value::Str(text) if !text.is_empty() => includes.push((Arc::clone(text), item.place)),
            _ => {
                let place = if item.place.line > 0 { item.place } else { top_of(item.place.file) };
                report.problem("type", &include_key(), place, "expected a path or a list of paths");
            }
        }
    }
    let rest = map.entries().filter(|e| e.key.as_ref() != "include").cloned().collect();
    (Node { value: Value::Map(Arc::new(Map::new(rest))), place: node.place }, includes)
}

/// `*` stands for any characters.
fn star_matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = name.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", ".yaml", true),
            ("*.yaml", "a.yml", false),
            ("a*", "a", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "x", true),
            ("**", "x", true),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(star_matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
