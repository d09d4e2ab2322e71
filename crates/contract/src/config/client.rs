//! Who the client is, where proxies stand before a listener: what they say of it, and which of them are believed.

use std::{borrow::Cow, net::IpAddr, str::FromStr};

use evergate_conf::Report;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, Serializer, de};

use super::*;
use crate::at::At;

/// Peers: a network such as `10.0.0.0/8` or `2001:db8::/32`, one address, or `unix`: whoever comes by a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The addresses whose first `bits` are those of `first`.
    Net {
        /// The lowest of them.
        first: IpAddr,
        /// Bits that they share.
        bits: u8,
    },
    /// Peers without an address.
    Unix,
}

/// Why a text names no peers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is none of the forms.
    #[error("expected a network such as 10.0.0.0/8 or 2001:db8::/32, an address, or `unix`, found `{0}`")]
    Form(String),
    /// An address within a network, where the network itself is meant.
    #[error("`{0}` is an address within a network; the network is {1}")]
    Within(String, Source),
}

/// The PROXY protocol on the way in, versions 1 and 2.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// Proxies that say for whom they connect. Each of their connections must begin with a PROXY header, before TLS; one
    /// without is closed. What it says is believed.
    pub from: Vec<Source>,
    /// What is done with connections from elsewhere. A PROXY header is never read from them.
    #[serde(default)]
    pub others: Others,
}

/// What is done with connections that no trusted proxy makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// They are served, as those of clients.
    #[default]
    Serve,
    /// They are closed at once.
    Refuse,
}

/// Trusted proxies and the header by which they say for whom they ask.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAddress {
    /// Proxies that are believed. From others, what is said of the client is replaced by what is seen.
    pub trust: Vec<Source>,
    /// `x-forwarded-for`, `forwarded` (RFC 7239), or another one that holds addresses as the first does. It is read from
    /// its end: the first address that is not trusted is the client.
    #[serde(default = "forwarded_for")]
    pub header: String,
}

fn forwarded_for() -> String {
    "x-forwarded-for".to_owned()
}

impl Source {
    /// True if a peer is one of them. `None` is a peer without an address.
    #[must_use]
    pub fn has(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Source::Unix, None) => true,
            (Source::Net { first, bits }, Some(ip)) => {
                first.is_ipv4() == ip.is_ipv4() && network(ip, *bits) == *first
            }
            _ => false,
        }
    }
}

/// The address with all but its first bits cleared.
fn network(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Source, SourceError> {
        if text == "unix" {
            return Ok(Source::Unix);
        }
        let bad = || SourceError::Form(text.to_owned());
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let most: u8 = if ip.is_ipv4() { 32 } else { 128 };
        let digits = |bits: &&str| bits.bytes().all(|b| b.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) => {
                let bits = Some(bits).filter(digits).and_then(|bits| bits.parse().ok());
                bits.filter(|bits| *bits <= most).ok_or_else(bad)?
            }
        };
        let found = Source::Net { first: network(ip, bits), bits };
        if network(ip, bits) == ip { Ok(found) } else { Err(SourceError::Within(text.to_owned(), found)) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Net { first, bits } => write!(f, "{first}/{bits}"),
            Source::Unix => f.write_str("unix"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$",
            "examples": ["10.0.0.0/8", "2001:db8::/32", "unix"],
            "description": "A network, one address, or `unix` for whoever comes by a Unix socket.",
        })
    }
}

impl ProxyProtocol {
    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        sources(&self.from, at.key("from"), "nobody is expected to send a PROXY header", report);
    }
}

impl ClientAddress {
    pub(super) fn rules(&self, at: At<'_>, report: &mut Report) {
        sources(&self.trust, at.key("trust"), "nobody is trusted", report);
        let known = http::HeaderName::try_from(&self.header);
        if known.is_err() || self.header.bytes().any(|b| b.is_ascii_uppercase()) {
            let message = format!("`{}` is no name of a header in lower case", self.header);
            at.key("header").problem("bad_header", message, report);
        }
    }
}

fn sources(all: &[Source], at: At<'_>, why: &str, report: &mut Report) {
    at.not_empty(all, why, report);
    at.once(all, |a, b| a == b, report);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_their_addresses() {
        let check = |source: &str, peer: &str, has: bool| {
            let source: Source = source.parse().unwrap();
            assert_eq!(source.has(peer.parse().ok()), has, "{source} {peer}");
            assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", false);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "::1", false);
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::/0", "::1", true);
        check("unix", "none", true);
        check("unix", "::1", false);
        check("::/0", "none", false);
    }

    #[test]
    fn says_what_is_wrong() {
        let within = "10.1.2.3/8".parse::<Source>().unwrap_err();
        assert!(within.to_string().ends_with("the network is 10.0.0.0/8"), "{within}");
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "a.example", "Unix"]
        {
            assert!(matches!(text.parse::<Source>(), Err(SourceError::Form(_))), "{text}");
        }
    }
}
