//! Where a socket listens.

use std::{borrow::Cow, fmt, net::SocketAddr, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `127.0.0.1:8080`, `[::1]:8080`, or `:8080`, which is `[::]:8080`: every IPv6 and IPv4 address of the machine.
/// Port 0 takes any that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub SocketAddr);

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as 127.0.0.1:8080, [::1]:8080 or :8080, found `{0}`")]
pub struct AddressError(String);

/// What [`FromStr`] takes, nearly: an IPv6 address is not looked into.
const PATTERN: &str = concat!(
    r"^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}",
    r"|\[[0-9A-Fa-f:.]{2,45}\])?",
    r":(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4})$",
);

impl Address {
    /// True if a connection could belong to both: the same port, and the same address or one that stands for all.
    #[must_use]
    pub fn overlaps(&self, other: &Address) -> bool {
        let (a, b) = (self.0, other.0);
        if a.port() != b.port() || a.port() == 0 {
            return a == b;
        }
        // `[::]` takes IPv4 too, `0.0.0.0` does not take IPv6.
        let takes = |x: SocketAddr, y: SocketAddr| x.ip().is_unspecified() && (x.is_ipv6() || y.is_ipv4());
        a.ip() == b.ip() || takes(a, b) || takes(b, a)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let whole =
            if text.starts_with(':') { Cow::Owned(format!("[::]{text}")) } else { Cow::Borrowed(text) };
        match whole.parse::<SocketAddr>() {
            // A zone such as `%1` names an interface by a number that changes.
            Ok(address) if !text.contains('%') => Ok(Address(address)),
            _ => Err(AddressError(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": PATTERN,
            "examples": ["127.0.0.1:8080", "[::1]:8080", ":8080"],
            "description": "An address and a port, no name; `:8080` stands for every address of the machine.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let pattern = regex::Regex::new(PATTERN).unwrap();
        for (text, printed) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:80", "[::1]:80"),
            (":8080", "[::]:8080"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse::<Address>().unwrap(), address);
            assert!(pattern.is_match(text), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        let pattern = regex::Regex::new(PATTERN).unwrap();
        for text in [
            "",
            "8080",
            "localhost:80",
            "1.2.3.4",
            ":65536",
            "1.2.3:80",
            "256.0.0.1:80",
            "::1:80",
            ":",
            "[fe80::1%1]:80",
        ] {
            assert!(text.parse::<Address>().unwrap_err().to_string().contains(&format!("`{text}`")));
            assert!(!pattern.is_match(text), "{text}");
        }
    }

    #[test]
    fn overlaps_by_port_and_wildcard() {
        for (a, b, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            (":80", "0.0.0.0:80", true),
            (":80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:0", "0.0.0.0:0", false),
        ] {
            let (a, b): (Address, Address) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (expected, expected), "{a} {b}");
        }
    }
}
