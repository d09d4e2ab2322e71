//! Routes: which request is answered how.

use super::*;
use evergate_conf::units::{ByteSize, Location};

/// Which request, and what becomes of it. Exactly one of `forward`, `respond`, `redirect`, `files`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Listeners it serves on. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<Name>>,
    /// Overrides the order of the most specific: higher is asked first.
    #[serde(default)]
    pub priority: i32,
    /// What must hold. Absent: every request.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Changes to the headers of requests and responses.
    #[serde(default)]
    pub headers: HeaderEdits,
    /// Changes to the request's path and host before it is forwarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// From the end of the request's headers to those of the response, retries and all; later answers 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Limits of this route in place of the listener's.
    #[serde(default)]
    pub limits: RouteLimits,
    /// Send it to an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Answer with a fixed response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// Send the client elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Serve files from a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
}

/// What must hold of a request. All that is written must.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `example.com`, or `*.example.com` for one or more labels in front. Without port. Empty: any.
    pub hosts: Vec<String>,
    /// A string is a prefix on segment borders.
    pub path: Option<PathMatch>,
    /// `GET`, `POST` … Empty: any. `GET` does not include `HEAD`.
    pub methods: Vec<String>,
    /// By header name.
    pub headers: BTreeMap<String, TextMatch>,
    /// By query parameter; of repeated ones the first counts.
    pub query: BTreeMap<String, TextMatch>,
}

/// `/v1` (a prefix), `{ exact: /old }`, `{ prefix: /v1 }` or `{ regex: "^/user/[0-9]+$" }`.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The start of the path, on a segment border: `/api` is no prefix of `/apix`.
    Prefix(String),
    /// Anywhere in the path, unless anchored.
    Regex(String),
}

/// A value: a string is exact; or `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`, `{ present: true }`.
/// Of repeated headers any may match.
#[derive(Clone, Debug, PartialEq)]
pub enum TextMatch {
    /// The whole value.
    Exact(String),
    /// The start of the value.
    Prefix(String),
    /// Anywhere in the value, unless anchored.
    Regex(String),
    /// There at all (`true`), or not at all (`false`).
    Present(bool),
}

/// Changes to headers, both ways.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdits {
    /// Before the request is forwarded.
    pub request: HeaderEdit,
    /// Before the response goes to the client.
    pub response: HeaderEdit,
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

/// Changes to the request's target before it is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewrite {
    /// The new path. For a prefix match it takes the place of the prefix; for a regex, `$1` and `$name` are
    /// its groups and it takes the place of the whole path; otherwise of the whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The new `Host`. Absent: the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Limits of a route in place of the listener's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteLimits {
    /// Request body; more answers 413.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<ByteSize>,
}

/// `api`, or `{ to: [ { upstream: v1, weight: 90 }, { upstream: v2, weight: 10 } ] }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Each request goes to one of these, at random by weight.
    pub to: Vec<Target>,
}

/// An upstream with its share.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A name from `upstreams`.
    pub upstream: Name,
    /// Share relative to the others. 0 takes none.
    #[serde(default = "one")]
    pub weight: u32,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Its headers; `content-type` is `text/plain; charset=utf-8` unless set here.
    pub headers: BTreeMap<String, String>,
}

/// Another place to ask.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// A path, or an absolute `http` or `https` URL. For a prefix match, a `*` at its end stands for what
    /// follows the prefix; for a regex, `$1` and `$name` are its groups. The query is kept unless `to` has one.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "found")]
    pub status: u16,
}

/// A folder, or `{ root: … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// The folder. What follows the matched prefix is looked up in it.
    pub root: Location,
    /// Tried in a folder, in order. Default `index.html`.
    pub index: Vec<String>,
    /// Serve `x.br`, `x.zst`, `x.gz` in place of `x` to clients that take them. Default true.
    pub precompressed: bool,
}

impl Default for Respond {
    fn default() -> Self {
        Respond { status: 200, body: String::new(), headers: BTreeMap::new() }
    }
}

fn one() -> u32 {
    1
}

fn found() -> u16 {
    302
}
