//! A gateway with what most tests need around it: two backends, a listener in clear text and one with TLS, and
//! bystanders who must not notice what happens to others.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    Ask, Authority, Backend, Crowd, Door,
    gate::{Gate, Launch},
    load::Client,
    patch::merge_patch,
    ports,
    trial::Doors,
};

/// The host of the bystanders, on a listener of their own.
const BYSTANDERS: &str = "bystander.test";

/// A gateway with its surroundings. Every host goes to `v1`, which is the first backend.
pub struct Stand {
    /// The gateway.
    pub gate: Gate,
    /// Named `v1`.
    pub v1: Backend,
    /// Named `v2`, in no upstream at first.
    pub v2: Backend,
    /// Signs the certificate `leaf`, for `test.local`.
    pub authority: Authority,
    /// What was applied last.
    pub document: Value,
    /// Address of the listener `clear`.
    pub clear: SocketAddr,
    /// Address of the listener `tls`.
    pub tls: SocketAddr,
    quiet: SocketAddr,
}

impl Stand {
    /// With the plain document.
    pub async fn new(binary: &str) -> Stand {
        Stand::with(binary, json!({})).await
    }

    /// With a merge patch applied to the plain document before the start.
    pub async fn with(binary: &str, patch: Value) -> Stand {
        Stand::made(binary, |_, _| patch).await
    }

    /// As [`Stand::with`], under a supervisor.
    pub async fn supervised(binary: &str, patch: Value) -> Stand {
        Stand::launched(Launch::new(binary).supervised(), |_, _| patch).await
    }

    /// With a merge patch made of the two backends.
    pub async fn made(binary: &str, patch: impl FnOnce(&Backend, &Backend) -> Value) -> Stand {
        Stand::launched(Launch::new(binary), patch).await
    }

    /// Started in that way.
    pub async fn launched(launch: Launch, patch: impl FnOnce(&Backend, &Backend) -> Value) -> Stand {
        let authority = Authority::new();
        let (v1, v2) = (Backend::start("v1").await, Backend::start("v2").await);
        let (clear, tls, quiet) = (ports::free(), ports::free(), ports::free());
        let mut document = json!({
            "workers": 2,
            "listeners": {
                "clear": { "address": clear },
                "tls": { "address": tls, "tls": { "certificates": ["leaf"] } },
                "quiet": { "address": quiet },
            },
            "certificates": { "leaf": { "cert": "leaf.pem", "key": "leaf.key" } },
            "upstreams": { "v1": { "endpoints": [v1.url()] }, "quiet": { "endpoints": [v1.url()] } },
            "routes": {
                "all": { "listeners": ["clear", "tls"], "forward": "v1" },
                "quiet": { "listeners": ["quiet"], "match": { "hosts": [BYSTANDERS] }, "forward": "quiet" },
            },
        });
        merge_patch(&mut document, &patch(&v1, &v2));
        authority.leaf(&["test.local"]).write(launch.path(), "leaf");
        let gate = launch.document(&document).start().await;
        Stand { gate, v1, v2, authority, document, clear, tls, quiet }
    }

    /// The folder of the document.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.gate.home().path()
    }

    /// HTTP/1.1 to the listener `clear`.
    #[must_use]
    pub fn door(&self) -> Door {
        Door::clear(self.clear)
    }

    /// HTTP/1.1 to the listener `tls`.
    #[must_use]
    pub fn tls_door(&self) -> Door {
        Door::tls(self.tls, self.authority.client(&["http/1.1"]), "test.local")
    }

    /// All four ways in.
    #[must_use]
    pub fn doors(&self) -> [Door; 4] {
        [self.door(), self.door().h2(), self.tls_door(), self.tls_door().h2()]
    }

    /// Changes the document by a merge patch, through the file. Panics unless it is applied.
    pub async fn apply(&mut self, patch: Value) {
        merge_patch(&mut self.document, &patch);
        self.gate.apply(&self.document).await;
    }

    /// The same, with a change that has to be refused; says why. The file is as before afterwards.
    pub async fn refused(&mut self, patch: Value) -> Value {
        let mut bad = self.document.clone();
        merge_patch(&mut bad, &patch);
        let verdict = self.gate.change(&bad).await;
        assert_eq!(verdict["verdict"], "refused", "{verdict:#}");
        let back = self.gate.change(&self.document).await;
        assert_eq!(back["verdict"], "unchanged", "{back:#}");
        verdict
    }

    /// Ten clients on a listener, a route and an upstream of their own.
    pub async fn bystanders(&self) -> Crowd {
        let ask = Ask::get("/").host(BYSTANDERS);
        let pause = Duration::from_millis(3);
        let door = Door::clear(self.quiet);
        let doors = Doors { clear: door.clone(), tls: door };
        let crowd = Crowd::start(doors.crowd(10, &ask, pause));
        crowd.more(20).await;
        crowd
    }

    /// Ten clients on both listeners that a test changes.
    pub async fn crowd(&self) -> Crowd {
        let crowd = Crowd::start(self.clients());
        crowd.more(20).await;
        crowd
    }

    /// The clients of [`Stand::crowd`].
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        let doors = Doors { clear: self.door(), tls: self.tls_door() };
        doors.crowd(10, &Ask::get("/"), Duration::from_millis(3))
    }
}
