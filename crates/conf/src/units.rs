//! Values with their unit in the text: durations, sizes, paths.
//!
//! Each is a type of its own, so that the document's types say what they hold and the schema says how
//! it is written.

use std::{borrow::Cow, ops::Deref, path::PathBuf, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: `250ms 5s 1m 24h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: `64KiB 10MB`. A bare number is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A path that the document names. Relative ones are made absolute while loading, by the folder of the
/// file that names them. A [`FilePath`] is watched and its content is pinned by the revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(pub PathBuf);

/// Like [`FilePath`], but the content is not part of the revision: a folder that is served, a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(pub PathBuf);
