//! Scenes: a document, what is asked of it, and what must come back, in one readable file.
//!
//! The author writes each once; [`run`](run::run) multiplies: HTTP/1.1, HTTP/2 and HTTP/3, in clear text and over TLS, in a fresh
//! process and by a change from the scene before it, quiet and under constant reloads. All must answer alike.
//!
//! In a scene's text `@v1@` and `@v2@` are URLs of two backends, `@dead@` one where nobody listens, and `@dir@` the folder of
//! the scene's files. A document gets two listeners, `clear` and `tls`, with what `listener` says.

pub mod judge;
pub mod run;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;

use crate::client::Ask;

/// One scene.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// What it shows.
    pub about: String,
    /// Files by name, made before the start. A value `{ noise: 100000 }` is so many bytes of noise.
    #[serde(default)]
    pub files: BTreeMap<String, Content>,
    /// Added to both listeners.
    #[serde(default)]
    pub listener: Value,
    /// The document, without listeners and admin.
    pub document: Value,
    /// Asked in this order.
    pub exchanges: Vec<Exchange>,
    /// A merge patch (RFC 7396) to the document, applied while it runs.
    #[serde(default)]
    pub change: Option<Value>,
    /// Asked after the change.
    #[serde(default)]
    pub then: Vec<Exchange>,
}

/// Text, or noise.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Content {
    /// As it is.
    Text(String),
    /// So many bytes.
    Noise {
        /// How many.
        noise: usize,
    },
}

impl Default for Content {
    fn default() -> Self {
        Content::Text(String::new())
    }
}

impl Content {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Noise { noise } => crate::rng::noise(*noise),
        }
    }
}

/// A question and what must come back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// `GET /path?query`.
    pub ask: String,
    /// The host; `test.local` unless said.
    #[serde(default)]
    pub host: Option<String>,
    /// Request headers; a list is several fields of that name.
    #[serde(default)]
    pub headers: BTreeMap<String, Texts>,
    /// Request body.
    #[serde(default)]
    pub body: Content,
    /// Only by this protocol: `h1`, `h2` or `h3`.
    #[serde(default)]
    pub only: Option<Only>,
    /// Asked until it is as expected, for what takes its time (health).
    #[serde(default)]
    pub eventually: bool,
    /// Asked so often, and this is how many answers come from each backend, at least and at most.
    #[serde(default)]
    pub shares: BTreeMap<String, (usize, usize)>,
    /// The status.
    pub status: u16,
    /// The whole body.
    #[serde(default)]
    pub says: Option<Content>,
    /// A part of the body.
    #[serde(default)]
    pub contains: Option<String>,
    /// Response headers: a text is the value, null is absence, `*` is any value, a list is several fields.
    #[serde(default)]
    pub has: BTreeMap<String, Option<Texts>>,
    /// The body is JSON, and at these paths (`fields.x-y.0`) stands that. Null is absence.
    #[serde(default)]
    pub json: BTreeMap<String, Value>,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
    /// HTTP/3.
    H3,
}

/// One text, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[String] {
        match self {
            Texts::One(one) => std::slice::from_ref(one),
            Texts::Many(many) => many,
        }
    }
}

impl Exchange {
    /// As a request.
    #[must_use]
    pub fn request(&self) -> Ask {
        let (method, target) = self.ask.split_once(' ').unwrap_or_else(|| panic!("no method: {}", self.ask));
        let mut ask = Ask::post(target, self.body.bytes()).method(method);
        if let Some(host) = &self.host {
            ask = ask.host(host);
        }
        for (name, values) in &self.headers {
            for value in values.all() {
                ask = ask.field(name, value);
            }
        }
        ask
    }
}

/// Reads all scenes of a folder, by name, with their words replaced. Panics with the file's name if one is no scene.
#[must_use]
pub fn read(folder: &Path, words: &BTreeMap<&str, String>) -> Vec<(String, Scene)> {
    let mut scenes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a readable file");
            scenes.push((name, parse(&path, &text, words)));
        }
    }
    scenes.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!scenes.is_empty(), "no scenes in {}", folder.display());
    scenes
}

fn parse(path: &Path, text: &str, words: &BTreeMap<&str, String>) -> Scene {
    use evergate_conf::format::{Format, Limits, parse, to_json_value};
    let mut text = text.to_owned();
    for (word, value) in words {
        text = text.replace(&format!("@{word}@"), value);
    }
    let file = evergate_conf::FileId::NONE;
    let tree = parse(&text, Format::Yaml, file, &Limits::default())
        .unwrap_or_else(|e| panic!("{}:{}:{}: {e}", path.display(), e.place.line, e.place.column));
    serde_json::from_value(to_json_value(&tree)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
