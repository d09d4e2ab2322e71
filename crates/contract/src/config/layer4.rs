//! What a listener carries that is not HTTP: streams of bytes, or datagrams, to an upstream.

use evergate_conf::Report;
use schemars::{Schema, json_schema};
use serde::{
    Deserializer, Serializer,
    de::{MapAccess, value::MapAccessDeserializer},
};

use super::{short::ShortForm, *};
use crate::at::At;

/// A name from `upstreams`, or `{ forward: …, idle: … }`. Its endpoints are `tcp://` or `tls://`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Tcp", transform = tcp_text)]
pub struct Tcp {
    /// Where connections go: the name of an upstream, or several with weights.
    pub forward: Forward,
    /// A connection is closed after so long without a byte either way. 1ms to 24h. A change holds for connections
    /// that begin after it.
    #[serde(default = "idle")]
    pub idle: Span,
    /// Until there is a connection to an endpoint, all tries together; then the client's is reset. Each try has
    /// `timeouts.connect` of the upstream. 1ms to 24h.
    #[serde(default = "connect")]
    pub connect: Span,
}

impl Tcp {
    /// To one upstream, with the defaults.
    #[must_use]
    pub fn to(upstream: &str) -> Tcp {
        Tcp { forward: Forward::all_to(upstream), idle: idle(), connect: connect() }
    }

    fn rules(&self, at: At<'_>, report: &mut Report) {
        self.forward.rules(at.key("forward"), report);
        at.key("idle").timeout(self.idle, report);
        at.key("connect").timeout(self.connect, report);
    }
}

/// As long as a busy pool of a database rests at lunch.
fn idle() -> Span {
    Span::secs(3600)
}

fn connect() -> Span {
    Span::secs(10)
}

fn tcp_text(schema: &mut Schema) {
    let text = json_schema!({ "type": "string", "description": "A name from `upstreams`." });
    short::or_text(schema, &text);
}

impl ShortForm for Tcp {
    const EXPECTING: &'static str = "the name of an upstream, or `{ forward: …, idle: … }`";

    fn from_text(text: &str) -> Result<Tcp, String> {
        Ok(Tcp::to(text))
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Tcp, A::Error> {
        Tcp::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A name from `upstreams`, or `{ forward: …, idle: … }`. Its endpoints are `udp://`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "Udp", transform = tcp_text)]
pub struct Udp {
    /// Where datagrams go: the name of an upstream, or several with weights. A client's first datagram chooses; further
    /// ones go to the same endpoint, until that is gone or set aside, or `forward` no longer leads there.
    pub forward: Forward,
    /// A client is forgotten after so long without a datagram either way. 1ms to 24h.
    #[serde(default = "udp_idle")]
    pub idle: Span,
    /// Clients at once; datagrams of further ones are dropped. Each has a socket. 1 to 1000000.
    #[serde(default = "sessions", deserialize_with = "short::within::<1, 1000000, _, _>")]
    #[schemars(range(min = 1, max = 1000000))]
    pub sessions: u32,
}

impl Udp {
    fn rules(&self, at: At<'_>, report: &mut Report) {
        self.forward.rules(at.key("forward"), report);
        at.key("idle").timeout(self.idle, report);
    }
}

fn udp_idle() -> Span {
    Span::secs(30)
}

fn sessions() -> u32 {
    10_000
}

impl ShortForm for Udp {
    const EXPECTING: &'static str = "the name of an upstream, or `{ forward: …, idle: … }`";

