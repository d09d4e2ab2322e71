//! What runs, what is pending, what was last refused: facts, never wishes.

use std::{sync::Arc, time::SystemTime};

use evergate_conf::Report;
use serde::{Serialize, Serializer};

use crate::{
    generation::Alive,
    revision::{Origin, RevisionId},
    verdict::Stage,
};

/// What an engine says about itself.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// What runs.
    pub running: Running,
    /// Where the first revision of this process came from.
    pub started_from: StartedFrom,
    /// Changes that are under way or wait.
    pub pending: Vec<Pending>,
    /// The last change that was refused, if nothing was applied since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refused: Option<Refusal>,
    /// True if the files differ from what runs but are not used until they change again.
    pub held: bool,
    /// True if something that runs was set by API and not by a file.
    pub overlay: bool,
    /// Whether changes on disk are noticed.
    pub watching: Watching,
    /// Why what runs could not be written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_degraded: Option<String>,
    /// Snapshots that still serve somebody, oldest first.
    pub generations: Vec<Alive>,
}

/// What runs.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// Its name.
    pub revision: RevisionId,
    /// Hash of its document and pinned contents, in hexadecimal.
    pub digest: String,
    /// What asked for it.
    pub origin: Origin,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Arc<str>>,
    /// The revision that it brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restores: Option<RevisionId>,
    /// Since when this process runs it.
    #[serde(serialize_with = "as_unix_seconds")]
    pub since: SystemTime,
}

/// Where the first revision of a process came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartedFrom {
    /// The files, as they are meant to be.
    Files,
    /// The history, because the files are held since a rollback.
    Held,
    /// The history, because the files were refused.
    LastGood,
    /// The history: this process took the place of one that ran the same.
    Last,
    /// The history: what ran last ended its process again and again, and this is what was before.
    Previous,
}

/// A change that has no verdict yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pending {
    /// What asked for it.
    pub origin: Origin,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Arc<str>>,
    /// Where it is.
    pub stage: Stage,
}

/// A change that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// When.
    #[serde(serialize_with = "as_unix_seconds")]
    pub time: SystemTime,
    /// What asked for it.
    pub origin: Origin,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Arc<str>>,
    /// How far it came.
    pub stage: Stage,
    /// Why, with places.
    pub report: Arc<Report>,
}

/// Whether changes on disk are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Watching {
    /// Nobody looks.
    #[default]
    Off,
    /// The system tells at once.
    Events,
    /// They are looked at every second, since the system does not tell.
    Polling,
}

/// Seconds since 1970 with milliseconds.
pub(crate) fn as_unix_seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_f64((since.as_secs_f64() * 1e3).round() / 1e3)
}
