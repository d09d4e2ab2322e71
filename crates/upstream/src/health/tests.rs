use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evergate_testkit::Authority;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Checkers, HealthChange, JITTER_STEPS, Verdict, jittered};
use crate::testing::{Peer, Rig, Server, ask, run, settle};

const GOOD: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn jitter_is_a_tenth_either_way() {
    let interval = Duration::from_secs(10);
    assert_eq!(jittered(interval, 0), Duration::from_secs(9));
    assert_eq!(jittered(interval, JITTER_STEPS / 2), interval);
    assert_eq!(jittered(interval, JITTER_STEPS), Duration::from_secs(11));
}

/// Checks that run here, and what they say.
fn checkers() -> (Checkers, UnboundedReceiver<HealthChange>) {
    let (sender, changes) = unbounded_channel();
    let sender = Mutex::new(sender);
    let notice = move |change| drop(sender.lock().unwrap().send(change));
    (Checkers::new(Handle::current(), Arc::new(notice)), changes)
}

fn often(path: Option<&str>) -> serde_json::Value {
    json!({ "path": path, "interval": "5ms", "timeout": "1s", "healthy": 1, "unhealthy": 1 })
}

async fn next(changes: &mut UnboundedReceiver<HealthChange>) -> (Verdict, String) {
    let change = changes.recv().await.unwrap();
    assert_eq!(&*change.upstream, "up");
    (change.verdict, change.reason)
}

#[test]
fn endpoints_are_asked_and_judged() {
    run(async {
        let rig = Rig::stopped();
        let check = async |answer: &'static str, verdict: Verdict, reason: &str| {
            let server = Server::always(answer).await;
            let (mut checkers, mut changes) = checkers();
            let cluster = rig.cluster(json!({ "endpoints": [server.url], "health": often(Some("/up?")) }));
            checkers.reconcile([&cluster]);
            assert_eq!(next(&mut changes).await, (verdict, reason.to_owned()), "for {answer:?}");
            let authority = server.url.trim_start_matches("http://");
            let head = format!(
                "GET /up? HTTP/1.1\r\nhost: {authority}\r\nuser-agent: evergate-health\r\nconnection: close\r\n\r\n"
            );
            assert_eq!(server.heads()[0], head);
            assert_eq!(cluster.members()[0].state.verdict(), verdict);
        };
        check(GOOD, Verdict::Healthy, "answers well").await;
        check("HTTP/1.1 302 Found\r\n\r\n", Verdict::Healthy, "answers well").await;
        check("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Verdict::Healthy, "answers well")
            .await;
        check("HTTP/1.1 404 Not Found\r\n\r\n", Verdict::Unhealthy, "answers 404 Not Found").await;
        check("HTTP/1.1 500 Oh\r\n\r\n", Verdict::Unhealthy, "answers 500 Internal Server Error").await;
        check("HTTP/1.1 200\n\n", Verdict::Unhealthy, "a line ends in a bare LF").await;
    });
}

#[test]
fn what_is_no_answer_is_bad() {
    run(async {
        let rig = Rig::stopped();
        let verdict = async |url: &str, health: serde_json::Value| {
            let (mut checkers, mut changes) = checkers();
            checkers.reconcile([&rig.cluster(json!({ "endpoints": [url], "health": health }))]);
            next(&mut changes).await
        };
        let silent = Server::start(|peer, _| peer.stay()).await;
        let impatient = json!({ "path": "/", "timeout": "20ms", "unhealthy": 1 });
        let late = (Verdict::Unhealthy, "no answer within 20ms".to_owned());
        assert_eq!(verdict(&silent.url, impatient).await, late);
        let closing = Server::start(|mut peer, _| async move { drop(peer.head().await) }).await;
        let gone = (Verdict::Unhealthy, "closes the connection without an answer".to_owned());
        assert_eq!(verdict(&closing.url, often(Some("/"))).await, gone);
        let url = closing.url.clone();
        assert_eq!(verdict(&url, often(None)).await.0, Verdict::Healthy, "TCP is enough");
        drop(closing);
        settle().await;
        let (bad, reason) = verdict(&url, often(None)).await;
        assert!(bad == Verdict::Unhealthy && reason.contains("refused"), "{reason}");
    });
}

