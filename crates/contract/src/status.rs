//! What a running gateway says about itself: plain values that the data plane fills in and the admin API,
//! metrics and command line show. Neither side knows the other.

use std::{future::Future, pin::Pin};

use serde::Serialize;

use crate::config::{Carried, Name};

/// Answers about the running data plane. Never blocks a worker.
pub trait Running: Send + Sync {
    /// Sockets that take connections, and those that drain.
    fn listeners(&self) -> Vec<ListenerStatus>;
    /// Certificates that are served.
    fn certificates(&self) -> CertificatesStatus;
    /// Threads that serve.
    fn workers(&self) -> usize;
    /// Upstreams of the running revision with their endpoints.
    fn upstreams(&self) -> Vec<UpstreamStatus>;
    /// Counters of all workers, summed. Includes workers that have ended since.
    fn traffic(&self) -> Pin<Box<dyn Future<Output = Traffic> + Send + '_>>;
}

/// The process that serves, and who looks after it.
pub trait Process: Send + Sync {
    /// How it stands with its supervisor; `None` if it has none.
    fn supervisor(&self) -> Option<SupervisorStatus>;
    /// Has this process replaced: by the program in that file, or by the one that the supervisor was started from. The
    /// answer is the version that serves now, or why nothing has changed.
    fn upgrade(&self, binary: Option<String>)
    -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;
}

/// The supervisor and its children.
#[derive(Clone, Debug, Serialize)]
pub struct SupervisorStatus {
    /// Its process: the one to send signals to.
    pub pid: u32,
    /// Processes that took over from another since it began.
    pub upgrades: u32,
    /// How the last upgrade that failed did, if none has succeeded since.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_failed_upgrade: String,
    /// Processes that ended without being asked to.
    pub crashes: u32,
    /// How the last of them did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_crash: String,
    /// The revision that was taken back since it ended its process again and again, until the next change.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub crash_loop: String,
    /// Processes that have been replaced and still finish what they do.
    pub draining: u32,
}

/// A listener as it is.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Name,
    /// Where it really listens (a port of 0 in the document is a real one here).
    pub address: String,
    /// True if it speaks TLS.
    pub tls: bool,
    /// What it carries: `http`, `tcp` or `udp`.
    pub carries: Carried,
    /// Connections that it took and that are open; of UDP, clients that are known.
    pub connections: u64,
    /// No longer in the document; its connections finish their requests.
    pub draining: bool,
}

/// Certificates that are served.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CertificatesStatus {
    /// How many there are.
    pub count: usize,
    /// How many were read and checked since the start; one that did not change is not read again.
    pub read: u64,
    /// Those that end first, the soonest first; a thousand at most.
    pub soonest: Vec<CertificateStatus>,
}

/// A certificate that is served.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateStatus {
    /// Its name in the document.
    pub name: Name,
    /// When it ends, in seconds since 1970.
    pub not_after: i64,
}

/// An upstream as it is.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: Name,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint as it is.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its URL.
    pub url: String,
    /// Its weight.
    pub weight: u16,
    /// What health checks say.
    pub health: HealthStatus,
    /// Set aside since it failed real requests.
    pub ejected: bool,
    /// Requests in flight.
    pub active: u64,
    /// Requests sent since it is known.
    pub requests: u64,
    /// Of these, without a good answer.
    pub failures: u64,
}

/// What health checks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not asked, or no verdict so far; takes requests.
    Unknown,
    /// Lives.
    Healthy,
    /// Takes no requests.
    Unhealthy,
}

/// Counters since the start.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Finished requests.
    pub requests: Vec<RequestCount>,
    /// Upper bounds in seconds with the number of requests at or below each, cumulative; the last is infinity.
    pub duration_buckets: Vec<(f64, u64)>,
    /// Sum of all durations in seconds.
    pub duration_sum: f64,
    /// Requests in flight.
    pub active: u64,
    /// Connections open, by listener name.
    pub connections: Vec<(Name, u64)>,
    /// Upgraded connections and other tunnels that are open.
    pub tunnels: u64,
    /// Bytes of bodies received from clients.
    pub bytes_in: u64,
    /// Bytes of bodies sent to clients.
    pub bytes_out: u64,
    /// Requests refused before they reached a route, by fault code.
    pub refused: Vec<(&'static str, u64)>,
    /// What listeners have carried that is not HTTP.
    pub streams: Vec<StreamCount>,
}

/// Streams that a listener has carried.
#[derive(Clone, Debug)]
pub struct StreamCount {
    /// Name of the listener; `_other` beyond the bound on label values.
    pub listener: Name,
    /// Those that are over, by how they ended.
    pub ended: Vec<(&'static str, u64)>,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// Of UDP: datagrams from clients, and to them.
    pub datagrams: (u64, u64),
    /// Of UDP: datagrams that were dropped, by why.
    pub dropped: Vec<(&'static str, u64)>,
}

/// Finished requests with the same labels.
#[derive(Clone, Debug)]
pub struct RequestCount {
    /// Method; those that are not standard are `OTHER`.
    pub method: &'static str,
    /// Route name; empty where none matched, `_other` beyond the bound on label values.
    pub route: Name,
    /// Status of the response.
    pub status: u16,
    /// How many.
    pub count: u64,
}
