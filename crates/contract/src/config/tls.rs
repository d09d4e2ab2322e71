//! TLS of a listener: versions, suites, which certificate for which name, tickets, and who clients must be.
//!
//! Whether files hold what they should is seen when they are read, by `evergate-tls`.

mod suite;

use std::collections::BTreeSet;

use evergate_conf::Report;

use super::*;
use crate::at::{At, Rules};

pub use suite::{CipherSuite, Curve};

/// TLS on a listener. The certificate is chosen by SNI: exact name, then wildcard, then the first one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Names from `certificates`; the first is the default. Of several for one name, a client gets the first whose
    /// signature it can verify: RSA and ECDSA side by side.
    pub certificates: Vec<Name>,
    /// Lowest TLS version that is taken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Highest TLS version that is taken.
    #[serde(default = "TlsVersion::newest")]
    pub max_version: TlsVersion,
    /// Cipher suites by their IANA names, the best first. A version of TLS of which none is listed keeps its own. Empty: all,
    /// AES before ChaCha20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<CipherSuite>,
    /// Groups for the exchange of keys; of these the client's first choice is taken.
    #[serde(default = "Curve::all")]
    pub curves: Vec<Curve>,
    /// Refuse clients that ask (SNI) for a name that no certificate and none of `names` is for, or for no name, with the alert
    /// `unrecognized_name` (RFC 6066 §3). Otherwise they get the default certificate.
    #[serde(default)]
    pub strict: bool,
    /// How clients resume a session instead of a full handshake.
    #[serde(default)]
    pub tickets: Tickets,
    /// Who clients must be. Absent: nobody asks them for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientTls>,
    /// Other settings for some names that clients ask for: exact, or `*.example.com` for one label. Exact beats wildcard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<Name, NameTls>,
}

/// Settings for a name. What is absent is as on the listener.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NameTls {
    /// Names from `certificates`; the first is the default for this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<Name>>,
    /// Lowest TLS version that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
    /// Highest TLS version that is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<TlsVersion>,
    /// Cipher suites by their IANA names, the best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// Who clients must be; `mode: none` where the listener asks and this name does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientTls>,
}

/// TLS versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

/// Resumption. The keys of tickets belong to the listener's name, are shared by all workers and survive every change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tickets {
    /// False: every client shakes hands in full.
    pub enabled: bool,
    /// A new key after this time; tickets of the one before are taken for as long again. 1s to 7d.
    pub rotate: Span,
}

/// Who clients must be. A change of this, or of the files, closes connections that were made under other rules: their
/// clients have to show themselves again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// Whether a certificate must be shown. One that is shown must be good in any case.
    #[serde(default)]
    pub mode: ClientMode,
    /// PEM file of the authorities that may vouch for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<FilePath>,
    /// PEM files of what these authorities have revoked. If there are any, every authority of a client's chain needs one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crl: Vec<FilePath>,
    /// Only these clients. Absent: whoever an authority vouches for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<ClientNames>,
    /// Intermediate certificates that a client may send. 0 to 6.
    #[serde(default = "ClientTls::default_depth", deserialize_with = "short::within::<0, 6, _, _>")]
    #[schemars(range(min = 0, max = 6))]
    pub depth: u8,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientMode {
    /// It must.
    #[default]
    Required,
    /// It may.
    Optional,
    /// It is not asked.
    None,
}

/// Names of which a client's certificate must have one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientNames {
    /// Common names of the subject, to the letter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cn: Vec<String>,
    /// Alternative names: DNS names in any case of letters; e-mail addresses, URIs (`spiffe://…`) and IP addresses to the letter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub san: Vec<String>,
}

/// A certificate chain and its private key, both PEM files. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, leaf first.
    pub cert: FilePath,
    /// The private key of the leaf.
    pub key: FilePath,
    /// What the authority says of the leaf (OCSP response, DER; RFC 6960), stapled to handshakes until it ends. One that is
    /// of no use is left out, with a warning in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<FilePath>,
}

impl TlsVersion {
    fn newest() -> TlsVersion {
        TlsVersion::V1_3
    }
}

impl Default for Tickets {
    fn default() -> Tickets {
        Tickets { enabled: true, rotate: Span::secs(6 * 3600) }
    }
}

impl ClientTls {
    fn default_depth() -> u8 {
        3
    }
}

impl ListenerTls {
    /// All certificates that are mentioned, those of names too.
    pub fn mentions(&self) -> impl Iterator<Item = &Name> {
        let named = self.names.values().flat_map(|name| name.certificates.iter().flatten());
        self.certificates.iter().chain(named)
    }

    /// True if some client has to show, or may show, who it is.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        let asks = |client: &ClientTls| client.mode != ClientMode::None;
        self.client.iter().chain(self.names.values().filter_map(|name| name.client.as_ref())).any(asks)
    }
}

