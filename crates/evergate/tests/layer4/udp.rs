//! `udp` of a listener: what it does, and each of its fields changed live.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use evergate_testkit::{
    Ask, Door, Gate,
    datagrams::{Answerer, Asker, Flood},
    patch::merge_patch,
    ports,
};
use serde_json::{Value, json};

use crate::{BIN, stand::CHURN};

/// Long enough for what would come, if anything came.
const SILENCE: Duration = Duration::from_millis(300);

/// A UDP listener before two answering backends, at the address of an HTTP listener.
struct Stand {
    gate: Gate,
    a: Answerer,
    b: Answerer,
    address: SocketAddr,
    document: Value,
}

impl Stand {
    async fn new() -> Stand {
        Stand::at("127.0.0.1").await
    }

    async fn at(ip: &str) -> Stand {
        let (a, b) = (Answerer::start("a").await, Answerer::start("b").await);
        let address = ports::free();
        let document = json!({
            "workers": 2,
            "listeners": {
                "dns": { "address": format!("{ip}:{}", address.port()), "udp": "a" },
                "web": { "address": address },
            },
            "upstreams": { "a": { "endpoints": [a.url()] }, "b": { "endpoints": [b.url()] } },
            "routes": { "web": { "respond": {} } },
        });
        let mut gate = Gate::start(BIN, &document).await;
        gate.churn(CHURN);
        Stand { gate, a, b, address, document }
    }

    async fn apply(&mut self, patch: Value) {
        merge_patch(&mut self.document, &patch);
        self.gate.apply(&self.document).await;
    }

    async fn dns(&mut self, patch: Value) {
        self.apply(json!({ "listeners": { "dns": patch } })).await;
    }

    async fn client(&self) -> Asker {
        Asker::new(self.address).await
    }

    /// Who answers a new client.
    async fn by(&self) -> String {
        self.client().await.by("who").await
    }

    /// Clients that are known.
    async fn known(&self) -> u64 {
        let status = self.gate.status().await;
        let listeners = status["listeners"].as_array().unwrap().clone();
        let dns = listeners.iter().find(|l| l["name"] == "dns" && l["draining"] == false).unwrap();
        assert_eq!(dns["carries"], "udp");
        dns["connections"].as_u64().unwrap()
    }

    async fn dropped(&self, reason: &str) -> f64 {
        let name = format!("gateway_datagrams_dropped_total{{listener=\"dns\",reason=\"{reason}\"}}");
        self.gate.metric(&name).await.unwrap_or(0.0)
    }

    async fn end(mut self) {
        assert!(self.gate.calm().await > 0, "the document changed");
    }
}

#[tokio::test]
async fn datagrams_go_there_and_back() {
    let stand = Stand::new().await;
    let client = stand.client().await;
    for n in 0..100 {
        assert_eq!(client.by(&format!("question {n}")).await, "a");
    }
    let large = "x".repeat(60_000);
    assert_eq!(client.by(&large).await, "a");
    client.say(b"").await;
    assert_eq!(client.hear(Duration::from_secs(20)).await.as_deref(), Some(&b"a "[..]), "an empty one too");
    assert_eq!((stand.a.clients(), stand.known().await), (1, 1));
    let web = Door::clear(stand.address).ask(&Ask::get("/")).await.unwrap();
    assert_eq!(web.status, 200, "TCP at the same address is another listener's");
    let metric = async |labels: &str| {
        stand.gate.metric(&format!("gateway_datagrams_total{{listener=\"dns\",{labels}}}")).await
    };
    assert_eq!(metric("direction=\"received\"").await, Some(102.0));
    assert_eq!(metric("direction=\"sent\"").await, Some(102.0));
    stand.end().await;
}

/// A client that is connected hears nothing that comes from another address.
#[tokio::test]
async fn answers_leave_from_the_address_that_was_written_to() {
    let stand = Stand::at("0.0.0.0").await;
    for ip in ["127.0.0.1", "127.0.0.9", "127.1.2.3"] {
        let to = SocketAddr::new(ip.parse().unwrap(), stand.address.port());
        assert_eq!(Asker::new(to).await.by("hello").await, "a", "{ip}");
    }
    stand.end().await;
}

