//! What makes clients use HTTPS: a redirect on the listener in clear text, HSTS on the one with TLS.

use evergate_conf::Report;
use schemars::Schema;
use serde::{Deserializer, de};

use super::*;
use crate::at::At;

/// `true`, or `{ port: …, status: … }`: every request is redirected to the same address by HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = or_true)]
pub struct RedirectHttps {
    /// The port of HTTPS, as clients see it. 1 to 65535; 443 is left out of the address.
    #[serde(default = "https")]
    #[schemars(default = "https", range(min = 1, max = 65535))]
    pub port: u16,
    /// Within 301 to 308: 301, 302, 307 or 308.
    #[serde(default = "permanent")]
    #[schemars(default = "permanent", range(min = 301, max = 308))]
    pub status: u16,
}

/// HTTP Strict Transport Security (RFC 6797): clients that have seen it use HTTPS alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hsts {
    /// For how long clients remember it; `0s` makes them forget. Up to 3650d.
    pub max_age: Span,
    /// For all names below the host, too.
    pub include_subdomains: bool,
    /// The owner wants the host on the lists that browsers are shipped with; needs `include_subdomains` and a year.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Hsts { max_age: YEAR, include_subdomains: false, preload: false }
    }
}

const YEAR: Span = Span::secs(365 * 86_400);

fn https() -> u16 {
    443
}

fn permanent() -> u16 {
    308
}

fn or_true(schema: &mut Schema) {
    let on = schemars::json_schema!({ "type": "boolean", "const": true });
    short::or_text(schema, &on);
}

impl<'de> Deserialize<'de> for RedirectHttps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RedirectHttps, D::Error> {
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = RedirectHttps;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, or `{ port: …, status: … }`")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<RedirectHttps, E> {
                match on {
                    true => Ok(RedirectHttps { port: https(), status: permanent() }),
                    false => Err(E::custom("expected `true`; leave `redirect_https` out for no redirect")),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RedirectHttps, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Long {
                    #[serde(default = "https", deserialize_with = "short::within::<1, 65535, _, _>")]
                    port: u16,
                    #[serde(default = "permanent", deserialize_with = "short::within::<301, 308, _, _>")]
                    status: u16,
                }
                let Long { port, status } = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(RedirectHttps { port, status })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl RedirectHttps {
    pub(super) fn rules(self, tls: bool, at: At<'_>, report: &mut Report) {
        if tls {
            at.key_problem("no_effect", "`redirect_https` has no effect: the listener speaks TLS", report);
        }
        if !matches!(self.status, 301 | 302 | 307 | 308) {
            let message = format!("expected 301, 302, 307 or 308, found {}", self.status);
            at.key("status").problem("bad_status", message, report);
        }
    }
}

impl Hsts {
    /// `secure`: there can be requests by HTTPS.
    pub(super) fn rules(&self, secure: bool, at: At<'_>, report: &mut Report) {
        if !secure {
            let why = "`hsts` has no effect: it is never sent in clear text (RFC 6797 §7.2)";
            at.key_problem("no_effect", why, report);
        }
        at.key("max_age").span(self.max_age, Span::secs(0)..=Span::secs(3650 * 86_400), report);
        if self.preload && !(self.include_subdomains && self.max_age >= YEAR) {
            let why =
                "browsers take a host on their lists only with `include_subdomains` and a `max_age` of 365d";
            at.key("preload").key_problem("preload", why, report);
        }
    }

    /// The value of the header.
    #[must_use]
    pub fn header(&self) -> String {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        format!("max-age={}{subdomains}{preload}", self.max_age.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_redirect() {
        let read = |text: &str| serde_json::from_str::<RedirectHttps>(text).map_err(|e| e.to_string());
        assert_eq!(read("true"), Ok(RedirectHttps { port: 443, status: 308 }));
        assert_eq!(read("{}"), read("true"));
        assert_eq!(read(r#"{"port":8443,"status":301}"#), Ok(RedirectHttps { port: 8443, status: 301 }));
        for bad in ["false", "443", r#"{"ports":1}"#, r#"{"port":0}"#, r#"{"status":200}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_header_says_what_is_asked_for() {
        let mut hsts = Hsts::default();
        assert_eq!(hsts.header(), "max-age=31536000");
        hsts.include_subdomains = true;
        hsts.preload = true;
        assert_eq!(hsts.header(), "max-age=31536000; includeSubDomains; preload");
    }
}
