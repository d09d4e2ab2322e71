//! One load: from roots through includes to the files in their order.

use std::{
    collections::{BTreeMap, HashSet},
    io::Read,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use super::{Input, InputKind, Loader, top_of};
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
        let mut names: Vec<String> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect(),
            Err(error) => {
                self.unreadable(folder, from, &error);
                Vec::new()
            }
        };
        names.retain(|name| !name.starts_with('.') && wanted(name) && !folder.join(name).is_dir());
        names.sort();
        let digest = Some(Digest::of(names.join("\0").as_bytes()));
        self.inputs.insert((absolute(folder), InputKind::Folder), digest);
        names.iter().map(|name| folder.join(name)).collect()
    }

    /// A file, after all that it includes. `from` is where it was included.
    fn file(&mut self, path: &FsPath, from: Option<Place>) {
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| absolute(path));
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
        let Some(document) = self.read(path, from) else { return };
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
        let own = std::fs::canonicalize(by).ok();
        for file in files.iter().filter(|file| std::fs::canonicalize(file).ok() != own) {
            self.file(file, Some(place));
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

    fn read(&mut self, path: &FsPath, from: Option<Place>) -> Option<Arc<Document>> {
        let key = absolute(path);
        let input = (key.clone(), InputKind::Document);
        let bytes = match read_bytes(path, self.loader.limits.bytes) {
            Ok(bytes) => bytes,
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
        let known = self.loader.cache.get(&key).filter(|d| d.digest == digest && d.file == file);
        let document = match known.map(Arc::clone) {
            Some(document) => document,
            None => self.parse(path, &text, digest, file, &folder)?,
        };
        self.loader.cache.insert(key.clone(), Arc::clone(&document));
        self.used.insert(key);
        Some(document)
    }

    fn parse(
        &mut self,
        path: &FsPath,
        text: &str,
        digest: Digest,
        file: FileId,
        folder: &FsPath,
    ) -> Option<Arc<Document>> {
        let mut report = Report::new();
        let format = Format::of_name(path).unwrap_or_else(|| Format::of_text(text));
        let node = self.loader.parse(text, format, file, folder, &mut report);
        let document = node.map(|node| {
            let (node, includes) = take_includes(node, &mut report);
            Arc::new(Document { digest, file, includes, node })
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

/// Content of a file, one byte over the limit at most: the reader then says that it is too long.
fn read_bytes(path: &FsPath, limit: usize) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
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
