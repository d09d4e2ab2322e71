//! What becomes of a request: forwarded, answered, sent elsewhere, served from files.

use evergate_conf::{Report, units::Location};
use http::Uri;
use schemars::{Schema, json_schema};
use serde::{
    Deserializer, Serializer,
    de::{self, MapAccess, value::MapAccessDeserializer},
};

use super::{short::ShortForm, *};
use crate::at::At;

/// `api`, or `{ to: [ { upstream: v1, weight: 90 }, { upstream: v2, weight: 10 } ] }`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Forward", transform = forward_text)]
pub struct Forward {
    /// Each request, or connection, goes to one of these, at random by weight.
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
    /// follows the prefix, without a path match for the whole path; for a regex, `$1` and `$name` are its
    /// groups. The query is kept unless `to` has one.
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
        Ok(Forward::all_to(text))
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

impl Forward {
    /// All to one upstream.
    #[must_use]
    pub fn all_to(upstream: &str) -> Forward {
        Forward { to: vec![Target { upstream: upstream.into(), weight: one() }] }
    }

    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        let to = at.key("to");
        to.not_empty(&self.to, "nothing is forwarded to: name an upstream", report);
        if !self.to.is_empty() && self.to.iter().all(|target| target.weight == 0) {
            to.problem("no_weight", "all weights are 0: no upstream takes requests", report);
        }
        for (i, target) in self.to.iter().enumerate() {
            if self.to.iter().take(i).any(|earlier| earlier.upstream == target.upstream) {
                let message = format!("upstream `{}` is there twice", target.upstream);
                to.item(i).key("upstream").problem("duplicate", message, report).help("add up the weights");
            }
        }
    }
}

impl Respond {
    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        headers::values(&self.headers, at.key("headers"), report);
        // RFC 9110 §15.3.5, §15.3.6 and §15.4.5.
        if [204, 205, 304].contains(&self.status) && !self.body.is_empty() {
            let message = format!("a response with status {} has no body", self.status);
            at.key("body").problem("no_body", message, report);
        }
    }
}

impl Redirect {
    pub(super) fn rules(&self, matches: &Match, at: At<'_>, report: &mut Report) {
        let at = at.key("to");
        if let Err(why) = safe_target(&self.to) {
            at.problem("bad_target", format!("nobody is sent to `{}`: {why}", self.to), report)
                .help("write a path such as `/new` or a URL such as `https://example.com/new`");
        }
        let path = &matches.path;
        if self.to.ends_with('*') && matches!(path, Some(PathMatch::Exact(_) | PathMatch::Regex(_))) {
            let why = "`*` stands for what follows a prefix, and this route matches none";
            at.problem("no_prefix", why, report);
        }
        route::known_groups(&self.to, matches, at, report);
    }
}

/// Nothing that a browser reads as another place than it looks: `//host`, `/\host`, `javascript:`.
fn safe_target(to: &str) -> Result<(), &'static str> {
    if to.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err("it has blanks or other characters that must be percent-encoded");
    }
    if to.contains('\\') {
        return Err("browsers read a backslash as a slash");
    }
    let target = to.split_once('#').map_or(to, |(target, _)| target);
    let uri: Uri = target.parse().map_err(|_| "it is no URL")?;
    match uri.scheme_str() {
        None if target.starts_with("//") => Err("`//` begins the name of another host"),
        None if target.starts_with('/') => Ok(()),
        None => Err("it is neither a path nor an `http` or `https` URL"),
        Some("http" | "https") => match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => Err("it has a user"),
            Some(authority) if authority.as_str().contains('$') => Err("its host is taken from the request"),
            Some(authority) if !authority.host().is_empty() => Ok(()),
            _ => Err("it names no host"),
        },
        Some(_) => Err("its scheme is neither `http` nor `https`"),
    }
}

impl Files {
    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        let at = at.key("index");
        at.once(&self.index, |a, b| a == b, report);
        for (i, name) in self.index.iter().enumerate() {
            if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
                at.item(i).problem("bad_index", format!("`{name}` is no name of a file in a folder"), report);
            }
        }
    }
}
