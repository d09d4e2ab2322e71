//! What must hold of a request for a route to take it.

use std::borrow::Cow;

use evergate_conf::Report;
use http::Method;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, de::MapAccess};

use super::{short::ShortForm, *};
use crate::{at::At, pattern};

/// What must hold of a request. All that is written must.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// `example.com`, or `*.example.com` for one or more labels in front. Without port. Empty: any.
    pub hosts: Vec<String>,
    /// A string is a prefix on segment borders. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// `GET`, `POST` … Empty: any. `GET` does not include `HEAD`.
    pub methods: Vec<String>,
    /// By header name.
    pub headers: BTreeMap<String, TextMatch>,
    /// By query parameter, names and values decoded; of repeated ones the first counts.
    pub query: BTreeMap<String, TextMatch>,
}

/// `/v1` (a prefix), `{ exact: /old }`, `{ prefix: /v1 }` or `{ regex: "^/user/[0-9]+$" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
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

impl ShortForm for PathMatch {
    const EXPECTING: &'static str =
        "a path such as /v1, or one of `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`";

    fn from_text(text: &str) -> Result<PathMatch, String> {
        Ok(PathMatch::Prefix(text.to_owned()))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<PathMatch, A::Error> {
        short::one_of(map, &["exact", "prefix", "regex"], |key, map| {
            let text = map.next_value()?;
            Ok(match key {
                "exact" => PathMatch::Exact(text),
                "prefix" => PathMatch::Prefix(text),
                _ => PathMatch::Regex(text),
            })
        })
    }
}

impl ShortForm for TextMatch {
    const EXPECTING: &'static str =
        "a text, or one of `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`, `{ present: true }`";

