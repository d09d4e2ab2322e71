//! Datagrams while the process is replaced: the one that leaves takes no more of them, and still answers.

use std::time::Duration;

use evergate_testkit::{
    Stand,
    datagrams::{Answerer, Asker, Flood},
    ports,
    process::Signal,
};
use serde_json::{Value, json};

use crate::{BIN, succeeded};

/// Far beyond what a test waits for.
const NEVER: &str = "1h";

struct Udp {
    stand: Stand,
    answerer: Answerer,
    address: std::net::SocketAddr,
}

/// With a listener for datagrams beside the others.
async fn udp(drain: Value) -> Udp {
    let mut stand = Stand::supervised(BIN, json!({ "process": { "drain": drain } })).await;
    let (answerer, address) = (Answerer::start("a").await, ports::free());
    stand
        .apply(json!({
            "listeners": { "dns": { "address": address, "udp": { "forward": "dns", "idle": NEVER } } },
            "upstreams": { "dns": { "endpoints": [answerer.url()] } },
        }))
        .await;
    Udp { stand, answerer, address }
}

impl Udp {
    async fn upgrade(&mut self) {
        let old = self.stand.gate.serving().await.unwrap_or_default();
        self.stand.gate.signal(Signal::Upgrade);
        succeeded(&self.stand, old).await;
        self.stand.gate.follow_again().await;
    }

    async fn draining(&self, count: u64) {
        let so_many = async || self.stand.gate.status().await["supervisor"]["draining"] == count;
        self.stand.gate.until("so many drain", so_many).await;
    }
}

#[tokio::test]
async fn no_datagram_is_lost_over_upgrades_and_changes() {
    let mut udp = udp(json!({ "spread": "0s" })).await;
    udp.stand.apply(json!({ "listeners": { "dns": { "udp": { "idle": "1s" } } } })).await;
    let flood = Flood::start(udp.address, 4).await;
    let mut clients = udp.answerer.clients();
    for round in 0..4 {
        udp.upgrade().await;
        flood.more(200).await;
        // Those that are known write to the new process, which has sockets of its own to the endpoint.
        let now = udp.answerer.clients();
        assert!(now >= clients + 4, "{now} after {clients}");
        clients = now;
        udp.stand
            .apply(json!({
                "workers": 1 + round % 3,
                "listeners": { "dns": { "udp": { "sessions": 5000 + round } } },
            }))
            .await;
        flood.more(200).await;
    }
    let heard = flood.stop().await;
    assert_eq!((heard.lost.as_slice(), heard.astray), (&[][..], 0), "of {} answered", heard.answered);
    assert!(heard.answered > 1600);
}

#[tokio::test]
async fn who_left_still_answers_until_it_is_cut() {
    for (tunnels, cut) in [(NEVER, false), ("100ms", true)] {
        let mut udp = udp(json!({ "spread": "0s", "tunnels": tunnels })).await;
        let client = Asker::new(udp.address).await;
        client.say(b"later").await;
        udp.stand.gate.until("it is there", async || udp.answerer.clients() == 1).await;
        udp.upgrade().await;
        udp.draining(u64::from(!cut)).await;
        // Whoever asks next has the answerer answer what it owes first.
        let direct = Asker::new(udp.answerer.address).await;
        assert_eq!(direct.by("go").await, "a");
        let heard = client.hear(Duration::from_millis(if cut { 300 } else { 20_000 })).await;
        assert_eq!(heard.as_deref(), (!cut).then_some(&b"a later"[..]));
        assert_eq!(client.by("and now").await, "a", "by the new process");
        assert_eq!(udp.answerer.clients(), 3);
    }
}

#[tokio::test]
async fn a_process_ends_when_its_clients_have_been_silent() {
    let mut udp = udp(json!({ "spread": "0s" })).await;
    udp.stand.apply(json!({ "listeners": { "dns": { "udp": { "idle": "200ms" } } } })).await;
    assert_eq!(Asker::new(udp.address).await.by("hello").await, "a");
    udp.upgrade().await;
    udp.draining(0).await;
    assert_eq!(Asker::new(udp.address).await.by("hello").await, "a");
}

#[tokio::test]
async fn a_stop_waits_for_an_answer() {
    let mut udp = udp(json!({ "timeout": NEVER })).await;
    let client = Asker::new(udp.address).await;
    client.say(b"later").await;
    udp.stand.gate.until("it is there", async || udp.answerer.clients() == 1).await;
    udp.stand.gate.signal(Signal::Terminate);
    // Nobody takes datagrams any more, as soon as it has begun to stop.
    let refused = async || {
        let other = Asker::new(udp.address).await;
        other.say(b"anybody?").await;
        other.hear(Duration::from_millis(50)).await.is_none()
    };
    udp.stand.gate.until("nobody is there", refused).await;
    let direct = Asker::new(udp.answerer.address).await;
    assert_eq!(direct.by("go").await, "a");
    assert_eq!(client.hear(Duration::from_secs(20)).await.as_deref(), Some(&b"a later"[..]));
    assert_eq!(udp.stand.gate.ended().await, Some(0), "not for ever");
}
