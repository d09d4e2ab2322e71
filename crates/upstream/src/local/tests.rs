use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::*;
use crate::testing::{Rig, Server, ask, run, settle};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A worker and an endpoint, and a cluster of that endpoint with further settings.
async fn rig() -> (Rig, Server, impl Fn(&Rig, Value) -> Arc<Cluster>) {
    let server = Server::always(OK).await;
    let url = server.url.clone();
    let cluster = move |rig: &Rig, more: Value| {
        let mut spec = json!({ "endpoints": [url] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rig.cluster(spec)
    };
    (Rig::stopped(), server, cluster)
}

#[test]
fn connections_survive_changes_that_do_not_touch_them() {
    run(async {
        let (rig, server, cluster) = rig().await;
        let mut connections = 1;
        rig.whole(&cluster(&rig, json!({})), ask("GET /")).await.unwrap();
        let mut check = async |more: Value, kept: bool| {
            let new = cluster(&rig, more.clone());
            rig.local.adopt(|name| (name == "up").then_some(&new));
            assert_eq!(rig.local.idle_connections(), usize::from(kept), "{more}");
            rig.whole(&new, ask("POST /")).await.unwrap();
            connections += usize::from(!kept);
            assert_eq!(server.connections(), connections, "{more}");
        };
        check(json!({}), true).await;
        check(json!({ "balance": "random", "timeouts": { "response": "1s" }, "health": {} }), true).await;
        check(json!({ "protocol": "http/1.1" }), false).await;
        check(json!({ "protocol": "http/1.1" }), true).await;
        check(json!({}), false).await;
        check(json!({ "pool": { "idle": 1 } }), true).await;
        check(json!({ "pool": { "idle": 0 } }), false).await;
        check(json!({}), false).await;
    });
}

#[test]
fn connections_of_what_is_gone_are_closed_when_idle() {
    run(async {
        let server = Server::start(|mut peer, _| async move {
            while peer.head().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
                settle().await;
                peer.say("whole").await;
            }
        })
        .await;
        let rig = Rig::stopped();
        let old = rig.cluster(json!({ "endpoints": [server.url] }));
        rig.whole(&old, ask("GET /")).await.unwrap();
        let open = rig.send(&old, ask("GET /")).await.unwrap();
        rig.local.adopt(|_| None);
        assert_eq!(crate::testing::text(open.body).await.unwrap(), "whole", "what is open is let finish");
        assert_eq!(rig.local.idle_connections(), 0);
        // A request that still has the old snapshot is served, and leaves nothing behind once that is gone.
        rig.whole(&old, ask("GET /")).await.unwrap();
        drop((old, open.endpoint));
        rig.clock.tick(Instant::now() + std::time::Duration::from_secs(3600));
        rig.local.sweep();
        rig.local.sweep();
        assert!(rig.local.sites.borrow().is_empty() && rig.local.homes.borrow().is_empty());
        assert!(rig.keep.is_empty());
    });
}

#[test]
fn going_back_to_an_old_snapshot_is_like_any_change() {
    run(async {
        let (rig, server, cluster) = rig().await;
        let (old, new) = (cluster(&rig, json!({})), cluster(&rig, json!({ "protocol": "http/1.1" })));
        for (now, connections) in [(&old, 1), (&new, 2), (&old, 3)] {
            rig.local.adopt(|_| Some(now));
            for _ in 0..2 {
                rig.whole(now, ask("POST /")).await.unwrap();
                assert_eq!(server.connections(), connections);
            }
        }
    });
}

#[test]
fn idle_connections_grow_old() {
    run(async {
        let (rig, server, cluster) = rig().await;
        let start = Instant::now();
        let at = |ms| rig.clock.tick(start + std::time::Duration::from_millis(ms));
        let now = cluster(&rig, json!({ "timeouts": { "idle": "10s" } }));
        rig.whole(&now, ask("GET /")).await.unwrap();
        at(9_000);
        rig.whole(&now, ask("GET /")).await.unwrap();
        at(18_000);
        rig.local.sweep();
        assert_eq!((rig.local.idle_connections(), server.connections()), (1, 1));
        at(19_000);
        rig.whole(&now, ask("GET /")).await.unwrap();
        assert_eq!(server.connections(), 2, "too old to be used, swept or not");
        at(30_000);
        rig.local.sweep();
        assert_eq!(rig.local.idle_connections(), 0);
        // A shorter time holds at once.
        rig.whole(&now, ask("GET /")).await.unwrap();
        at(32_000);
        let short = cluster(&rig, json!({ "timeouts": { "idle": "1s" } }));
        rig.local.adopt(|_| Some(&short));
        assert_eq!(rig.local.idle_connections(), 0);
    });
}

#[test]
fn no_more_is_kept_than_allowed_and_the_dead_are_swept() {
    run(async {
        // All wait for the last, so that each has a connection of its own; the last two close after their answer.
        let server = Server::start(|mut peer, number| async move {
            peer.head().await;
            while peer.seen_connections() < 4 {
                settle().await;
            }
            peer.say(OK).await;
            if number < 2 {
                peer.stay().await;
            } else {
                settle().await;
            }
        })
        .await;
        let rig = Rig::stopped();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "pool": { "idle": 3 } }));
        let ask = |_| rig.whole(&cluster, ask("GET /"));
        futures_util::future::join_all((0..4).map(ask)).await;
        assert_eq!(rig.local.idle_connections(), 3);
        while rig.local.idle_connections() > 2 {
            settle().await;
            rig.local.sweep();
        }
        let fewer = rig.cluster(json!({ "endpoints": [server.url], "pool": { "idle": 1 } }));
        rig.local.adopt(|_| Some(&fewer));
        assert_eq!(rig.local.idle_connections(), 1);
    });
}

#[test]
fn turns_go_on_over_changes_and_differ_between_workers() {
    run(async {
        let rig = Rig::stopped();
        let endpoints = json!(["http://a.test", "http://b.test", "http://c.test"]);
        let picks = |local: &Local, cluster: &Arc<Cluster>| -> Vec<usize> {
            let site = local.site(cluster);
            (0..2).map(|_| local.pick(&site, cluster, &[]).unwrap().place()).collect()
        };
        let first = rig.cluster(json!({ "endpoints": endpoints }));
        assert_eq!(picks(&rig.local, &first), [0, 1]);
        let second = rig.cluster(json!({ "endpoints": endpoints, "retries": { "connect": 0 } }));
        rig.local.adopt(|_| Some(&second));
        assert_eq!(picks(&rig.local, &second), [2, 0]);
        let starts: Vec<usize> = (0..3)
            .map(|worker| picks(&Local::new(rig.clock.clone(), rig.outbox.clone(), worker, 1), &first)[0])
            .collect();
        assert_eq!(starts, [0, 1, 0]);
    });
}