    fn from_text(text: &str) -> Result<TextMatch, String> {
        Ok(TextMatch::Exact(text.to_owned()))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<TextMatch, A::Error> {
        short::one_of(map, &["exact", "prefix", "regex", "present"], |key, map| {
            Ok(match key {
                "exact" => TextMatch::Exact(map.next_value()?),
                "prefix" => TextMatch::Prefix(map.next_value()?),
                "regex" => TextMatch::Regex(map.next_value()?),
                _ => TextMatch::Present(map.next_value()?),
            })
        })
    }
}

impl<'de> Deserialize<'de> for PathMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PathMatch, D::Error> {
        short::deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for TextMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextMatch, D::Error> {
        short::deserialize(deserializer)
    }
}

impl JsonSchema for PathMatch {
    fn schema_name() -> Cow<'static, str> {
        "PathMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`/v1` (a prefix), `{ exact: /old }`, `{ prefix: /v1 }` or `{ regex: \"^/user/[0-9]+$\" }`.",
            "anyOf": [
                { "type": "string", "description": "A prefix on segment borders." },
                {
                    "type": "object",
                    "properties": {
                        "exact": { "type": "string", "description": "The whole path." },
                        "prefix": {
                            "type": "string",
                            "description": "The start of the path, on a segment border: `/api` is no prefix of `/apix`.",
                        },
                        "regex": { "type": "string", "description": "Anywhere in the path, unless anchored." },
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl JsonSchema for TextMatch {
    fn schema_name() -> Cow<'static, str> {
        "TextMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value: a string is exact; or `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`, \
                            `{ present: true }`. Of repeated headers any may match.",
            "anyOf": [
                { "type": "string", "description": "The whole value." },
                {
                    "type": "object",
                    "properties": {
                        "exact": { "type": "string", "description": "The whole value." },
                        "prefix": { "type": "string", "description": "The start of the value." },
                        "regex": { "type": "string", "description": "Anywhere in the value, unless anchored." },
                        "present": {
                            "type": "boolean",
                            "description": "There at all (`true`), or not at all (`false`).",
                        },
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Match {
    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        let hosts = at.key("hosts");
        hosts.once(&self.hosts, |a, b| a.eq_ignore_ascii_case(b), report);
        for (i, host) in self.hosts.iter().enumerate() {
            if let Err(why) = host_pattern(host) {
                hosts.item(i).problem("bad_host", format!("`{host}` is no host: {why}"), report);
            }
        }
        if let Some(path) = &self.path {
            path.rules(at.key("path"), report);
        }
        let methods = at.key("methods");
        methods.once(&self.methods, |a, b| a == b, report);
        for (i, method) in self.methods.iter().enumerate() {
            check_method(method, methods.item(i), report);
        }
        self.header_rules(at.key("headers"), report);
        let query = at.key("query");
        for (name, text) in &self.query {
            let at = query.key(name);
            if name.is_empty() {
                at.key_problem("empty", "a query parameter has a name", report);
            }
            text.regex_rule(at, report);
        }
    }

    fn header_rules(&self, at: At<'_>, report: &mut Report) {
        headers::each_once(&self.headers, at, report);
        for (name, text) in &self.headers {
            let at = at.key(name);
            headers::valid_name(name, at, report);
            if name.eq_ignore_ascii_case("host") {
                at.key_problem("reserved_header", "the host is not matched as a header", report)
                    .help("use `match.hosts`");
            }
            match text {
                TextMatch::Exact(value) => headers::value(value, at, report),
                TextMatch::Prefix(value) => headers::value(value, at.key("prefix"), report),
                TextMatch::Regex(_) | TextMatch::Present(_) => text.regex_rule(at, report),
            }
        }
    }
}

impl PathMatch {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        match self {
            PathMatch::Exact(path) => check_path(path, at.key("exact"), report),
            PathMatch::Prefix(path) => check_path(path, at.key("prefix"), report),
            PathMatch::Regex(text) => check_regex(text, at.key("regex"), report),
        }
    }
}

impl TextMatch {
    fn regex_rule(&self, at: At<'_>, report: &mut Report) {
        if let TextMatch::Regex(text) = self {
            check_regex(text, at.key("regex"), report);
        }
    }
}

/// A name, an address, or `*.` and a name. Names have letters, digits, `-` and `_` (RFC 1123 §2.1, and what is in use).
pub(super) fn host_pattern(host: &str) -> Result<(), &'static str> {
    if let Some(ip) = host.strip_prefix('[') {
        let ip = ip.strip_suffix(']').ok_or("a port is not part of it")?;
        return ip.parse::<std::net::Ipv6Addr>().map(drop).map_err(|_| "it is no IPv6 address");
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    match name {
        "" => return Err("it is empty"),
        "*" => return Err("leave `hosts` out to match any"),
        _ if name.contains('*') => return Err("`*` stands only at its start, as `*.example.com`"),
        _ if name.contains(':') => return Err("a port is not part of it"),
        _ if !name.is_ascii() => return Err("write it as the wire does, `xn--…` (RFC 5891)"),
        _ => {}
    }
    let label = |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("a name is made of letters, digits, `-`, `_` and single dots between them");
    }
    Ok(())
}

fn check_method(method: &str, at: At<'_>, report: &mut Report) {
    if Method::from_bytes(method.as_bytes()).is_err() {
        at.problem("bad_method", format!("`{method}` is no method"), report);
        return;
    }
    // Methods are case-sensitive (RFC 9110 §9.1): `get` would never match.
    if method.bytes().any(|b| b.is_ascii_lowercase()) {
        let upper = method.to_ascii_uppercase();
        at.problem("bad_method", format!("methods are upper-case, `{method}` is not"), report)
            .help(format!("did you mean `{upper}`?"));
    }
}

fn check_path(path: &str, at: At<'_>, report: &mut Report) {
    let dots =
        |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    let why = match route::path_only(path) {
        Err(why) => why,
        Ok(()) if path.split('/').any(dots) => "requests with `.` or `..` segments are refused",
        Ok(()) if !percent_encoded(path) => "`%` is followed by two hexadecimal digits, and not by 00",
        Ok(()) => return,
    };
    let found = at.problem("bad_path", format!("`{path}` matches no path: {why}"), report);
    if !path.starts_with('/') && !path.contains("://") {
        found.help(format!("did you mean `/{path}`?"));
    }
}

fn percent_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let code = rest.as_bytes().get(..2);
        code.is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit) && code != b"00")
    })
}

fn check_regex(text: &str, at: At<'_>, report: &mut Report) {
    if let Err(why) = pattern::compile(text) {
        at.problem("bad_regex", format!("the regex does not compile: {why}"), report);
    }
}
