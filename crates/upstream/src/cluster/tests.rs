use std::sync::Arc;

use serde_json::{Value, json};

use super::{Build, Cluster, Event, HealthStatus};
use crate::{Verdict, testing::Rig, verdict::Streak};

/// Whether the endpoint's state and the way to it are the same in both.
fn same(a: &Cluster, b: &Cluster) -> (bool, bool) {
    let (a, b) = (&a.members()[0], &b.members()[0]);
    (Arc::ptr_eq(&a.state, &b.state), Arc::ptr_eq(&a.connector, &b.connector))
}

#[test]
fn what_survives_which_change() {
    let rig = Rig::stopped();
    let check = |change: Value, expected: (bool, bool)| {
        let base = json!({ "endpoints": ["https://a.test"], "tls": { "insecure_skip_verify": true } });
        let before = rig.cluster(base.clone());
        let mut changed = base;
        changed.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(same(&before, &rig.cluster(changed)), expected, "{change}");
    };
    check(json!({}), (true, true));
    check(json!({ "balance": "random", "health": {}, "ejection": {} }), (true, true));
    check(
        json!({ "timeouts": { "connect": "1s" }, "pool": { "idle": 1 }, "retries": { "connect": 0 } }),
        (true, true),
    );
    check(json!({ "endpoints": [{ "url": "https://a.test", "weight": 7 }] }), (true, true));
    check(json!({ "endpoints": [{ "url": "https://a.test:443", "weight": 7 }] }), (true, true));
    check(json!({ "protocol": "h2" }), (true, false));
    check(json!({ "tls": { "insecure_skip_verify": true, "server_name": "b.test" } }), (true, false));
    check(json!({ "endpoints": ["http://a.test"] }), (false, false));
    check(json!({ "endpoints": ["https://b.test"] }), (false, false));
}

#[test]
fn another_authority_makes_another_handshake() {
    let mut rig = Rig::stopped();
    let spec = json!({ "endpoints": ["https://a.test"], "tls": { "ca": "ca.pem" } });
    rig.ca = Some(evergate_testkit::Authority::new().pem());
    let first = rig.cluster(spec.clone());
    assert_eq!(same(&first, &rig.cluster(spec.clone())), (true, true));
    rig.ca = Some(evergate_testkit::Authority::new().pem());
    assert_eq!(same(&first, &rig.cluster(spec)), (true, false));
}

#[test]
fn tls_that_cannot_be_had_is_an_error_even_without_https() {
    let rig = Rig::stopped();
    let spec = Arc::new(
        serde_json::from_value(json!({ "endpoints": ["http://a.test"], "tls": { "ca": "ca.pem" } })).unwrap(),
    );
    let cx = Build { keep: &rig.keep, crypto: &rig.crypto, ca: None, own: None };
    assert!(Cluster::build(&"up".into(), &spec, &cx).is_err());
}

#[test]
fn nothing_is_kept_that_nobody_uses() {
    let rig = Rig::stopped();
    let spec =
        json!({ "endpoints": ["https://a.test", "http://b.test"], "tls": { "insecure_skip_verify": true } });
    let cluster = rig.cluster(spec);
    assert!(!rig.keep.is_empty());
    drop(cluster);
    assert!(rig.keep.is_empty());
}

#[test]
fn status_shows_what_counts() {
    let rig = Rig::stopped();
    let spec =
        |health: Value| json!({ "endpoints": [{ "url": "http://a.test", "weight": 2 }], "health": health });
    let cluster = rig.cluster(spec(json!({})));
    let state = &cluster.members()[0].state;
    state.enter();
    state.set_streak(Streak { verdict: Verdict::Unhealthy, in_row: 0 });
    cluster.note(state, Event::Failure);
    let shown = cluster.status().endpoints.remove(0);
    assert_eq!((&*cluster.status().name, &*shown.url, shown.weight), ("up", "http://a.test:80", 2));
    assert_eq!((shown.active, shown.requests, shown.failures, shown.ejected), (1, 1, 1, false));
    assert_eq!(shown.health, HealthStatus::Unhealthy);
    let unchecked = rig.cluster(spec(Value::Null)).status().endpoints.remove(0);
    assert_eq!(unchecked.health, HealthStatus::Unknown, "without checks there is no verdict");
}

#[test]
fn a_place_that_two_workers_took_at_once_is_given_back() {
    let rig = Rig::stopped();
    let endpoints = json!(["http://a.test", "http://b.test", "http://c.test", "http://d.test"]);
    let cluster =
        rig.cluster(json!({ "endpoints": endpoints, "ejection": { "failures": 1, "max_percent": 50 } }));
    let [a, b, c, d] = [0, 1, 2, 3].map(|place| &*cluster.members()[place].state);
    assert!(cluster.note(a, Event::Failure) && cluster.note(b, Event::Failure));
    assert!(!cluster.note(c, Event::Failure), "half is the most");
    // Another worker decided on the last one before it saw these two.
    let rules = cluster.spec().ejection.as_ref().unwrap();
    let before = d.record();
    d.set_record(crate::ejection::step(rules, before, Event::Failure, std::time::Duration::ZERO, 0, 4).0);
    assert!(d.is_ejected());
    assert!(!cluster.has_room_for(d, before, rules) && !d.is_ejected());
    assert!(a.is_ejected() && b.is_ejected());
}