#[tokio::test]
async fn clients_stay_with_their_endpoint_through_changes_of_everything_else() {
    let mut stand = Stand::new().await;
    let (a, b) = (stand.a.url(), stand.b.url());
    stand.apply(json!({ "upstreams": { "a": { "endpoints": [a, b] } } })).await;
    let mut clients = Vec::new();
    for turn in 0..30_u32 {
        let client = stand.client().await;
        let name = client.by("who").await;
        clients.push((client, name));
        let balance = ["round_robin", "least_requests", "p2c", "random"][turn as usize % 4];
        stand
            .apply(json!({
                "workers": 1 + turn % 3,
                "listeners": {
                    "dns": { "udp": { "forward": "a", "idle": format!("{}s", 60 + turn), "sessions": 1000 + turn } },
                    "web": { "limits": { "headers": 50 + turn } },
                },
                "upstreams": { "a": {
                    "endpoints": [{ "url": a, "weight": 1 + turn % 5 }, { "url": b, "weight": 2 }],
                    "balance": balance,
                    "ejection": { "failures": 1 + turn },
                } },
            }))
            .await;
        for (client, name) in &clients {
            assert_eq!(client.by(&format!("turn {turn}")).await, *name);
        }
    }
    let names: BTreeSet<_> = clients.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names.len(), 2, "both were asked");
    assert_eq!(stand.a.clients() + stand.b.clients(), clients.len(), "each by one socket");
    stand.end().await;
}

#[tokio::test]
async fn where_datagrams_go_changes() {
    let mut stand = Stand::new().await;
    let client = stand.client().await;
    assert_eq!(client.by("one").await, "a");
    stand.dns(json!({ "udp": "b" })).await;
    assert_eq!(client.by("two").await, "b", "its next datagram goes there");
    let to = |a: u32, b: u32| {
        let to = json!([{ "upstream": "a", "weight": a }, { "upstream": "b", "weight": b }]);
        json!({ "udp": { "forward": { "to": to } } })
    };
    stand.dns(to(1, 1)).await;
    assert_eq!(client.by("three").await, "b", "it may stay");
    let mut names = BTreeSet::new();
    for _ in 0..40 {
        names.insert(stand.by().await);
    }
    assert_eq!(names.len(), 2);
    stand.dns(to(1, 0)).await;
    assert_eq!(client.by("four").await, "a", "it may not");
    stand.end().await;
}

#[tokio::test]
async fn how_long_a_client_is_known_changes() {
    let mut stand = Stand::new().await;
    let client = stand.client().await;
    assert_eq!(client.by("hello").await, "a");
    stand.dns(json!({ "udp": { "forward": "a", "idle": "100ms" } })).await;
    assert_eq!(client.by("it holds from the next datagram on").await, "a");
    stand.gate.until("it is forgotten", async || stand.known().await == 0).await;
    let ended = "gateway_streams_total{listener=\"dns\",end=\"idle\"}";
    assert_eq!(stand.gate.metric(ended).await, Some(1.0));
    stand.dns(json!({ "udp": "a" })).await;
    assert_eq!(client.by("and known again").await, "a");
    tokio::time::sleep(SILENCE).await;
    assert_eq!(stand.known().await, 1);
    assert_eq!(stand.a.clients(), 2, "by another socket");
    stand.end().await;
}

#[tokio::test]
async fn the_number_of_clients_changes() {
    let mut stand = Stand::new().await;
    stand.dns(json!({ "udp": { "forward": "a", "sessions": 1 } })).await;
    let (one, two) = (stand.client().await, stand.client().await);
    assert_eq!(one.by("hello").await, "a");
    two.say(b"nobody hears").await;
    stand.gate.until("it is dropped", async || stand.dropped("sessions").await == 1.0).await;
    assert_eq!(one.by("still").await, "a");
    stand.gate.log_line(|line| line.contains("as `udp.sessions` allows") && line.contains("dns")).await;
    stand.dns(json!({ "udp": { "sessions": 2 } })).await;
    assert_eq!(two.by("now").await, "a");
    assert_eq!(stand.known().await, 2);
    stand.end().await;
}

