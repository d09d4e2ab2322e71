//! From a checked configuration to a snapshot: everything that can fail, and nothing that anybody notices.
//!
//! Parts are taken over from the snapshot before where their configuration is the same allocation; a part that is
//! made anew behaves the same, so the result never depends on what was there before.

mod certificates;
mod quic;
mod tls;
mod udp;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use evergate_conf::{Node, Report, path::Path};
use evergate_contract::{
    Checked,
    config::{self, Carried, Listener, Name, Objects, Place, Protocol, Workers},
};
use evergate_kit::{Fds, Keep, unix::UnixError};
use evergate_reload::{Build, Inputs};
use evergate_router::{Change, Rule, Table};
use evergate_tls::{Crypto, Pem};
use evergate_upstream::{Build as ClusterBuild, Cluster};

use crate::{
    front::Front,
    listen::{Bound, Incarnation, Mailboxes, Opening, Places, UdpBound},
    onward::{ByName, Onward, UdpOnward},
    quic::Steering,
    route::{Does, Route},
    snapshot::{Credentials, Entrance, Holds, Snapshot},
};

/// What building needs and what outlives every snapshot.
pub(crate) struct Workshop {
    /// State by identity.
    pub keep: Arc<Keep>,
    /// Cryptography.
    pub crypto: Arc<Crypto>,
    /// Listening sockets of this process and the one before.
    pub fds: Fds,
    /// What is listened on.
    pub places: Places,
    /// Where datagrams are taken.
    pub mailboxes: Mailboxes,
    /// How QUIC packets find their process.
    pub steering: Arc<Steering>,
    next_route: AtomicU32,
}

impl Workshop {
    /// With the sockets that are there.
    pub(crate) fn new(fds: Fds, steering: Steering) -> Workshop {
        Workshop {
            keep: Arc::default(),
            crypto: Arc::default(),
            fds,
            places: Places::default(),
            mailboxes: Mailboxes::default(),
            steering: Arc::new(steering),
            next_route: AtomicU32::default(),
        }
    }
}

/// The numbers of upstreams by name.
pub(crate) type Numbers = Arc<HashMap<Name, usize>>;

/// What is taken over from the snapshot before.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// What it was made of.
    pub config: &'a Checked,
}

struct Builder<'a> {
    shop: &'a Workshop,
    document: &'a Node,
    inputs: &'a Inputs,
    /// Those of the snapshot before, if they are known.
    inputs_before: Option<&'a Inputs>,
    config: &'a Checked,
    before: Option<Before<'a>>,
    report: Report,
    /// UDP sockets that listeners of this snapshot have.
    datagrams: Vec<Arc<UdpBound>>,
}

/// Builds the snapshot of a revision. Sockets that it opened are closed again if it is dropped unpublished.
pub(crate) fn snapshot(
    shop: &Workshop,
    build: Build<'_, Checked>,
    before: Option<Before<'_>>,
) -> Result<Snapshot, Report> {
    let mut b = Builder {
        shop,
        document: build.document,
        inputs: build.inputs,
        inputs_before: build.live.map(|live| live.inputs),
        config: build.config,
        before,
        report: Report::new(),
        datagrams: Vec::new(),
    };
    let credentials = b.credentials();
    let (clusters, numbers) = b.clusters(&credentials);
    let listeners = b.listeners(&credentials);
    let table = b.table(&numbers);
    let Some(table) = table.filter(|_| !b.report.has_errors()) else { return Err(b.report) };
    let workers = worker_count(build.config.workers);
    let holds = Arc::new(Holds::default());
    let counted = holds.clone();
    build.generation.count_by(move || counted.sum());
    Ok(Snapshot {
        revision: build.id,
        table,
        listeners,
        datagrams: b.datagrams,
        credentials,
        clusters,
        numbers,
        workers,
        holds,
        _generation: build.generation,
    })
}

/// Threads that the document asks for.
#[must_use]
pub(crate) fn worker_count(workers: Workers) -> usize {
    match workers {
        Workers::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        Workers::Count(n) => usize::from(n),
    }
}

