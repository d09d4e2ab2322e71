//! Who answers for an upstream: a URL and a weight. Its scheme says what is carried to it.

use http::Uri;
use schemars::{JsonSchema, Schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de::MapAccess, de::value::MapAccessDeserializer,
};

use super::short::{self, ShortForm};

/// `http://127.0.0.1:3000`, or `{ url: …, weight: 3 }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Endpoint", transform = text_form)]
pub struct Endpoint {
    /// `http://` or `https://`, a host and perhaps a port (default 80 or 443); no path. For a listener with `tcp`
    /// or `passthrough`: `tcp://` or `tls://`, for one with `udp`: `udp://`, with a host and a port.
    #[serde(with = "url")]
    #[schemars(with = "url::Url")]
    pub url: Uri,
    /// Share of the requests relative to the others, 0 to 1000. 0 takes none.
    #[serde(default = "one", deserialize_with = "short::within::<0, 1000, _, _>")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: u16,
}

/// What an endpoint takes, and what a listener carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Carried {
    /// Requests.
    Http,
    /// Streams of bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Carried {
    /// The scheme of a URL that says what is spoken.
    #[must_use]
    pub fn scheme(self, tls: bool) -> &'static str {
        match (self, tls) {
            (Carried::Http, false) => "http",
            (Carried::Http, true) => "https",
            (Carried::Tcp, false) => "tcp",
            (Carried::Tcp, true) => "tls",
            (Carried::Udp, _) => "udp",
        }
    }

    /// The schemes of its endpoints, for people.
    #[must_use]
    pub fn schemes(self) -> &'static str {
        match self {
            Carried::Http => "`http://` or `https://`",
            Carried::Tcp => "`tcp://` or `tls://`",
            Carried::Udp => "`udp://`",
        }
    }
}

impl Endpoint {
    /// An endpoint of weight 1.
    ///
    /// # Errors
    /// If the text is no URL of an endpoint; says why.
    pub fn new(url: &str) -> Result<Endpoint, String> {
        Ok(Endpoint { url: url::parse(url)?, weight: 1 })
    }

    /// True if TLS is spoken.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.url.scheme_str(), Some("https" | "tls"))
    }

    /// What it takes.
    #[must_use]
    pub fn carries(&self) -> Carried {
        match self.url.scheme_str() {
            Some("tcp" | "tls") => Carried::Tcp,
            Some("udp") => Carried::Udp,
            _ => Carried::Http,
        }
    }

    /// Name or address, lower-case; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, written or by the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// The canonical text: scheme, host and port, nothing else. It is the endpoint's identity.
    #[must_use]
    pub fn id(&self) -> String {
        url::text(&self.url)
    }
}

fn one() -> u16 {
    1
}

fn text_form(schema: &mut Schema) {
    short::or_text(schema, &url::schema());
}

impl ShortForm for Endpoint {
    const EXPECTING: &'static str = "a URL such as http://127.0.0.1:3000, or `{ url: …, weight: … }`";

    fn from_text(text: &str) -> Result<Endpoint, String> {
        Endpoint::new(text)
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Endpoint, A::Error> {
        Endpoint::deserialize(MapAccessDeserializer::new(map))
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Endpoint::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
        short::deserialize(deserializer)
    }
}

/// URLs of endpoints as texts.
mod url {
    use std::borrow::Cow;

    use http::{Uri, uri::PathAndQuery};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Stands for the field's type in the schema.
    pub(super) struct Url;

    /// What [`parse`] takes, nearly.
    pub(super) const PATTERN: &str = concat!(
        r"^([Hh][Tt][Tt][Pp][Ss]?|[Tt][Cc][Pp]|[Tt][Ll][Ss]|[Uu][Dd][Pp])://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]{2,45}\])",
        r"(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?/?$",
    );