#[tokio::test]
async fn a_removed_endpoint_drains() {
    let mut stand = Stand::new().await;
    let (client, other) = (stand.client().await, stand.client().await);
    assert_eq!(other.by("who").await, "a");
    client.say(b"later").await;
    stand.gate.until("it is there", async || stand.a.clients() == 2).await;
    let (a, b) = (stand.a.url(), stand.b.url());
    stand.apply(json!({ "upstreams": { "a": { "endpoints": [b] } } })).await;
    assert_eq!(client.by("now").await, "b");
    // What was asked before is answered when it is.
    let direct = Asker::new(stand.a.address).await;
    assert_eq!(direct.by("go").await, "a");
    assert_eq!(client.hear(Duration::from_secs(20)).await.as_deref(), Some(&b"a later"[..]));
    assert_eq!(other.by("who").await, "b");
    stand.apply(json!({ "upstreams": { "a": { "endpoints": [{ "url": a, "weight": 1 }, { "url": b, "weight": 0 }] } } })).await;
    assert_eq!(client.by("weights count too").await, "a");
    stand.end().await;
}

#[tokio::test]
async fn who_takes_no_datagrams_is_set_aside() {
    let mut stand = Stand::new().await;
    let (a, b) = (stand.a.url(), stand.b.url());
    let endpoints = json!([{ "url": a, "weight": 1 }, { "url": b, "weight": 1 }]);
    stand.apply(json!({ "upstreams": { "a": { "endpoints": endpoints } } })).await;
    stand.a.stop().await;
    // Without ejection a client is told anew each time, by chance.
    let client = stand.client().await;
    stand
        .gate
        .until("the one that is there", async || {
            client.say(b"who").await;
            client.hear(SILENCE).await.is_some()
        })
        .await;
    stand.apply(json!({ "upstreams": { "a": { "ejection": { "failures": 1, "duration": "1h" } } } })).await;
    stand
        .gate
        .until("it is set aside", async || {
            let one = stand.client().await;
            one.say(b"who").await;
            one.hear(SILENCE).await;
            stand.gate.get("/upstreams").await.to_string().contains("\"ejected\":true")
        })
        .await;
    for _ in 0..10 {
        assert_eq!(stand.by().await, "b");
    }
    stand.a.open().await;
    stand.apply(json!({ "upstreams": { "a": { "ejection": null } } })).await;
    let mut names = BTreeSet::new();
    for _ in 0..10 {
        names.insert(stand.by().await);
    }
    assert_eq!(names.len(), 2, "ejections count only while they are asked for");
    stand.end().await;
}

#[tokio::test]
async fn a_listener_is_removed_added_and_moved() {
    let mut stand = Stand::new().await;
    let client = stand.client().await;
    assert_eq!(client.by("hello").await, "a");
    let dns = stand.document["listeners"]["dns"].clone();
    let plan =
        stand.gate.call("PATCH", "/config?dry_run=true", &json!({ "listeners": { "dns": null } })).await;
    assert_eq!(
        plan.json()["plan"]["touches"][0]["effect"],
        "1 clients are forgotten, once what they asked is answered"
    );
    for _ in 0..5 {
        stand.apply(json!({ "listeners": { "dns": null } })).await;
        stand.apply(json!({ "listeners": { "dns": dns } })).await;
        assert_eq!(stand.by().await, "a", "at the same address at once");
    }
    let moved = ports::free();
    stand.dns(json!({ "address": moved })).await;
    assert_eq!(Asker::new(moved).await.by("there").await, "a");
    stand
        .gate
        .until("nobody is at the old address", async || {
            client.say(b"here?").await;
            client.hear(Duration::from_millis(50)).await.is_none()
        })
        .await;
    // To an address that covers its own, and back.
    for ip in ["0.0.0.0", "127.0.0.1"] {
        stand.dns(json!({ "address": format!("{ip}:{}", moved.port()) })).await;
        assert_eq!(Asker::new(moved).await.by(ip).await, "a");
    }
    // Another name at the same address takes the socket up.
    stand.apply(json!({ "listeners": { "dns": null, "more": { "address": moved, "udp": "b" } } })).await;
    assert_eq!(Asker::new(moved).await.by("more").await, "b");
    // TCP in place of UDP, and back.
    stand.apply(json!({ "listeners": { "more": { "udp": null } } })).await;
    let web = Door::clear(moved).ask(&Ask::get("/")).await.unwrap();
    assert_eq!(web.status, 200);
    stand.apply(json!({ "listeners": { "more": { "udp": "a" } } })).await;
    assert_eq!(Asker::new(moved).await.by("again").await, "a");
    stand.end().await;
}

