//! The data plane by itself: built, published and changed without files, history or an admin API.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, outside of test functions")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use evergate_conf::{FileId, Format, Limits, Node, Report};
use evergate_contract::{Checked, status::Running};
use evergate_proxy::{Before, Gateway, Plane};
use evergate_reload::{Build, Generation, Inputs, Plan, RevisionId};

struct Plain {
    plane: Plane,
    gateway: Arc<Gateway>,
    live: Option<(Node, Arc<Checked>)>,
    seq: u64,
    _control: tokio::runtime::Runtime,
}

impl Plain {
    fn start() -> Plain {
        let control =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let plane = Plane::new(control.handle().clone(), Before::default(), Arc::new(|_| {})).unwrap();
        Plain { gateway: plane.gateway(), plane, live: None, seq: 0, _control: control }
    }

    fn change(&mut self, yaml: &str) -> Result<(), Report> {
        let document = evergate_conf::format::parse(yaml, Format::Yaml, FileId::NONE, &Limits::default())
            .expect("the test's own document");
        let before = self.live.as_ref().map(|(node, config)| (node, &**config));
        let config = Arc::new(evergate_contract::check(&document, before)?);
        self.seq += 1;
        let id = RevisionId::new(self.seq, document.digest());
        let (inputs, plan) = (Inputs::new(), Plan::default());
        let build = Build {
            id,
            config: &config,
            document: &document,
            inputs: &inputs,
            plan: &plan,
            live: None,
            generation: Generation::detached(id),
        };
        let prepared = self.plane.prepare(build)?;
        self.plane.publish(prepared);
        self.live = Some((document, config));
        Ok(())
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let listeners = self.gateway.listeners();
        listeners.iter().find(|l| &*l.name == listener).unwrap().address.parse().unwrap()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.gateway.stop();
    }
}

/// Sends a request on a kept connection and returns the whole response; its body has a length.
fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&got));
        got.push(byte[0]);
    }
    let head = String::from_utf8(got).unwrap();
    let length =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn respond(body: &str) -> String {
    format!(
        "workers: 1\nlisteners: {{ web: {{ address: '127.0.0.1:0' }} }}\n\
         routes: {{ all: {{ respond: {{ body: '{body}' }} }} }}\n"
    )
}

#[test]
fn a_change_is_seen_by_the_next_request_on_the_same_connection() {
    let mut plain = Plain::start();
    plain.change(&respond("one")).unwrap();
    let mut client = TcpStream::connect(plain.address("web")).unwrap();
    assert!(ask(&mut client, "/").ends_with("\r\n\r\none"));
    plain.change(&respond("two")).unwrap();
    let answer = ask(&mut client, "/");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ntwo"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
}

#[test]
fn a_removed_listener_answers_once_more_and_closes() {
    let mut plain = Plain::start();
    plain.change(&respond("one")).unwrap();
    let mut client = TcpStream::connect(plain.address("web")).unwrap();
    ask(&mut client, "/");
    plain
        .change("workers: 1\nlisteners: { other: { address: '127.0.0.1:0' } }\nroutes: { all: { respond: { body: x } } }\n")
        .unwrap();
    assert!(ask(&mut client, "/").contains("connection: close\r\n"));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_address_in_use_refuses_the_change_and_nothing_changes() {
    let mut plain = Plain::start();
    plain.change(&respond("one")).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let document = format!("listeners: {{ web: {{ address: '{}' }} }}\n", taken.local_addr().unwrap());
    let report = plain.change(&document).unwrap_err();
    assert!(format!("{report:?}").contains("cannot listen on"), "{report:?}");
    assert!(ask(&mut TcpStream::connect(plain.address("web")).unwrap(), "/").ends_with("one"));
}

#[test]
fn workers_come_and_go_and_connections_stay() {
    let mut plain = Plain::start();
    let with = |n: usize| respond("x").replace("workers: 1", &format!("workers: {n}"));
    plain.change(&with(3)).unwrap();
    let mut clients: Vec<_> = (0..30).map(|_| TcpStream::connect(plain.address("web")).unwrap()).collect();
    for n in [1, 4, 2, 1, 3] {
        plain.change(&with(n)).unwrap();
        assert_eq!(plain.gateway.workers(), n);
        for client in &mut clients {
            let answer = ask(client, "/");
            assert!(answer.ends_with("x") && !answer.contains("connection: close"), "{answer}");
        }
        assert!(ask(&mut TcpStream::connect(plain.address("web")).unwrap(), "/").ends_with("x"));
    }
}

#[test]
fn no_route_is_a_small_json_reply() {
    let mut plain = Plain::start();
    plain.change("workers: 1\nlisteners: { web: { address: '127.0.0.1:0' } }\n").unwrap();
    let answer = ask(&mut TcpStream::connect(plain.address("web")).unwrap(), "/");
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains(r#"{"status":404,"error":"no_route","message":"#), "{answer}");
}
