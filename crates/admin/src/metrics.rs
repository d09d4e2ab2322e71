//! `/metrics`: what the engine, the data plane and the process count, as Prometheus text.
//!
//! Names that dashboards know are kept. The number of series has a bound whatever the document holds.

mod text;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evergate_contract::status::{
    CertificatesStatus, EndpointStatus, HealthStatus, ListenerStatus, Running, StreamCount, Traffic,
    UpstreamStatus,
};
use evergate_reload::{
    Handle, Status,
    counters::{BUCKETS, Component, Counters, Durations},
};

use self::text::{Exposition, Kind};
use crate::process::Process;

pub(crate) use self::text::CONTENT_TYPE;
#[cfg(test)]
pub(crate) use self::text::reader;

/// Endpoints that are told apart; further ones are only counted.
const ENDPOINTS_MAX: usize = 2000;

/// Sections of the document: their components are there from the start, at zero.
const SECTIONS: [&str; 8] =
    ["admin", "certificates", "listeners", "log", "reload", "routes", "upstreams", "workers"];

/// The whole page. `uptime` is that of the process.
pub(crate) async fn page(engine: &Handle, data_plane: &dyn Running, uptime: Duration) -> String {
    let mut out = Exposition::default();
    reloads(&mut out, engine.counters());
    running(&mut out, &engine.status());
    let traffic = data_plane.traffic().await;
    requests(&mut out, &traffic);
    streams(&mut out, &traffic.streams);
    listeners(&mut out, &data_plane.listeners());
    certificates(&mut out, &data_plane.certificates());
    backends(&mut out, &data_plane.upstreams());
    let workers = data_plane.workers();
    out.family("gateway_workers", Kind::Gauge, "Threads that serve.").count(&[], workers as u64);
    process(&mut out, &crate::process::look(), uptime);
    out.into_text()
}

