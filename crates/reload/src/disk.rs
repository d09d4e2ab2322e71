//! Reads the files of a document, and the files that a document refers to.

use std::{
    collections::HashMap,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use evergate_conf::{Digest, FileId, Format, Input, InputKind, Loader, Node, Report, merge};

use crate::{
    engine::PinsFrom,
    explain::Names,
    history::Archive,
    inputs::{Content, Inputs},
    revision,
    watch::DiskTime,
};

pub(crate) struct Disk {
    loader: Loader,
    roots: Vec<PathBuf>,
    built_in: Option<Node>,
    folder: PathBuf,
    /// What the last reading of the files found that they refer to.
    fresh: Inputs,
    /// What the last reading looked at, whether or not it went well, and when it began.
    looked_at: (Vec<Input>, DiskTime),
}

impl Disk {
    pub(crate) fn new(loader: Loader, roots: Vec<PathBuf>, built_in: Option<Node>, folder: &FsPath) -> Disk {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let looked_at = (Vec::new(), DiskTime::now());
        Disk { loader, roots, built_in, folder, fresh: Inputs::new(), looked_at }
    }

    /// The files, merged, and the digest of them and of what they refer to. Without distrust those are read that may have changed.
    pub(crate) fn load(&mut self, known: &Inputs, distrust: bool) -> Result<(Node, Digest), Report> {
        let read_at = DiskTime::now();
        if distrust {
            self.loader.distrust();
        }
        let loaded = if self.roots.is_empty() { None } else { Some(self.loader.load(&self.roots)) };
        let inputs = if loaded.is_some() { self.loader.inputs().to_vec() } else { Vec::new() };
        self.looked_at = (inputs, read_at);
        let files = loaded.transpose()?.map(|l| l.document);
        let base = match (&self.built_in, files) {
            (Some(below), Some(files)) => merge(below, &files),
            (Some(only), None) => only.clone(),
            (None, files) => files.unwrap_or_else(Node::empty_map),
        };
        self.fresh = self.referred(&base, |path| Ok(Content::of_file(path, known.get(path))))?;
        let digest = revision::digest(&base, &self.fresh.pins());
        Ok((base, digest))
    }

    /// Reads what may have changed while nobody waits for it yet.
    pub(crate) fn read_ahead(&mut self) {
        self.loader.read_ahead(&self.roots);
    }

    /// A text that came with a draft.
    pub(crate) fn parse(&mut self, text: &str, format: Format) -> Result<Node, Report> {
        self.loader.parse_str("request", &self.folder, text, format)
    }

    /// The files that a document refers to.
    pub(crate) fn inputs(
        &self,
        document: &Node,
        from: &PinsFrom,
        live: &Inputs,
        archive: &Archive,
    ) -> Result<Inputs, Report> {
        let PinsFrom::Kept(pins) = from else {
            return self.referred(document, |path| match self.fresh.get(path) {
                Some(content) => Ok(content.clone()),
                None => Ok(Content::of_file(path, live.get(path))),
            });
        };
        self.referred(document, |path| {
            let at = pins.binary_search_by(|pin| pin.path.as_ref().cmp(path)).ok();
            let Some(digest) = at.and_then(|i| pins.get(i)).and_then(|pin| pin.digest) else {
                return Ok(Content::of_file(path, live.get(path)));
            };
            match live.get(path) {
                Some(Content::Bytes(bytes, same)) if *same == digest => {
                    Ok(Content::Bytes(Arc::clone(bytes), digest))
                }
                _ => archive.content(digest).map(|bytes| Content::Bytes(bytes, digest)).ok_or(()),
            }
        })
    }

    fn referred(
        &self,
        document: &Node,
        mut content: impl FnMut(&FsPath) -> Result<Content, ()>,
    ) -> Result<Inputs, Report> {
        let (mut found, mut report) = (Inputs::new(), Report::new());
        for Input { path, .. } in self.loader.references(document) {
            match content(&path) {
                Ok(content) => found.insert(path, content),
                Err(()) => {
                    report.file_problem("history", &path, "its content of then is not kept");
                }
            }
        }
        if report.has_errors() { Err(report) } else { Ok(found) }
    }

    /// What to watch: all that decides what the files say, and what `document` refers to.
    pub(crate) fn watched(&self, document: Option<&Inputs>) -> (Vec<Input>, DiskTime) {
        let (mut inputs, read_at) = self.looked_at.clone();
        for (path, _) in document.into_iter().flat_map(Inputs::iter) {
            let digest = document.and_then(|d| d.digest(path));
            inputs.push(Input { path: path.to_owned(), kind: InputKind::Reference, digest });
        }
        (inputs, read_at)
    }

    /// Adds file names and lines to a report.
    pub(crate) fn locate(&self, report: &mut Report) {
        report.locate(self.loader.files());
    }

    /// The names of all files that places may speak of.
    pub(crate) fn names(&self) -> Names {
        let files = self.loader.files();
        let name = |id| files.name(FileId(id)).map(|name| (FileId(id), name.to_owned()));
        Arc::new((1..=u16::MAX).map_while(name).collect::<HashMap<_, _>>())
    }

    /// A transaction is over: frees what it read.
    pub(crate) fn forget(&mut self) {
        self.loader.files_mut().forget_texts();
        self.fresh = Inputs::new();
    }
}
