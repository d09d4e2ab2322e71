//! Where a listener listens, and what its socket is like.

use std::{borrow::Cow, net::SocketAddr, path::PathBuf, str::FromStr};

use evergate_conf::Report;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, Serializer, de};

use super::*;
use crate::at::At;

/// Longest path of a Unix socket: what the kernel has room for, less the closing zero.
const UNIX_PATH_MAX: usize = 107;

/// `127.0.0.1:8080`, `[::1]:8080`, `:8080` for every address of the machine, or `unix:/run/web.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket at an absolute path.
    Unix(PathBuf),
}

/// Why a text is no address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddressError {
    /// Not an IP address.
    #[error("{0}; a Unix socket is written unix:/run/web.sock")]
    Ip(#[from] AddressError),
    /// Not a path that a socket can have.
    #[error("expected an absolute path of up to {UNIX_PATH_MAX} bytes behind `unix:`, found `{0}`")]
    Unix(String),
}

/// Where a listener is, as far as the kernel tells places apart. A change of it closes the listener's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub address: ListenAddress,
    /// `[::]` without IPv4.
    pub v6_only: bool,
}

/// What a listening socket is like. All of it changes on the open socket.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SocketOptions {
    /// Connections that the kernel keeps until they are accepted. 1 to 65535; `net.core.somaxconn` bounds it too.
    #[serde(deserialize_with = "short::within::<1, 65535, _, _>")]
    #[schemars(range(min = 1, max = 65535))]
    pub backlog: u32,
    /// A silent connection is probed after this, and given up when no answer came in as long again; `off` never
    /// asks. 1s to 9h. Holds for new connections. Absent: `60s` on TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    /// One socket for each worker at the same address (SO_REUSEPORT): the kernel deals connections out, and another
    /// process of the same user may join.
    pub reuse_port: bool,
    /// `[::]` takes IPv6 alone, so that another listener may have `0.0.0.0`.
    pub v6_only: bool,
    /// Who may connect to a Unix socket, as octal digits such as `"0666"`. Absent: `"0660"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
}

/// `off`, or a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// The kernel never asks.
    Off,
    /// After so long.
    After(Span),
}

/// Permissions of a file, as octal digits: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions { backlog: 4096, keep_alive: None, reuse_port: false, v6_only: false, mode: None }
    }
}

impl SocketOptions {
    /// How long a TCP connection is silent before it is probed; `None`: it is not.
    #[must_use]
    pub fn keep_alive(&self) -> Option<std::time::Duration> {
        match self.keep_alive {
            Some(KeepAlive::Off) => None,
            Some(KeepAlive::After(span)) => Some(*span),
            None => Some(std::time::Duration::from_secs(60)),
        }
    }

    /// Permissions of a Unix socket's file.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode.map_or(0o660, |mode| mode.0)
    }

    pub(super) fn rules(&self, address: &ListenAddress, at: At<'_>, report: &mut Report) {
        if let Some(KeepAlive::After(span)) = self.keep_alive {
            at.key("keep_alive").span(span, Span::secs(1)..=Span::secs(9 * 3600), report);
        }
        let mut idle = |key: &str, why: &str| {
            at.key(key).key_problem("no_effect", format!("`{key}` has no effect: {why}"), report);
        };
        match address {
            ListenAddress::Ip(ip) => {
                if self.mode.is_some() {
                    idle("mode", "only a Unix socket has permissions");
                }
                if self.v6_only && !(ip.is_ipv6() && ip.ip().is_unspecified()) {
                    idle("v6_only", "only `[::]` would take IPv4 too");
                }
            }
            ListenAddress::Unix(_) => {
                let why = "the listener is a Unix socket";
                if self.keep_alive.is_some() {
                    idle("keep_alive", why);
                }
                if self.reuse_port {
                    idle("reuse_port", why);
                }
                if self.v6_only {
                    idle("v6_only", why);
                }
            }
        }
    }
}

