use std::{sync::Arc, time::Duration};

use evergate_contract::{
    config::Carried,
    status::{CertificateStatus, RequestCount},
};

use super::{text::reader, *};

fn endpoint(url: &str, health: HealthStatus, ejected: bool) -> EndpointStatus {
    EndpointStatus { url: url.to_owned(), weight: 1, health, ejected, active: 2, requests: 30, failures: 4 }
}

fn listener(address: &str, connections: u64, draining: bool) -> ListenerStatus {
    let (name, address) = ("web".into(), address.to_owned());
    ListenerStatus { name, address, tls: false, carries: Carried::Http, connections, draining }
}

fn traffic() -> Traffic {
    let count =
        |route: &str, status, count| RequestCount { method: "GET", route: route.into(), status, count };
    Traffic {
        requests: vec![count("api\"\\", 200, 3), count("", 404, 1)],
        duration_buckets: vec![(0.005, 1), (f64::INFINITY, 4)],
        duration_sum: 0.5,
        refused: vec![("bad_request", 2)],
        streams: vec![StreamCount {
            listener: "db".into(),
            ended: vec![("whole", 1), ("reset", 5)],
            received: 7,
            sent: 8,
            datagrams: (9, 10),
            dropped: vec![("full", 11)],
        }],
        ..Traffic::default()
    }
}

#[test]
fn every_family_reads_well() {
    let mut out = Exposition::default();
    reloads(&mut out, &Counters::default());
    requests(&mut out, &traffic());
    streams(&mut out, &traffic().streams);
    listeners(&mut out, &[listener("a:1", 1, false), listener("a:1", 2, false), listener("a:1", 4, true)]);
    let near = CertificateStatus { name: "near".into(), not_after: 1_800_000_000 };
    certificates(&mut out, &CertificatesStatus { count: 3, read: 5, soonest: vec![near] });
    let endpoints = vec![
        endpoint("http://a", HealthStatus::Healthy, false),
        endpoint("http://b", HealthStatus::Unknown, false),
        endpoint("http://c", HealthStatus::Unhealthy, false),
        endpoint("http://d", HealthStatus::Healthy, true),
        endpoint("http://d", HealthStatus::Healthy, true),
    ];
    backends(&mut out, &[UpstreamStatus { name: "api".into(), endpoints }]);
    process(&mut out, &crate::process::look(), Duration::from_secs(3));
    let families = reader::read(&out.into_text()).unwrap();
    let value = |name: &str, labels: &[(&str, &str)]| {
        let wanted: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let found = families.get(name).and_then(|f| f.samples.iter().find(|s| s.labels == wanted));
        found.map_or(f64::NAN, |s| s.value)
    };
    for status in ["success", "unchanged", "error", "conflict", "dry_run"] {
        assert_eq!(value("gateway_config_reload_total", &[("status", status)]), 0.0, "{status}");
    }
    for section in SECTIONS {
        let labels = [("component", section), ("result", "error")];
        assert_eq!(value("gateway_config_reload_component_total", &labels), 0.0, "{section}");
    }
    assert_eq!(value("gateway_config_reload_errors_total", &[("error_type", "check")]), 0.0);
    let labels = [("method", "GET"), ("route", "api\"\\"), ("status", "200")];
    assert_eq!(value("gateway_requests_total", &labels), 3.0);
    assert_eq!(value("gateway_requests_refused_total", &[("reason", "bad_request")]), 2.0);
    assert_eq!(value("gateway_streams_total", &[("listener", "db"), ("end", "reset")]), 5.0);
    assert_eq!(value("gateway_stream_received_bytes_total", &[("listener", "db")]), 7.0);
    assert_eq!(value("gateway_stream_sent_bytes_total", &[("listener", "db")]), 8.0);
    let labels = [("listener", "db"), ("direction", "sent")];
    assert_eq!(value("gateway_datagrams_total", &labels), 10.0);
    assert_eq!(value("gateway_datagrams_dropped_total", &[("listener", "db"), ("reason", "full")]), 11.0);
    let live = [("listener", "web"), ("address", "a:1"), ("draining", "false")];
    assert_eq!(value("gateway_listener_connections", &live), 3.0);
    let near = [("certificate", "near")];
    assert_eq!(value("gateway_certificate_expiry_timestamp_seconds", &near), 1.8e9);
    assert_eq!(value("gateway_certificates_not_shown", &[]), 2.0);
    assert_eq!(value("gateway_certificates_read_total", &[]), 5.0);
    for (host, up) in [("http://a", 1.0), ("http://b", 1.0), ("http://c", 0.0), ("http://d", 0.0)] {
        assert_eq!(value("gateway_backend_health", &[("backend", "api"), ("host", host)]), up, "{host}");
    }
    assert_eq!(value("gateway_backend_requests_total", &[("backend", "api"), ("host", "http://a")]), 30.0);
    assert_eq!(value("gateway_backends_unhealthy", &[]), 2.0);
    assert_eq!(value("gateway_uptime_seconds", &[]), 3.0);
    assert!(value("process_resident_memory_bytes", &[]) > 0.0);
}

#[test]
fn endpoints_have_a_bound() {
    let count = ENDPOINTS_MAX + 5;
    let endpoints =
        (0..count).map(|i| endpoint(&format!("http://h{i}"), HealthStatus::Healthy, false)).collect();
    let mut out = Exposition::default();
    backends(&mut out, &[UpstreamStatus { name: Arc::from("big"), endpoints }]);
    let text = out.into_text();
    assert!(text.contains("\ngateway_backends_not_shown 5\n"));
    assert_eq!(text.lines().filter(|l| l.starts_with("gateway_backend_health{")).count(), ENDPOINTS_MAX);
}