impl Builder<'_> {
    fn problem(&mut self, code: &'static str, path: &Path, message: impl Into<String>) {
        let place = self.document.at(path.keys()).map(|node| node.place).unwrap_or_default();
        self.report.problem(code, path, place, message);
    }

    /// A pinned file's content.
    fn input(&mut self, path: &Path, file: &std::path::Path) -> Option<Arc<[u8]>> {
        match self.inputs.read(file) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.problem("file", path, format!("cannot read {}: {error}", file.display()));
                None
            }
        }
    }

    fn clusters(&mut self, credentials: &Credentials) -> (Vec<Option<Arc<Cluster>>>, Numbers) {
        let numbers = self.numbers();
        let mut clusters = vec![None; numbers.values().max().map_or(0, |most| most + 1)];
        let config = self.config;
        for (name, spec) in &config.upstreams {
            let number = numbers.get(name).copied();
            let cluster = self.cluster(name, spec, number, credentials);
            if let Some(place) = number.and_then(|n| clusters.get_mut(n)) {
                *place = cluster;
            }
        }
        (clusters, numbers)
    }

    /// An upstream has one number for as long as it is in the document; routes that did not change rely on it.
    fn numbers(&self) -> Numbers {
        let upstreams = &self.config.upstreams;
        let before = self.before.map(|b| &b.snapshot.numbers);
        if let Some(numbers) = before
            && numbers.len() == upstreams.len()
            && upstreams.keys().all(|name| numbers.contains_key(name))
        {
            return numbers.clone();
        }
        let old = |name: &Name| before.and_then(|numbers| numbers.get(name).copied());
        let mut taken: Vec<usize> = upstreams.keys().filter_map(old).collect();
        taken.sort_unstable();
        let mut free = (0..).filter(move |n| taken.binary_search(n).is_err());
        let number = |name: &Name| Some((name.clone(), old(name).or_else(|| free.next())?));
        Arc::new(upstreams.keys().filter_map(number).collect())
    }

    fn cluster(
        &mut self,
        name: &Name,
        spec: &Arc<config::Upstream>,
        number: Option<usize>,
        credentials: &Credentials,
    ) -> Option<Arc<Cluster>> {
        let uses_files = spec.tls.as_ref().is_some_and(|tls| tls.ca.is_some() || tls.certificate.is_some());
        let before = self.before.and_then(|b| b.snapshot.clusters.get(number?)?.as_ref());
        if let Some(cluster) = before
            && !uses_files
            && cluster.is_made_of(spec)
        {
            return Some(cluster.clone());
        }
        let tls = spec.tls.as_ref();
        let ca_path = tls.and_then(|tls| tls.ca.as_ref());
        let ca = match ca_path {
            Some(path) => Some(self.input(&object("upstreams", name).join("tls").join("ca"), &path.0)?),
            None => None,
        };
        let own = tls.and_then(|tls| tls.certificate.as_ref()).and_then(|name| credentials.get(name));
        let cx = ClusterBuild {
            keep: &self.shop.keep,
            crypto: &self.shop.crypto,
            ca: ca_path.zip(ca.as_deref()).map(|(path, bytes)| Pem { path: &path.0, bytes }),
            own: own.map(|c| &**c),
        };
        match Cluster::build(name, spec, &cx) {
            Ok(cluster) => Some(cluster),
            Err(error) => {
                self.problem("upstream_tls", &object("upstreams", name).join("tls"), error.to_string());
                None
            }
        }
    }

    fn listeners(&mut self, credentials: &Credentials) -> HashMap<Name, Arc<Entrance>> {
        let mut open: Vec<Arc<Bound>> = Vec::new();
        if let Some(before) = self.before {
            // Where datagrams are carried nobody listens.
            let listens = |e: &&Arc<Entrance>| e.carries != Carried::Udp;
            open.extend(before.snapshot.listeners.values().filter(listens).map(|e| e.bound.clone()));
        }
        let mut all = HashMap::new();
        let config = self.config;
        for (name, listener) in &config.listeners {
            if let Some(entrance) = self.entrance(name, listener, credentials, &mut open) {
                all.insert(name.clone(), Arc::new(entrance));
            }
        }
        all
    }

    fn entrance(
        &mut self,
        name: &Name,
        listener: &Arc<Listener>,
        credentials: &Credentials,
        open: &mut Vec<Arc<Bound>>,
    ) -> Option<Entrance> {
        let tls = match &listener.tls {
            Some(tls) => Some(self.handshakes(name, listener, tls, credentials)?),
            None => None,
        };
        let before = self.before.and_then(|b| b.snapshot.listeners.get(name));
        let (place, carries) = (listener.place(), listener.carries());
        let same = before.filter(|e| e.config.is_same_as(listener));
        let (incarnation, bound) = match same {
            Some(before) => (Some(before.incarnation.clone()), before.bound.clone()),
            None if carries == Carried::Udp => (None, Arc::new(Bound::none(&place))),
            None => (None, self.bound(name, &place, listener, open)?),
        };
        let bound = self.enough(name, listener, bound)?;
        let quic = match &tls {
            Some(tls) if listener.protocols.contains(&Protocol::Http3) => {
                Some(self.quic(name, listener, &bound, tls)?)
            }
            _ => None,
        };
        let mailbox = match same.and_then(|before| before.mailbox.clone()) {
            Some(kept) => Some(kept),
            None if carries == Carried::Udp => Some(self.mailbox(name, &place)?),
            None => None,
        };
        let actual =
            mailbox.as_ref().map_or_else(|| bound.actual(), |claim| claim.mailbox().address.to_string());
        let new = || Arc::new(Incarnation::new(name.clone(), actual, tls.is_some(), carries));
        Some(Entrance {
            incarnation: incarnation.unwrap_or_else(new),
            bound,
            config: listener.clone(),
            tls,
            http1: listener.protocols.contains(&Protocol::Http1),
            http2: listener.protocols.contains(&Protocol::Http2),
            carries: listener.carries(),
            front: Front::of(listener),
            tcp: listener.tcp.as_ref().map(Onward::new),
            passthrough: ByName::new(&listener.passthrough),
            quic,
            udp: listener.udp.as_ref().map(UdpOnward::new),
            mailbox,
        })
    }

    /// The socket of a listener that is new at its place; one that is open there already is taken over.
    fn bound(
        &mut self,
        name: &Name,
        place: &Place,
        listener: &Listener,
        open: &mut Vec<Arc<Bound>>,
    ) -> Option<Arc<Bound>> {
        let any_port = place.address.ip().is_some_and(|ip| ip.port() == 0);
        if let Some(bound) = open.iter().find(|b| b.place == *place && !any_port) {
            return Some(bound.clone());
        }
        let cx = Opening { options: &listener.socket, who: name, fds: &self.shop.fds };
        self.shop.places.wait_for(place, open);
        let bound = Bound::at(place, open, cx);
        let bound = Arc::new(self.had(name, listener, bound)?);
        self.shop.places.add(&bound);
        open.push(bound.clone());
        Some(bound)
    }

    /// As many sockets as workers, where each has its own.
    fn enough(&mut self, name: &Name, listener: &Listener, bound: Arc<Bound>) -> Option<Arc<Bound>> {
        if !listener.socket.reuse_port {
            return Some(bound);
        }
        let cx = Opening { options: &listener.socket, who: name, fds: &self.shop.fds };
        let more = bound.with(worker_count(self.config.workers), cx);
        let more = self.had(name, listener, more)?;
        if !Arc::ptr_eq(&more, &bound) {
            self.shop.places.add(&more);
        }
        Some(more)
    }

    fn had<T>(&mut self, name: &Name, listener: &Listener, bound: Result<T, UnixError>) -> Option<T> {
        let problem = |error| format!("cannot listen on {}: {error}", listener.address);
        match bound {
            Ok(bound) => Some(bound),
            Err(error) => {
                self.problem("bind", &object("listeners", name).join("address"), problem(error));
                None
            }
        }
    }

    fn table(&mut self, numbers: &HashMap<Name, usize>) -> Option<Table<Route>> {
        let nothing = (Table::default(), Objects::new());
        let before = self.before.map(|b| (&b.snapshot.table, &b.config.routes));
        let (table, routes) = before.unwrap_or((&nothing.0, &nothing.1));
        let mut changes = Vec::new();
        let mut alike = HashMap::new();
        for pair in routes.pairs(&self.config.routes) {
            match pair {
                (Some((_, old)), Some((_, new))) if Arc::ptr_eq(old, new) => {}
                (_, Some((name, source))) => {
                    let number = table.rule(name).map(|rule| rule.value.number);
                    let number = number.unwrap_or_else(|| self.next_number());
                    let number_of = |upstream: &str| numbers.get(upstream).copied().unwrap_or(usize::MAX);
                    let does = Does::new(source, &number_of).held_once(&self.shop.keep, &mut alike);
                    let value = Route { number, does };
                    changes.push(Change::Put(Rule { name: name.clone(), route: source.clone(), value }));
                }
                (Some((name, _)), None) => changes.push(Change::Take(name.clone())),
                (None, None) => {}
            }
        }
        match table.with(changes) {
            Ok(table) => Some(table),
            Err(error) => {
                self.problem("route", &object("routes", &error.name), error.reason);
                None
            }
        }
    }

    /// A number for a route in the metrics.
    fn next_number(&self) -> u32 {
        // 0 is "no route", the largest is "one of many".
        self.shop.next_route.fetch_add(1, Ordering::Relaxed) % (u32::MAX - 1) + 1
    }
}

fn object(section: &str, name: &Name) -> Path {
    Path::default().join(section).join(name.clone())
}