/// More clients than there may be cost no more than those that may be.
#[tokio::test]
async fn a_flood_of_clients_is_bounded() {
    let mut stand = Stand::new().await;
    stand.dns(json!({ "udp": { "forward": "a", "sessions": 20 } })).await;
    let known = stand.client().await;
    assert_eq!(known.by("first").await, "a");
    let before = stand.gate.descriptors();
    let mut crowd = Vec::new();
    for _ in 0..300 {
        // Each lives on: an address that is used again would be a known client's.
        let client = stand.client().await;
        client.say(b"flood").await;
        crowd.push(client);
    }
    stand.gate.until("the rest is dropped", async || stand.dropped("sessions").await >= 281.0).await;
    assert_eq!(stand.known().await, 20);
    assert!(stand.gate.descriptors() <= before + 24, "one socket for each");
    assert_eq!(known.by("who is known goes on").await, "a");
    stand.end().await;
}

/// Datagrams that were sent before a listener moved are carried, and answered from where they were sent to.
#[tokio::test]
async fn nothing_is_lost_while_a_listener_moves() {
    let mut stand = Stand::new().await;
    // So that clients of one datagram do not become too many.
    stand.dns(json!({ "udp": { "forward": "a", "idle": "1s" } })).await;
    let flood = Flood::start(stand.address, 3).await;
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for turn in 0..20 {
        // In place: one address covers the other.
        let ip = ["0.0.0.0", "127.0.0.1"][turn % 2];
        stand.dns(json!({ "address": format!("{ip}:{}", stand.address.port()) })).await;
        flood.more(20).await;
        if turn % 2 == 1 {
            // A change that is refused takes nothing either.
            let refused = json!({ "listeners": {
                "dns": { "address": format!("0.0.0.0:{}", stand.address.port()) },
                "web": { "address": stranger.local_addr().unwrap() },
            } });
            assert_eq!(stand.gate.patch(&refused).await["verdict"], "refused");
        }
        flood.more(20).await;
    }
    for turn in 0..20 {
        // To another port: the new one is there before clients turn to it, the old one until they have.
        let (new, old) = [("dns", "more"), ("more", "dns")][(turn + 1) % 2];
        let address = ports::free();
        stand.apply(json!({ "listeners": { new: { "address": address, "udp": { "forward": "a", "idle": "1s" } } } })).await;
        flood.turn_to(address);
        stand.apply(json!({ "listeners": { old: null } })).await;
        flood.more(20).await;
    }
    let heard = flood.stop().await;
    assert_eq!((heard.lost.as_slice(), heard.astray), (&[][..], 0), "of {} answered", heard.answered);
    stand.end().await;
}

#[tokio::test]
async fn what_was_asked_of_a_removed_listener_is_answered() {
    let mut stand = Stand::new().await;
    let client = stand.client().await;
    client.say(b"later").await;
    stand.gate.until("it is there", async || stand.a.clients() == 1).await;
    let dns = stand.document["listeners"]["dns"].clone();
    stand.apply(json!({ "listeners": { "dns": null } })).await;
    let direct = Asker::new(stand.a.address).await;
    assert_eq!(direct.by("go").await, "a");
    assert_eq!(client.hear(Duration::from_secs(20)).await.as_deref(), Some(&b"a later"[..]));
    // Its address is free for another program once nobody answers there any more.
    let free = async || std::net::UdpSocket::bind(stand.address).is_ok();
    stand.gate.until("the address is free", free).await;
    stand.apply(json!({ "listeners": { "dns": dns } })).await;
    assert_eq!(client.by("again").await, "a");
    stand.end().await;
}

/// IPv6 carries some bytes more than IPv4: who sends them must not have the endpoint set aside for everybody.
#[tokio::test]
async fn what_is_too_large_for_an_endpoint_is_not_its_fault() {
    let mut stand = Stand::at("[::1]").await;
    stand.apply(json!({ "upstreams": { "a": { "ejection": { "failures": 1, "duration": "1h" } } } })).await;
    let to = SocketAddr::new("::1".parse().unwrap(), stand.address.port());
    let client = Asker::new(to).await;
    assert_eq!(client.by("hello").await, "a");
    client.say(&vec![b'x'; 65_520]).await;
    stand.gate.until("it is dropped", async || stand.dropped("full").await == 1.0).await;
    assert_eq!(client.by("still").await, "a");
    assert_eq!(Asker::new(to).await.by("and for others").await, "a");
    assert!(!stand.gate.get("/upstreams").await.to_string().contains("\"ejected\":true"));
    stand.end().await;
}
