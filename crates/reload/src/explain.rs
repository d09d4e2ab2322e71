//! Which layer set what runs, value by value.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use evergate_conf::{FileId, Node, Path, node::Value, report::Position};
use serde::Serialize;

use crate::{
    plan::{Redactor, redact},
    revision::Revision,
};

/// Where a value of the running document comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// Which value.
    pub path: Path,
    /// What it is; secrets are hidden.
    pub value: Node,
    /// What set it.
    pub layer: Layer,
    /// Where in a file, if it is from one that was read since the program started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Position>,
}

/// The layers of a document, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The files, or what lies below them.
    Base,
    /// Changes by API.
    Overlay,
}

/// Names of the files that places speak of.
pub(crate) type Names = Arc<HashMap<FileId, PathBuf>>;

/// Every value at or below a path of what runs. Empty if there is none.
pub(crate) fn explain(
    revision: &Revision,
    names: &Names,
    path: &Path,
    redactor: &Redactor,
) -> Vec<Explained> {
    let Some(node) = revision.document.at(path.keys()) else { return Vec::new() };
    let shown = redact(&revision.document, path, node, redactor);
    let mut found = Vec::new();
    leaves(&mut path.clone(), &shown, &mut |path, value| {
        let overlay = revision.layers.overlay.at(path.keys()).is_some();
        let layer = if overlay { Layer::Overlay } else { Layer::Base };
        let place = value.place;
        let file = names.get(&place.file).filter(|_| !overlay);
        let at = file.map(|file| Position { file: file.clone(), line: place.line, column: place.column });
        found.push(Explained { path: path.clone(), value: value.clone(), layer, at });
    });
    found
}

fn leaves(at: &mut Path, node: &Node, found: &mut dyn FnMut(&Path, &Node)) {
    match &node.value {
        Value::Map(map) if !map.is_empty() => {
            for entry in map.entries() {
                at.push(Arc::clone(&entry.key));
                leaves(at, &entry.node, found);
                at.pop();
            }
        }
        _ => found(at, node),
    }
}
