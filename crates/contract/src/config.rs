//! The document as types: only what the user wrote, with defaults filled in. Nothing here touches the
//! world; [`check`](fn@crate::check) makes sure that it hangs together.

mod action;
mod address;
mod admin;
mod client;
mod endpoint;
mod headers;
mod http2;
mod http3;
mod https;
mod layer4;
mod listen;
mod listener;
mod predicate;
mod process;
mod route;
mod short;
mod tls;
mod upstream;
mod workers;

use std::{collections::BTreeMap, fmt, sync::Arc};

use evergate_conf::{
    ByName,
    units::{FilePath, Span},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use action::{Files, Forward, Redirect, Respond, Target};
pub use address::{Address, AddressError};
pub use admin::{Admin, Log, LogFormat, LogLevel, Reload};
pub use client::{ClientAddress, Others, ProxyProtocol, Source, SourceError};
pub use endpoint::{Carried, Endpoint};
pub use headers::{HeaderEdit, HeaderEdits, RareEdits};
pub use http2::{Http2, Http2Ping};
pub use http3::{AltSvc, Http3};
pub use https::{Hsts, RedirectHttps};
pub use layer4::{Tcp, Udp};
pub(crate) use layer4::{Transport, Way};
pub use listen::{FileMode, KeepAlive, ListenAddress, ListenAddressError, Place, SocketOptions};
pub use listener::{Limits, Listener, Protocol, Timeouts};
pub use predicate::{Match, PathMatch, TextMatch};
pub use process::{Drain, Process};
pub use route::{Rewrite, Route, RouteLimits};
pub use tls::{
    Certificate, CipherSuite, ClientMode, ClientNames, ClientTls, Curve, ListenerTls, NameTls, Tickets,
    TlsVersion,
};
pub use upstream::{
    Balance, Ejection, Health, Pool, ProxyVersion, Retries, Upstream, UpstreamProtocol, UpstreamTimeouts,
    UpstreamTls,
};
pub use workers::Workers;

/// The name of an object, shared by all who mention it.
pub type Name = Arc<str>;

/// Objects of one kind by name. Unchanged objects of two revisions are the same `Arc`.
pub type Objects<T> = ByName<Arc<T>>;

/// One whole document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Threads that serve traffic: `auto` is one for each core.
    pub workers: Workers,
    /// The admin API, metrics and health.
    pub admin: Admin,
    /// What the program says of itself.
    pub log: Log,
    /// Sockets that take connections.
    pub listeners: Objects<Listener>,
    /// Certificates with their keys.
    pub certificates: Objects<Certificate>,
    /// Groups of endpoints that requests are sent to.
    pub upstreams: Objects<Upstream>,
    /// Which request is answered how. Of those that match, the most specific wins: by host, path, method, headers,
    /// query, name, in this order; `priority` overrides.
    pub routes: Objects<Route>,
    /// The process that serves: how it is looked after, and how it ends.
    pub process: Process,
    /// How this document is watched, and how much of its past is kept.
    pub reload: Reload,
}
