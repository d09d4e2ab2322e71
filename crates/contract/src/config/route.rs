//! Routes: which request is answered how.

use evergate_conf::units::{ByteSize, Location};
use schemars::{Schema, json_schema};
use serde::{
    Deserializer, Serializer,
    de::{self, MapAccess, value::MapAccessDeserializer},
};

use super::{short::ShortForm, *};

/// Which request, and what becomes of it. Exactly one of `forward`, `respond`, `redirect`, `files`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Listeners it serves on. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<Name>>,
    /// Overrides the order of the most specific: higher is asked first. -1000000 to 1000000.
    #[serde(default, deserialize_with = "short::within::<-1000000, 1000000, _, _>")]
    #[schemars(range(min = -1000000, max = 1000000))]
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
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Forward", transform = forward_text)]
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
    /// Share relative to the others, 0 to 1000000. 0 takes none.
    #[serde(default = "one", deserialize_with = "short::within::<0, 1000000, _, _>")]
    #[schemars(range(min = 0, max = 1000000))]
    pub weight: u32,
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Respond {
    /// 200 to 599.
    #[serde(deserialize_with = "short::within::<200, 599, _, _>")]
    #[schemars(range(min = 200, max = 599))]
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
    #[serde(default = "found", deserialize_with = "redirection")]
    #[schemars(extend("enum" = REDIRECTIONS))]
    pub status: u16,
}

/// A folder, or `{ root: … }`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Files", transform = files_text)]
pub struct Files {
    /// The folder. What follows the matched prefix is looked up in it.
    pub root: Location,
    /// Names tried in a folder, in order. Default `index.html`.
    #[serde(default = "index")]
    pub index: Vec<String>,
    /// Serve `x.br`, `x.zst`, `x.gz` in place of `x` to clients that take them. Default true.
    #[serde(default = "yes")]
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

fn index() -> Vec<String> {
    vec!["index.html".to_owned()]
}

fn yes() -> bool {
    true
}

/// Statuses that send a client elsewhere (RFC 9110 §15.4).
const REDIRECTIONS: [u16; 5] = [301, 302, 303, 307, 308];

fn redirection<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let status = u16::deserialize(deserializer)?;
    if REDIRECTIONS.contains(&status) {
        return Ok(status);
    }
    Err(de::Error::custom(format!("expected 301, 302, 303, 307 or 308, found {status}")))
}

fn forward_text(schema: &mut Schema) {
    let text = json_schema!({ "type": "string", "description": "A name from `upstreams`." });
    short::or_text(schema, &text);
}

fn files_text(schema: &mut Schema) {
    let text = json_schema!({
        "type": "string", "format": "location", "minLength": 1,
        "description": "The folder; relative to the file that names it.",
    });
    short::or_text(schema, &text);
}

impl ShortForm for Forward {
    const EXPECTING: &'static str = "the name of an upstream, or `{ to: [ { upstream: …, weight: … } ] }`";

    fn from_text(text: &str) -> Result<Forward, String> {
        Ok(Forward { to: vec![Target { upstream: text.into(), weight: one() }] })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Forward, A::Error> {
        Forward::deserialize(MapAccessDeserializer::new(map))
    }
}

impl ShortForm for Files {
    const EXPECTING: &'static str = "the path of a folder, or `{ root: … }`";

    fn from_text(text: &str) -> Result<Files, String> {
        if text.is_empty() {
            return Err("expected a path, found an empty text".to_owned());
        }
        Ok(Files { root: Location(text.into()), index: index(), precompressed: yes() })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Files, A::Error> {
        Files::deserialize(MapAccessDeserializer::new(map))
    }
}

macro_rules! by_short_form {
    ($($type:ident),*) => { $(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $type::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                short::deserialize(deserializer)
            }
        }
    )* };
}

by_short_form!(Forward, Files);
