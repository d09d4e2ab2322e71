use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::{Rig, Server, run};

const WITHIN: Duration = Duration::from_secs(20);

/// An endpoint that says its name.
async fn named(name: &'static str) -> (Server, String) {
    let server = Server::start(move |mut peer, _| async move {
        peer.say(name).await;
        peer.stay().await;
    })
    .await;
    let url = server.url.replace("http:", "tcp:");
    (server, url)
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp://{}", listener.local_addr().unwrap())
}

async fn heard(tunnel: &mut Tunnel) -> String {
    let mut name = [0; 1];
    tunnel.io.read_exact(&mut name).await.unwrap();
    String::from_utf8(name.to_vec()).unwrap()
}

#[test]
fn streams_are_balanced_and_counted() {
    run(async {
        let (rig, (_a, a), (_b, b)) = (Rig::new(), named("a").await, named("b").await);
        let cluster = rig.cluster(json!({ "endpoints": [a, b] }));
        let mut open = Vec::new();
        let mut names = Vec::new();
        for _ in 0..4 {
            let mut tunnel = super::open(&rig.local, &cluster, Said::Nothing, WITHIN).await.unwrap();
            names.push(heard(&mut tunnel).await);
            open.push(tunnel);
        }
        names.sort();
        assert_eq!(names, ["a", "a", "b", "b"]);
        let load = || cluster.members().iter().map(|m| m.state.in_flight()).collect::<Vec<_>>();
        assert_eq!(load(), [2, 2]);
        drop(open);
        assert_eq!(load(), [0, 0]);
    });
}

#[test]
fn another_endpoint_is_tried_and_the_dead_one_is_set_aside() {
    run(async {
        let (rig, (_a, a)) = (Rig::new(), named("a").await);
        let spec = json!({ "endpoints": [nobody(), a], "ejection": { "failures": 2 } });
        let cluster = rig.cluster(spec);
        for _ in 0..8 {
            let mut tunnel = super::open(&rig.local, &cluster, Said::Nothing, WITHIN).await.unwrap();
            assert_eq!(heard(&mut tunnel).await, "a");
        }
        let dead = &cluster.members()[0].state;
        assert!(dead.is_ejected());
        assert_eq!((dead.requests(), dead.failures()), (2, 2));
    });
}

#[test]
fn tries_end() {
    run(async {
        let (rig, gone) = (Rig::new(), [nobody(), nobody(), nobody()]);
        let check = async |retries: u32, expected: u64| {
            let cluster = rig.cluster(json!({ "endpoints": gone, "retries": { "connect": retries } }));
            let before: u64 = cluster.members().iter().map(|m| m.state.requests()).sum();
            let fault = super::open(&rig.local, &cluster, Said::Nothing, WITHIN).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::UpstreamConnect);
            assert!(fault.cause.unwrap().to_string().starts_with("tcp://127.0.0.1:"));
            let after: u64 = cluster.members().iter().map(|m| m.state.requests()).sum();
            assert_eq!(after - before, expected);
        };
        check(0, 1).await;
        check(1, 2).await;
        check(10, 3).await;
        let none = rig.cluster(json!({ "endpoints": [{ "url": gone[0], "weight": 0 }] }));
        let fault = super::open(&rig.local, &none, Said::Nothing, WITHIN).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::NoEndpoint);
    });
}

#[test]
fn the_whole_time_is_an_end_too() {
    run(async {
        // Takes the connection and never shakes hands.
        let (mut rig, (_a, a)) = (Rig::new(), named("a").await);
        rig.ca = Some(evergate_testkit::Authority::new().pem());
        let url = a.replace("tcp:", "tls:");
        let cluster = rig.cluster(json!({ "endpoints": [url], "tls": { "ca": "ca.pem" } }));
        let fault =
            super::open(&rig.local, &cluster, Said::Nothing, Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::UpstreamTimeout | FaultKind::UpstreamConnect), "{fault:?}");
    });
}

#[test]
fn tls_endpoints_are_spoken_to_in_tls_without_alpn() {
    run(async {
        let authority = evergate_testkit::Authority::new();
        let leaf = authority.leaf(&["127.0.0.1"]);
        let server = Server::start_tls(Some(leaf.server(&["h2"])), |mut peer, _| async move {
            let heard = peer.take(4).await;
            peer.say(&heard.to_uppercase()).await;
            peer.stay().await;
        })
        .await;
        let mut rig = Rig::new();
        rig.ca = Some(authority.pem());
        rig.start();
        let url = server.url.replace("https:", "tls:");
        let cluster = rig.cluster(json!({ "endpoints": [url], "tls": { "ca": "ca.pem" } }));
        let mut tunnel = super::open(&rig.local, &cluster, Said::Nothing, WITHIN).await.unwrap();
        assert!(tunnel.io.is_tls() && tunnel.io.alpn().is_none());
        tunnel.io.write_all(b"ping").await.unwrap();
        tunnel.io.flush().await.unwrap();
        let mut heard = [0; 4];
        tunnel.io.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"PING");
    });
}