impl Place {
    /// True if a connection could belong to both.
    #[must_use]
    pub fn overlaps(&self, other: &Place) -> bool {
        match (&self.address, &other.address) {
            (ListenAddress::Unix(a), ListenAddress::Unix(b)) => a == b,
            (ListenAddress::Ip(a), ListenAddress::Ip(b)) => {
                let one_family = self.v6_only || other.v6_only;
                (!one_family || a.is_ipv4() == b.is_ipv4()) && Address(*a).overlaps(&Address(*b))
            }
            _ => false,
        }
    }
}

impl ListenAddress {
    /// The IP address and port, if it is one.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            ListenAddress::Ip(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<ListenAddress, ListenAddressError> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') && !path.ends_with('/') && path.len() <= UNIX_PATH_MAX => {
                Ok(ListenAddress::Unix(path.into()))
            }
            Some(path) => Err(ListenAddressError::Unix(path.to_owned())),
            None => Ok(ListenAddress::Ip(text.parse::<Address>()?.0)),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Ip(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ListenAddress, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for ListenAddress {
    fn schema_name() -> Cow<'static, str> {
        "ListenAddress".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let ip = Address::json_schema(generator);
        let pattern = ip.get("pattern").and_then(|p| p.as_str()).unwrap_or_default();
        json_schema!({
            "type": "string",
            "pattern": format!("{pattern}|^unix:/.{{0,105}}[^/]$"),
            "examples": ["127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/run/web.sock"],
            "description": "An address and a port, no name; `:8080` stands for every address of the machine; `unix:` and an absolute path for a Unix socket.",
        })
    }
}

impl Serialize for KeepAlive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            KeepAlive::Off => serializer.serialize_str("off"),
            KeepAlive::After(span) => span.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for KeepAlive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KeepAlive, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        if text == "off" {
            return Ok(KeepAlive::Off);
        }
        text.parse().map(KeepAlive::After).map_err(|e| de::Error::custom(format!("{e}, or `off`")))
    }
}

impl JsonSchema for KeepAlive {
    fn schema_name() -> Cow<'static, str> {
        "KeepAlive".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = Span::json_schema(generator);
        json_schema!({ "anyOf": [{ "type": "string", "const": "off" }, span] })
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FileMode, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if octal && mode <= 0o777 => Ok(FileMode(mode)),
            _ => Err(de::Error::custom(format!(
                "expected permissions as octal digits such as \"0660\", found `{text}`"
            ))),
        }
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0660"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str, v6_only: bool) -> Place {
        Place { address: address.parse().unwrap(), v6_only }
    }

    #[test]
    fn addresses_are_ip_or_unix() {
        for text in ["127.0.0.1:80", "[::]:80", "unix:/run/web.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["unix:web.sock", "unix:", "unix:/", "unix:/run/", "nowhere:80"] {
            assert!(text.parse::<ListenAddress>().unwrap_err().to_string().contains("unix:"), "{text}");
        }
        assert!(format!("unix:/{}", "a".repeat(UNIX_PATH_MAX)).parse::<ListenAddress>().is_err());
    }

    #[test]
    fn ipv6_alone_leaves_room_for_ipv4() {
        for (a, b, overlap) in [
            (place(":80", false), place("0.0.0.0:80", false), true),
            (place(":80", true), place("0.0.0.0:80", false), false),
            (place(":80", true), place("[::1]:80", false), true),
            (place(":80", true), place(":80", false), true),
            (place("unix:/a", false), place("unix:/a", false), true),
            (place("unix:/a", false), place("unix:/b", false), false),
        ] {
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (overlap, overlap), "{a:?} {b:?}");
        }
    }

    #[test]
    fn modes_and_keep_alive_print_as_they_are_read() {
        for text in [r#""0660""#, r#""0666""#] {
            let mode: FileMode = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&mode).unwrap(), text);
        }
        for text in [r#""9""#, r#""0888""#, r#""4755""#, r#""""#] {
            assert!(serde_json::from_str::<FileMode>(text).is_err(), "{text}");
        }
        for text in [r#""off""#, r#""30s""#] {
            let kept: KeepAlive = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&kept).unwrap(), text);
        }
        assert!(serde_json::from_str::<KeepAlive>(r#""never""#).is_err());
    }
}