#[test]
fn questions_go_by_what_requests_would_take() {
    run(async {
        let authority = Authority::new();
        let leaf = authority.leaf(&["127.0.0.1"]);
        let h2 = async |peer: Peer, status: u16| {
            let Ok(mut connection) = h2::server::handshake(peer.into_io()).await else { return };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let status = if request.uri().host() == Some("named.test") { status } else { 500 };
                let response = ::http::Response::builder().status(status).body(()).unwrap();
                let _: h2::SendStream<bytes::Bytes> = respond.send_response(response, true).unwrap();
            }
        };
        let plain = Server::start(move |peer, _| h2(peer, 200)).await;
        let secure = Server::start_tls(Some(leaf.server(&["h2"])), move |peer, _| h2(peer, 200)).await;
        let old = Server::start_tls(Some(leaf.server(&["http/1.1"])), |mut peer, _| async move {
            peer.head().await;
            peer.say(GOOD).await;
        })
        .await;
        let mut rig = Rig::stopped();
        rig.ca = Some(authority.pem());
        let health = json!({ "path": "/", "host": "named.test", "unhealthy": 1 });
        let verdict = async |url: &str, protocol: &str, tls: serde_json::Value| {
            let (mut checkers, mut changes) = checkers();
            let spec = json!({ "endpoints": [url], "protocol": protocol, "tls": tls, "health": health });
            checkers.reconcile([&rig.cluster(spec)]);
            next(&mut changes).await.0
        };
        let (good, bad) = (Verdict::Healthy, Verdict::Unhealthy);
        assert_eq!(verdict(&plain.url, "h2", json!(null)).await, good);
        assert_eq!(verdict(&secure.url, "auto", json!({ "ca": "ca.pem" })).await, good);
        assert_eq!(verdict(&old.url, "auto", json!({ "ca": "ca.pem" })).await, good);
        assert_eq!(
            verdict(&old.url, "auto", json!({ "ca": "ca.pem", "server_name": "other.test" })).await,
            bad
        );
    });
}

#[test]
fn changed_settings_keep_verdicts_and_reach_the_running_checks() {
    run(async {
        let good = Server::always(GOOD).await;
        let bad = Server::always("HTTP/1.1 500 Oh\r\n\r\n").await;
        let rig = Rig::stopped();
        let (mut checkers, mut changes) = checkers();
        let spec = |interval: &str, path: &str, endpoints: &[&str]| {
            let health = json!({ "path": path, "interval": interval, "unhealthy": 2 });
            rig.cluster(json!({ "endpoints": endpoints, "health": health }))
        };
        let first = spec("1h", "/a", &[&good.url, &bad.url]);
        checkers.reconcile([&first]);
        assert_eq!(checkers.len(), 2);
        assert_eq!(next(&mut changes).await.0, Verdict::Healthy);
        while bad.heads().is_empty() {
            settle().await;
        }
        // The next question would be in an hour; the new interval makes it due now, and it completes the pair of
        // bad answers that the old settings began.
        let second = spec("1ms", "/b", &[&good.url, &bad.url]);
        checkers.reconcile([&second]);
        assert_eq!(second.members()[0].state.verdict(), Verdict::Healthy);
        assert_eq!(next(&mut changes).await.0, Verdict::Unhealthy);
        assert!(bad.heads()[0].starts_with("GET /a ") && bad.heads()[1].starts_with("GET /b "));
        // The same again changes nothing: no question is asked out of turn.
        let third = spec("1h", "/b", &[&good.url, &bad.url]);
        checkers.reconcile([&third]);
        settle().await;
        let asked = good.heads().len();
        for _ in 0..100 {
            checkers.reconcile([&spec("1h", "/b", &[&good.url, &bad.url])]);
            settle().await;
        }
        assert_eq!(good.heads().len(), asked);
        // One that is gone is forgotten, and stays so when it comes back without checks.
        checkers.reconcile([&spec("1h", "/b", &[&good.url])]);
        assert_eq!(checkers.len(), 1);
        assert_eq!(third.members()[1].state.verdict(), Verdict::Unknown);
        checkers.reconcile([&rig.cluster(json!({ "endpoints": [good.url] }))]);
        assert!(checkers.is_empty());
        assert_eq!(third.members()[0].state.verdict(), Verdict::Unknown);
    });
}

#[test]
fn the_dead_get_no_requests_until_they_live_again() {
    run(async {
        let status = std::rc::Rc::new(std::cell::Cell::new(500));
        let said = status.clone();
        let server = Server::start(move |mut peer, _| {
            let said = said.clone();
            async move {
                while peer.head().await.is_some() {
                    peer.say(&format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", said.get())).await;
                }
            }
        })
        .await;
        let rig = Rig::new();
        let (mut checkers, mut changes) = checkers();
        let cluster = rig.cluster(json!({ "endpoints": [server.url], "health": often(Some("/")) }));
        assert_eq!(rig.whole(&cluster, ask("GET /")).await.unwrap().0, 500, "unknown takes requests");
        checkers.reconcile([&cluster]);
        assert_eq!(next(&mut changes).await.0, Verdict::Unhealthy);
        let fault = rig.whole(&cluster, ask("GET /")).await.unwrap_err();
        assert_eq!(fault.kind, evergate_contract::FaultKind::NoEndpoint);
        let unchecked = rig.cluster(json!({ "endpoints": [server.url] }));
        assert_eq!(rig.whole(&unchecked, ask("GET /")).await.unwrap().0, 500, "without checks, all live");
        status.set(200);
        assert_eq!(next(&mut changes).await.0, Verdict::Healthy);
        assert_eq!(rig.whole(&cluster, ask("GET /")).await.unwrap().0, 200);
    });
}