/// The word of a verdict as dashboards know it.
fn status_word(verdict: &'static str) -> &'static str {
    match verdict {
        "applied" => "success",
        "refused" => "error",
        "planned" => "dry_run",
        other => other,
    }
}

fn reloads(out: &mut Exposition, counters: &Counters) {
    let mut total = out.family(
        "gateway_config_reload_total",
        Kind::Counter,
        "Changes of the configuration by how they ended: success, unchanged, error (refused), conflict, dry_run.",
    );
    for (verdict, count) in counters.reloads() {
        total.count(&[("status", status_word(verdict))], count);
    }
    let mut errors = out.family(
        "gateway_config_reload_errors_total",
        Kind::Counter,
        "Refused changes by the step that refused.",
    );
    for (stage, count) in counters.errors() {
        errors.count(&[("error_type", stage.word())], count);
    }
    let mut components = out.family(
        "gateway_config_reload_component_total",
        Kind::Counter,
        "Changes by the section of the document and by result.",
    );
    let mut known: BTreeMap<Box<str>, Component> =
        SECTIONS.iter().map(|name| ((*name).into(), Component::default())).collect();
    known.extend(counters.components());
    for (name, component) in known {
        components.count(&[("component", &name), ("result", "success")], component.success);
        components.count(&[("component", &name), ("result", "error")], component.failure);
    }
    out.family(
        "gateway_config_reload_duration_seconds",
        Kind::Histogram,
        "From the first event to the verdict.",
    )
    .histogram(&[], &buckets(&counters.durations()), counters.durations().sum);
    let mut steps = out.family(
        "gateway_config_reload_step_duration_seconds",
        Kind::Histogram,
        "How long each step took.",
    );
    for (stage, durations) in counters.steps() {
        steps.histogram(&[("step", stage.word())], &buckets(&durations), durations.sum);
    }
    out.family(
        "gateway_config_reload_last_success_timestamp",
        Kind::Gauge,
        "When a change was last applied or found to run already, in seconds since 1970.",
    )
    .count(&[], counters.last_success());
    out.single(
        "gateway_config_watcher_running",
        Kind::Gauge,
        "1 while the system tells of changes on disk.",
        f64::from(u8::from(counters.watcher_running())),
    );
}

fn buckets(durations: &Durations) -> Vec<(f64, u64)> {
    BUCKETS.into_iter().chain([f64::INFINITY]).zip(durations.cumulative).collect()
}

fn running(out: &mut Exposition, status: &Status) {
    let now = &status.running;
    let hash = now.digest.get(..12).unwrap_or(&now.digest);
    out.family("gateway_config_hash", Kind::Gauge, "1 for the revision that runs.")
        .count(&[("hash", hash)], 1);
    out.family("gateway_config_revision", Kind::Gauge, "Number of the revision that runs.")
        .count(&[], now.revision.seq);
    let mut flag = |name, help, set: bool| out.single(name, Kind::Gauge, help, f64::from(u8::from(set)));
    flag("gateway_config_overlay", "1 if something that runs was set by API.", status.overlay);
    flag("gateway_config_held", "1 if the files differ from what runs but are not used.", status.held);
    flag(
        "gateway_config_history_degraded",
        "1 if what runs could not be written down.",
        status.history_degraded.is_some(),
    );
    out.family("gateway_generations", Kind::Gauge, "Snapshots that still serve somebody.")
        .count(&[], status.generations.len() as u64);
    let oldest = status.generations.first().map_or(0.0, |g| g.age.as_secs_f64());
    out.single("gateway_generation_oldest_age_seconds", Kind::Gauge, "Age of the oldest of them.", oldest);
}

fn requests(out: &mut Exposition, traffic: &Traffic) {
    let mut total = out.family(
        "gateway_requests_total",
        Kind::Counter,
        "Finished requests; the route is empty where none matched.",
    );
    for r in &traffic.requests {
        total.count(&[("method", r.method), ("route", &r.route), ("status", &r.status.to_string())], r.count);
    }
    out.family(
        "gateway_request_duration_seconds",
        Kind::Histogram,
        "From the first byte of a request to the last of its response.",
    )
    .histogram(&[], &traffic.duration_buckets, traffic.duration_sum);
    out.family("gateway_active_requests", Kind::Gauge, "Requests in flight.").count(&[], traffic.active);
    let mut refused = out.family(
        "gateway_requests_refused_total",
        Kind::Counter,
        "Requests refused before they reached a route.",
    );
    for (reason, count) in &traffic.refused {
        refused.count(&[("reason", reason)], *count);
    }
    out.family("gateway_tunnels", Kind::Gauge, "Upgraded connections that are open.")
        .count(&[], traffic.tunnels);
    out.family(
        "gateway_received_bytes_total",
        Kind::Counter,
        "Bytes of bodies and streams received from clients.",
    )
    .count(&[], traffic.bytes_in);
    out.family("gateway_sent_bytes_total", Kind::Counter, "Bytes of bodies and streams sent to clients.")
        .count(&[], traffic.bytes_out);
}

fn streams(out: &mut Exposition, all: &[StreamCount]) {
    let mut ended = out.family(
        "gateway_streams_total",
        Kind::Counter,
        "Connections that TCP listeners have forwarded, and clients of UDP listeners, by how they ended.",
    );
    for (stream, (how, count)) in all.iter().flat_map(|s| s.ended.iter().map(move |ended| (s, ended))) {
        ended.count(&[("listener", &stream.listener), ("end", how)], *count);
    }
    let mut bytes = |name, help, count: fn(&StreamCount) -> u64| {
        let mut family = out.family(name, Kind::Counter, help);
        for stream in all {
            family.count(&[("listener", &stream.listener)], count(stream));
        }
    };
    bytes("gateway_stream_received_bytes_total", "Bytes from clients of TCP and UDP listeners.", |s| {
        s.received
    });
    bytes("gateway_stream_sent_bytes_total", "Bytes to clients of TCP and UDP listeners.", |s| s.sent);
    let udp = || all.iter().filter(|s| s.datagrams != (0, 0));
    let mut datagrams = out.family("gateway_datagrams_total", Kind::Counter, "Datagrams of UDP listeners.");
    for stream in udp() {
        let (received, sent) = stream.datagrams;
        for (direction, count) in [("received", received), ("sent", sent)] {
            datagrams.count(&[("listener", &stream.listener), ("direction", direction)], count);
        }
    }
    let help = "Datagrams of UDP listeners that were dropped.";
    let mut dropped = out.family("gateway_datagrams_dropped_total", Kind::Counter, help);
    for (stream, (why, count)) in udp().flat_map(|s| s.dropped.iter().map(move |dropped| (s, dropped))) {
        dropped.count(&[("listener", &stream.listener), ("reason", why)], *count);
    }
}

fn listeners(out: &mut Exposition, all: &[ListenerStatus]) {
    // A listener that moved there and back may be twice in the list.
    let mut connections: BTreeMap<(&str, &str, bool), u64> = BTreeMap::new();
    for l in all {
        *connections.entry((&l.name, &l.address, l.draining)).or_default() += l.connections;
    }
    let mut family = out.family(
        "gateway_listener_connections",
        Kind::Gauge,
        "Open connections by listener; one that drains is not in the document any more.",
    );
    for ((name, address, draining), count) in connections {
        let draining = if draining { "true" } else { "false" };
        family.count(&[("listener", name), ("address", address), ("draining", draining)], count);
    }
}

fn certificates(out: &mut Exposition, all: &CertificatesStatus) {
    let mut family = out.family(
        "gateway_certificate_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the certificate ends, in seconds since 1970; of many, those that end first.",
    );
    for certificate in &all.soonest {
        let end = u64::try_from(certificate.not_after).unwrap_or(0);
        family.count(&[("certificate", &certificate.name)], end);
    }
    out.family(
        "gateway_certificates_not_shown",
        Kind::Gauge,
        "Certificates that are too many to be told apart here.",
    )
    .count(&[], all.count.saturating_sub(all.soonest.len()) as u64);
    out.family(
        "gateway_certificates_read_total",
        Kind::Counter,
        "Certificates that were read and checked; one that did not change is not read again.",
    )
    .count(&[], all.read);
}

fn backends(out: &mut Exposition, upstreams: &[UpstreamStatus]) {
    // The same URL twice in an upstream is one endpoint with two weights.
    let all: BTreeMap<(&str, &str), &EndpointStatus> = upstreams
        .iter()
        .flat_map(|u| u.endpoints.iter().map(|e| ((u.name.as_ref(), e.url.as_str()), e)))
        .collect();
    let mut gauge = |name, kind, help, value: fn(&EndpointStatus) -> u64| {
        let mut family = out.family(name, kind, help);
        for ((backend, host), endpoint) in all.iter().take(ENDPOINTS_MAX) {
            family.count(&[("backend", backend), ("host", host)], value(endpoint));
        }
    };
    gauge(
        "gateway_backend_health",
        Kind::Gauge,
        "1 if the endpoint may take requests, 0 if health checks or failures took it out.",
        |e| u64::from(takes_requests(e)),
    );
    gauge("gateway_backend_active_requests", Kind::Gauge, "Requests in flight to the endpoint.", |e| {
        e.active
    });
    gauge("gateway_backend_requests_total", Kind::Counter, "Requests sent to the endpoint.", |e| e.requests);
    gauge("gateway_backend_failures_total", Kind::Counter, "Of these, without a good answer.", |e| {
        e.failures
    });
    let out_of_service = all.values().filter(|e| !takes_requests(e)).count();
    out.family("gateway_backends_unhealthy", Kind::Gauge, "Endpoints that may take no requests, of all.")
        .count(&[], out_of_service as u64);
    out.family(
        "gateway_backends_not_shown",
        Kind::Gauge,
        "Endpoints that are too many to be told apart here.",
    )
    .count(&[], all.len().saturating_sub(ENDPOINTS_MAX) as u64);
}

fn takes_requests(endpoint: &EndpointStatus) -> bool {
    endpoint.health != HealthStatus::Unhealthy && !endpoint.ejected
}

fn process(out: &mut Exposition, process: &Process, uptime: Duration) {
    out.family("gateway_info", Kind::Gauge, "1 for the version that runs.")
        .count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.single("gateway_uptime_seconds", Kind::Gauge, "Since the process serves.", uptime.as_secs_f64());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(uptime);
    out.single(
        "process_start_time_seconds",
        Kind::Gauge,
        "When it began to, since 1970.",
        since.as_secs_f64(),
    );
    if let Some(seconds) = process.cpu_seconds {
        out.single("process_cpu_seconds_total", Kind::Counter, "Processor time used.", seconds);
    }
    let mut gauge = |name, help, value: Option<u64>| {
        if let Some(value) = value {
            out.family(name, Kind::Gauge, help).count(&[], value);
        }
    };
    gauge("process_resident_memory_bytes", "Memory in use.", process.resident_bytes);
    gauge("process_open_fds", "Open file descriptors.", process.open_files);
    gauge("process_max_fds", "Open file descriptors that are allowed.", process.open_files_max);
    gauge("process_threads", "Threads.", process.threads);
}

#[cfg(test)]
mod tests;
