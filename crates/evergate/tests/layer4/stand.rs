//! A gateway with a TCP listener before two echoing backends.

use std::{net::SocketAddr, time::Duration};

use evergate_testkit::{Authority, Door, Echo, Failure, Gate, Launch, Talk, patch::merge_patch, ports};
use serde_json::{Value, json};

use crate::BIN;

/// How often the document changes while a test runs.
pub(crate) const CHURN: Duration = Duration::from_millis(5);

pub(crate) struct Stand {
    pub(crate) gate: Gate,
    pub(crate) a: Echo,
    pub(crate) b: Echo,
    pub(crate) authority: Authority,
    /// Address of the listener `db`.
    pub(crate) address: SocketAddr,
    pub(crate) document: Value,
}

impl Stand {
    /// The listener `db` forwards to the upstream `a`; `b` is another one. The document changes all the time.
    pub(crate) async fn new() -> Stand {
        Stand::with(json!({})).await
    }

    /// With a merge patch before the start.
    pub(crate) async fn with(patch: Value) -> Stand {
        let (a, b, authority) = (Echo::start("a").await, Echo::start("b").await, Authority::new());
        let (address, other) = (ports::free(), ports::free());
        let mut document = json!({
            "workers": 2,
            "listeners": { "db": { "address": address, "tcp": "a" }, "web": { "address": other } },
            "upstreams": { "a": { "endpoints": [a.url()] }, "b": { "endpoints": [b.url()] } },
            "certificates": { "leaf": { "cert": "leaf.pem", "key": "leaf.key" } },
            "routes": { "web": { "respond": {} } },
        });
        merge_patch(&mut document, &patch);
        let launch = Launch::new(BIN);
        authority.leaf(&["test.local"]).write(launch.path(), "leaf");
        std::fs::write(launch.path().join("ca.pem"), authority.pem()).unwrap();
        let mut gate = launch.document(&document).start().await;
        gate.churn(CHURN);
        Stand { gate, a, b, authority, address, document }
    }

    /// Changes the document by a merge patch.
    pub(crate) async fn apply(&mut self, patch: Value) {
        merge_patch(&mut self.document, &patch);
        self.gate.apply(&self.document).await;
    }

    /// Changes the listener `db`.
    pub(crate) async fn db(&mut self, patch: Value) {
        self.apply(json!({ "listeners": { "db": patch } })).await;
    }

    pub(crate) fn door(&self) -> Door {
        Door::clear(self.address)
    }

    pub(crate) fn tls_door(&self, alpn: &[&str]) -> Door {
        Door::tls(self.address, self.authority.client(alpn), "test.local")
    }

    pub(crate) async fn open(&self) -> Result<Talk, Failure> {
        Talk::open(&self.door()).await
    }

    /// Who answers a new stream.
    pub(crate) async fn by(&self) -> String {
        match self.open().await {
            Ok(talk) => talk.name,
            Err(error) => format!("{error:?}"),
        }
    }

    /// The listener's entry in the status.
    pub(crate) async fn listener(&self, name: &str) -> Value {
        let status = self.gate.status().await;
        let all = status["listeners"].as_array().unwrap().clone();
        all.into_iter().find(|l| l["name"] == name).unwrap_or(Value::Null)
    }

    /// Ends it; every change that was made meanwhile has been taken.
    pub(crate) async fn end(mut self) {
        assert!(self.gate.calm().await > 0, "the document changed");
    }
}