    fn from_text(text: &str) -> Result<Udp, String> {
        Ok(Udp { forward: Forward::all_to(text), idle: udp_idle(), sessions: sessions() })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Udp, A::Error> {
        Udp::deserialize(MapAccessDeserializer::new(map))
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

by_short_form!(Tcp, Udp);

/// What a listener that carries no requests may have besides.
const TCP_KEYS: &[&str] =
    &["address", "limits", "passthrough", "proxy_protocol", "socket", "tcp", "timeouts", "tls"];
/// The same of one that carries datagrams.
const UDP_KEYS: &[&str] = &["address", "udp"];

/// The kernel has ports of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// Connections; of Unix sockets too.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A forward of a listener, and where it stands.
pub(crate) struct Way<'a> {
    /// The key of the listener.
    pub(crate) section: &'static str,
    /// The key below it, if there is one.
    pub(crate) name: Option<&'a str>,
    /// The upstreams.
    pub(crate) to: &'a Forward,
}

impl Way<'_> {
    /// Whether the upstream takes what is sent there; says what it has to be.
    pub(crate) fn fits(&self, upstream: &Upstream) -> Result<(), &'static str> {
        let wanted = if self.section == "udp" { Carried::Udp } else { Carried::Tcp };
        if upstream.carries() != wanted {
            return Err(wanted.schemes());
        }
        if self.name.is_some() && upstream.endpoints.iter().any(Endpoint::is_tls) {
            // The client's own TLS is passed on: it would be wrapped once more.
            return Err("`tcp://`, since TLS is passed on as it came");
        }
        Ok(())
    }
}

fn sni_pattern(name: &str) -> Result<(), &'static str> {
    // Addresses are no names of a server (RFC 6066 §3).
    if name.starts_with('[') || name.parse::<std::net::IpAddr>().is_ok() {
        return Err("it is an address");
    }
    if name == "*" {
        return Err("a name stands behind it, as in `*.example.com`");
    }
    predicate::host_pattern(name)
}

impl Listener {
    /// What it carries.
    #[must_use]
    pub fn carries(&self) -> Carried {
        if self.udp.is_some() {
            return Carried::Udp;
        }
        let only_passes = !self.passthrough.is_empty() && self.tls.is_none();
        if self.tcp.is_some() || only_passes { Carried::Tcp } else { Carried::Http }
    }

    /// What its sockets are of.
    pub(crate) fn transports(&self) -> &'static [Transport] {
        match self.carries() {
            Carried::Udp => &[Transport::Udp],
            Carried::Http if self.protocols.contains(&Protocol::Http3) => &[Transport::Tcp, Transport::Udp],
            Carried::Http | Carried::Tcp => &[Transport::Tcp],
        }
    }

    /// True if connections of this listener belong to `other` as well: it is the same listener with other settings.
    #[must_use]
    pub fn is_same_as(&self, other: &Listener) -> bool {
        let identity = |l: &Listener| (l.place(), l.tls.is_some(), l.carries());
        identity(self) == identity(other)
    }

    /// Where it forwards to by itself.
    pub(crate) fn forwards(&self) -> impl Iterator<Item = Way<'_>> {
        let udp = self.udp.iter().map(|udp| Way { section: "udp", name: None, to: &udp.forward });
        let tcp = self.tcp.iter().map(|tcp| Way { section: "tcp", name: None, to: &tcp.forward });
        udp.chain(tcp).chain(self.passthrough.iter().map(|(name, tcp)| Way {
            section: "passthrough",
            name: Some(name),
            to: &tcp.forward,
        }))
    }

    /// What can be said of this part of a listener alone.
    pub(super) fn layer4_rules(&self, at: At<'_>, report: &mut Report) {
        if let Some(udp) = &self.udp {
            udp.rules(at.key("udp"), report);
            at.only(UDP_KEYS, "the listener forwards UDP; another one may have the same address", report);
            if self.address.ip().is_none() {
                let message = format!("`{}` takes no datagrams: UDP has an address and a port", self.address);
                at.key("address").problem("bad_address", message, report);
            }
            return;
        }
        if let Some(tcp) = &self.tcp {
            tcp.rules(at.key("tcp"), report);
        }
        let names = at.key("passthrough");
        for (i, (name, tcp)) in self.passthrough.iter().enumerate() {
            let at = names.key(name);
            tcp.rules(at, report);
            if let Err(why) = sni_pattern(name) {
                at.key_problem("bad_host", format!("`{name}` is no name to ask for by TLS: {why}"), report);
            }
            if self.passthrough.keys().take(i).any(|earlier| earlier.eq_ignore_ascii_case(name)) {
                at.key_problem("duplicate", format!("`{name}` is there twice"), report);
            }
        }
        if self.carries() == Carried::Tcp {
            self.no_http(at, report);
        }
    }

    fn no_http(&self, at: At<'_>, report: &mut Report) {
        let why = "the listener forwards TCP, no HTTP is spoken there";
        at.only(TCP_KEYS, why, report);
        if let Some(limits) = at.part("limits") {
            limits.only(&["connections", "connections_per_client"], why, report);
        }
        if let Some(timeouts) = at.part("timeouts") {
            let shakes_hands =
                self.tls.is_some() || !self.passthrough.is_empty() || self.proxy_protocol.is_some();
            timeouts.only(if shakes_hands { &["handshake"] } else { &[] }, why, report);
        }
    }
}
