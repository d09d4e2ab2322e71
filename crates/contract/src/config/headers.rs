//! Changes to headers.

use std::{borrow::Cow, ops::Deref};

use evergate_conf::Report;
use http::{HeaderName, HeaderValue};
use schemars::{Schema, SchemaGenerator};
use serde::{Deserializer, Serializer};

use super::*;
use crate::at::At;

/// Changes to headers, both ways.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdits {
    /// Before the request is forwarded. Only with `forward`.
    pub request: HeaderEdit,
    /// Before the response goes to the client.
    pub response: HeaderEdit,
}

/// [`HeaderEdits`] where most have none: these take no more room than a pointer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RareEdits(Option<Box<HeaderEdits>>);

impl Deref for RareEdits {
    type Target = HeaderEdits;

    fn deref(&self) -> &HeaderEdits {
        const NONE: HeaderEdit =
            HeaderEdit { set: BTreeMap::new(), add: BTreeMap::new(), remove: Vec::new() };
        static NEITHER: HeaderEdits = HeaderEdits { request: NONE, response: NONE };
        self.0.as_deref().unwrap_or(&NEITHER)
    }
}

impl<'de> Deserialize<'de> for RareEdits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RareEdits, D::Error> {
        let edits = HeaderEdits::deserialize(deserializer)?;
        Ok(RareEdits((edits != HeaderEdits::default()).then(|| Box::new(edits))))
    }
}

impl Serialize for RareEdits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        HeaderEdits::serialize(self, serializer)
    }
}

impl JsonSchema for RareEdits {
    fn schema_name() -> Cow<'static, str> {
        HeaderEdits::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        HeaderEdits::json_schema(generator)
    }
}

/// First `remove`, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdit {
    /// In place of what is there.
    pub set: BTreeMap<String, String>,
    /// Beside what is there.
    pub add: BTreeMap<String, String>,
    /// Taken away.
    pub remove: Vec<String>,
}

/// Headers of one connection, not of the message (RFC 9110 §7.6.1), and those that say where it ends (RFC 9112 §6).
/// Only the codec may write them.
const OURS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

impl HeaderEdits {
    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        self.request.rules(at.key("request"), Side::Request, report);
        self.response.rules(at.key("response"), Side::Response, report);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Request,
    Response,
}

impl HeaderEdit {
    fn rules(&self, at: At<'_>, side: Side, report: &mut Report) {
        for (key, headers) in [("set", &self.set), ("add", &self.add)] {
            let at = at.key(key);
            values(headers, at, report);
            for name in headers.keys() {
                not_host(name, side, at.key(name), report);
            }
        }
        let at = at.key("remove");
        at.once(&self.remove, |a, b| a.eq_ignore_ascii_case(b), report);
        for (i, header) in self.remove.iter().enumerate() {
            let at = at.item(i);
            name(header, at, report);
            not_host(header, side, at, report);
        }
    }
}

/// Headers that we write: names, values, and nothing that is the codec's.
pub(super) fn values(headers: &BTreeMap<String, String>, at: At<'_>, report: &mut Report) {
    each_once(headers, at, report);
    for (header, text) in headers {
        let at = at.key(header);
        name(header, at, report);
        value(text, at, report);
    }
}

/// Names differ in more than case (RFC 9110 §5.1).
pub(super) fn each_once<T>(headers: &BTreeMap<String, T>, at: At<'_>, report: &mut Report) {
    let mut seen = std::collections::BTreeSet::new();
    for header in headers.keys().filter(|header| !seen.insert(header.to_ascii_lowercase())) {
        let message = format!("`{header}` is there twice: case does not count in header names");
        at.key(header).key_problem("duplicate", message, report);
    }
}

/// A header that may be changed.
fn name(header: &str, at: At<'_>, report: &mut Report) {
    if valid_name(header, at, report) && OURS.iter().any(|ours| header.eq_ignore_ascii_case(ours)) {
        let message =
            format!("`{header}` belongs to the connection or says where a message ends: it is not changed");
        at.key_problem("reserved_header", message, report);
    }
}

/// Letters, digits and some signs (RFC 9110 §5.6.2).
pub(super) fn valid_name(header: &str, at: At<'_>, report: &mut Report) -> bool {
    let valid = header.parse::<HeaderName>().is_ok();
    if !valid {
        at.key_problem("bad_header", format!("`{header}` is no header name"), report);
    }
    valid
}

/// No line breaks or other control characters (RFC 9110 §5.5).
pub(super) fn value(text: &str, at: At<'_>, report: &mut Report) {
    if HeaderValue::from_str(text).is_err() || text.trim_matches([' ', '\t']) != text {
        at.problem("bad_header", "a header value has no control characters, nor blanks at its ends", report);
    }
}

fn not_host(header: &str, side: Side, at: At<'_>, report: &mut Report) {
    if side == Side::Request && header.eq_ignore_ascii_case("host") {
        at.key_problem("reserved_header", "`host` is not changed as a header", report)
            .help("use `rewrite.host`");
    }
}