impl Rules for ListenerTls {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        certificates(&self.certificates, at, report);
        let curves = at.key("curves");
        curves.not_empty(&self.curves, "TLS needs a group to exchange keys", report);
        curves.once(&self.curves, |a, b| a == b, report);
        versions(self.min_version, self.max_version, at, report);
        suites(&self.cipher_suites, (self.min_version, self.max_version), at, report);
        if self.curves == [Curve::X25519Mlkem768] && self.min_version == TlsVersion::V1_2 {
            curves
                .problem(
                    "no_effect",
                    "`X25519MLKEM768` is for TLS 1.3 only, and TLS 1.2 is taken too",
                    report,
                )
                .help("add a curve, or set `min_version: \"1.3\"`");
        }
        let tickets = at.key("tickets");
        tickets.key("rotate").span(self.tickets.rotate, Span::secs(1)..=Span::secs(7 * 86_400), report);
        if let Some(client) = &self.client {
            client.rules(at.key("client"), report);
        }
        let names = at.key("names");
        for (i, (name, settings)) in self.names.iter().enumerate() {
            let at = names.key(name);
            if let Err(why) = dns_pattern(name) {
                at.key_problem(
                    "bad_host",
                    format!("`{name}` is no name that clients ask for: {why}"),
                    report,
                );
            }
            if self.names.keys().take(i).any(|other| other.eq_ignore_ascii_case(name)) {
                at.key_problem("duplicate", format!("`{name}` is there twice"), report);
            }
            settings.rules_within(self, at, report);
        }
    }
}

impl NameTls {
    fn rules_within(&self, listener: &ListenerTls, at: At<'_>, report: &mut Report) {
        if *self == NameTls::default() {
            at.key_problem("empty", "a name has settings of its own, or need not be here", report);
        }
        if let Some(names) = &self.certificates {
            certificates(names, at, report);
        }
        let least = self.min_version.unwrap_or(listener.min_version);
        let most = self.max_version.unwrap_or(listener.max_version);
        // What is wrong with the listener's own is said there.
        if self.min_version.is_some() || self.max_version.is_some() {
            versions(least, most, at, report);
        }
        if let Some(list) = &self.cipher_suites {
            at.key("cipher_suites").not_empty(list, "leave `cipher_suites` out for the listener's", report);
            suites(list, (least, most), at, report);
        }
        if let Some(client) = &self.client {
            client.rules(at.key("client"), report);
        }
    }
}

fn certificates(names: &[Name], at: At<'_>, report: &mut Report) {
    let at = at.key("certificates");
    at.not_empty(names, "TLS needs a certificate", report);
    // There may be 100,000; each is held against each only to say which of them is there twice.
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        at.once(names, |a, b| a == b, report);
    }
}

fn versions(least: TlsVersion, most: TlsVersion, at: At<'_>, report: &mut Report) {
    if least > most {
        let key = if at.part("max_version").is_some() { "max_version" } else { "min_version" };
        at.key(key).problem("out_of_range", "`min_version` is above `max_version`", report);
    }
}

fn suites(list: &[CipherSuite], (least, most): (TlsVersion, TlsVersion), at: At<'_>, report: &mut Report) {
    let at = at.key("cipher_suites");
    at.once(list, |a, b| a == b, report);
    for (i, suite) in list.iter().enumerate().filter(|(_, suite)| !(least..=most).contains(&suite.version()))
    {
        let message = format!("`{suite}` is for TLS {}, which is not taken", suite.version());
        at.item(i).problem("no_effect", message, report);
    }
}

impl Rules for ClientTls {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        match (self.mode, &self.ca) {
            (ClientMode::Required | ClientMode::Optional, None) => {
                at.key_problem("missing_key", "`ca` is missing: who may vouch for clients?", report);
            }
            (ClientMode::None, Some(_)) => {
                at.key("ca").problem("no_effect", "`ca` has no effect with `mode: none`", report);
            }
            _ => {}
        }
        if self.mode == ClientMode::None {
            for (key, is_there) in [("crl", !self.crl.is_empty()), ("names", self.names.is_some())] {
                if is_there {
                    at.key(key).problem(
                        "no_effect",
                        format!("`{key}` has no effect with `mode: none`"),
                        report,
                    );
                }
            }
        }
        let Some(names) = &self.names else { return };
        let at = at.key("names");
        if names.cn.is_empty() && names.san.is_empty() {
            at.problem("empty", "no client would be let in: add names to `cn` or `san`", report)
                .help("leave `names` out to let in whoever an authority vouches for");
        }
        at.key("cn").once(&names.cn, |a, b| a == b, report);
        at.key("san").once(&names.san, |a, b| a == b, report);
    }
}

impl Rules for Certificate {
    /// Whether the files hold what they should is seen when they are read.
    fn rules(&self, _: At<'_>, _: &mut Report) {}
}

/// A DNS name as clients ask for it, or `*.` before one.
fn dns_pattern(name: &str) -> Result<(), &'static str> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        inner && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if host.contains(':') || host.parse::<std::net::IpAddr>().is_ok() {
        Err("clients do not ask for addresses (RFC 6066 §3)")
    } else if host.contains('*') {
        Err("`*` stands for the first label only")
    } else if host.len() > 253 || !host.split('.').all(label) {
        Err("write a DNS name; international ones as `xn--…`")
    } else {
        Ok(())
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        })
    }
}