    pub(super) fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "examples": ["http://127.0.0.1:3000", "https://api.example.com", "tcp://127.0.0.1:5432"],
            "description": "`http://` or `https://`, a host and perhaps a port (default 80 or 443); no path. For a \
                            listener with `tcp` or `passthrough`: `tcp://` or `tls://`, for one with `udp`: `udp://`, with a \
                            host and a port.",
        })
    }

    impl JsonSchema for Url {
        fn schema_name() -> Cow<'static, str> {
            "Url".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            schema()
        }
    }

    /// Lower-case, with the port written out: one endpoint has one text.
    pub(super) fn parse(text: &str) -> Result<Uri, String> {
        let bad = |why: &str| Err(format!("{why}; expected a URL such as http://127.0.0.1:3000"));
        let Ok(uri) = text.parse::<Uri>() else { return bad(&format!("`{text}` is no URL")) };
        let (scheme, port) = match uri.scheme_str() {
            Some("http") => ("http", Some(80)),
            Some("https") => ("https", Some(443)),
            // Of what a stream carries nobody knows the port.
            Some(other) if other.eq_ignore_ascii_case("tcp") => ("tcp", None),
            Some(other) if other.eq_ignore_ascii_case("tls") => ("tls", None),
            Some(other) if other.eq_ignore_ascii_case("udp") => ("udp", None),
            Some(other) => return bad(&format!("the scheme `{other}` is not spoken")),
            None => return bad(&format!("`{text}` has no scheme")),
        };
        let Some(authority) = uri.authority() else { return bad(&format!("`{text}` names no host")) };
        // The text may hold a password and is not repeated.
        if authority.as_str().contains('@') {
            return bad("an endpoint takes no user or password");
        }
        let (host, valid) = (authority.host(), plain_host(authority.host()));
        if !valid {
            return bad(&format!("`{host}` is no name or address of a host"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return bad(&format!("`{text}` has a path or query, an endpoint takes none (see `rewrite`)"));
        }
        let port = match authority.as_str().strip_prefix(host).and_then(|rest| rest.strip_prefix(':')) {
            None => match port {
                Some(port) => port,
                None => return bad(&format!("`{text}` names no port")),
            },
            Some(digits) if !digits.starts_with('0') => match digits.parse::<u16>() {
                Ok(port) => port,
                Err(_) => return bad(&format!("`{digits}` is no port")),
            },
            Some(digits) => return bad(&format!("`{digits}` is no port")),
        };
        Uri::builder()
            .scheme(scheme)
            .authority(format!("{}:{port}", host.to_ascii_lowercase()))
            .path_and_query(PathAndQuery::from_static("/"))
            .build()
            .map_err(|error| error.to_string())
    }

    fn plain_host(host: &str) -> bool {
        match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            }
        }
    }

    /// Without the slash that `Uri` prints.
    pub(super) fn text(uri: &Uri) -> String {
        format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.authority().map_or("", |a| a.as_str()))
    }

    pub(super) fn serialize<S: Serializer>(uri: &Uri, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(uri))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uri, D::Error> {
        parse(&Cow::<'de, str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let pattern = regex::Regex::new(url::PATTERN).unwrap();
        for (text, printed, host, port, tls) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000", "127.0.0.1", 3000, false),
            ("http://Api.Example/", "http://api.example:80", "api.example", 80, false),
            ("https://api.example", "https://api.example:443", "api.example", 443, true),
            ("HTTP://[::1]:81", "http://[::1]:81", "::1", 81, false),
            ("tcp://Db.example:5432", "tcp://db.example:5432", "db.example", 5432, false),
            ("udp://10.0.0.1:53", "udp://10.0.0.1:53", "10.0.0.1", 53, false),
            ("TLS://[::1]:6380/", "tls://[::1]:6380", "::1", 6380, true),
        ] {
            let endpoint = Endpoint::new(text).unwrap();
            assert_eq!(endpoint.id(), printed);
            assert_eq!((endpoint.host(), endpoint.port(), endpoint.is_tls()), (host, port, tls));
            assert_eq!(Endpoint::new(printed).unwrap(), endpoint);
            assert!(pattern.is_match(text), "{text}");
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        let pattern = regex::Regex::new(url::PATTERN).unwrap();
        for (text, why) in [
            ("", "no URL"),
            ("http://", "no URL"),
            ("a b", "no URL"),
            ("127.0.0.1:3000", "no scheme"),
            ("/v1", "no scheme"),
            ("ftp://h", "`ftp`"),
            ("http://h/v1", "path or query"),
            ("http://h?x", "path or query"),
            ("http://u:hunter2@h", "no user or password"),
            ("http://h:0", "`0` is no port"),
            ("http://h:70000", "no port"),
            ("http://h:", "no port"),
            ("http://h:080", "no port"),
            ("http://a,b", "no name"),
            ("http://[::x]", "no"),
            ("tcp://h:0", "`0` is no port"),
            ("tcp://h:1/v1", "path or query"),
        ] {
            let error = Endpoint::new(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
            assert!(!pattern.is_match(text), "{text}");
        }
        for text in ["tcp://h", "tls://[::1]", "udp://h"] {
            assert!(Endpoint::new(text).unwrap_err().contains("names no port"), "{text}");
        }
    }
}
