//! `passthrough` of a listener: TLS goes on as it came, by the name that the client asks for.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use evergate_testkit::{Ask, Crowd, Door, Echo, Failure, Manner, Talk, load::Client};
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stand::Stand;

/// A listener with HTTPS for `test.local`, and endpoints that speak TLS themselves.
struct Passing {
    stand: Stand,
    _echoes: [Echo; 2],
}

impl Passing {
    async fn new(names: Value) -> Passing {
        let mut stand = Stand::with(json!({
            "listeners": { "db": { "tcp": null, "tls": { "certificates": ["leaf"] } } },
            "routes": { "web": { "respond": { "body": "by the gateway" } } },
        }))
        .await;
        let leaf = stand.authority.leaf(&["db.example.com", "*.example.org"]);
        let one = Echo::start_tls("one", leaf.server(&[])).await;
        let two = Echo::start_tls("two", leaf.server(&[])).await;
        let url = |echo: &Echo| format!("tcp://{}", echo.address);
        stand
            .apply(json!({
                "listeners": { "db": { "passthrough": names } },
                "upstreams": { "one": { "endpoints": [url(&one)] }, "two": { "endpoints": [url(&two)] } },
            }))
            .await;
        Passing { stand, _echoes: [one, two] }
    }

    async fn names(&mut self, names: Value) {
        self.stand.db(json!({ "passthrough": names })).await;
    }

    fn door(&self, name: &str) -> Door {
        Door::tls(self.stand.address, self.stand.authority.client(&[]), name)
    }

    /// Who speaks TLS for a name; `here` is the gateway itself.
    async fn by(&self, name: &str) -> String {
        match Talk::open(&self.door(name)).await {
            Ok(talk) => talk.name,
            Err(error) if format!("{error:?}").contains("only valid for DnsName(\\\"test.local\\\")") => {
                "here".to_owned()
            }
            Err(error) => format!("{error:?}"),
        }
    }
}

async fn https(door: &Door) -> Result<String, Failure> {
    Ok(door.ask(&Ask::get("/")).await?.text())
}

#[tokio::test]
async fn the_name_says_who_speaks_tls() {
    let passing = Passing::new(json!({ "db.example.com": "one", "*.example.org": "two" })).await;
    let mut talk = Talk::open(&passing.door("db.example.com")).await.unwrap();
    talk.echo("past the gateway").await.unwrap();
    let all = vec![3; 3 << 20];
    assert!(talk.rest(&all).await.unwrap() == all);
    assert_eq!(passing.by("a.example.org").await, "two");
    assert_eq!(passing.by("DB.EXAMPLE.com").await, "one");
    assert_eq!(passing.by("example.org").await, "here");
    for door in [passing.stand.tls_door(&["http/1.1"]), passing.stand.tls_door(&[]).h2()] {
        assert_eq!(https(&door).await, Ok("by the gateway".to_owned()));
    }
    passing.stand.end().await;
}

#[tokio::test]
async fn names_change_and_streams_stay() {
    let mut passing = Passing::new(json!({ "db.example.com": "one" })).await;
    let https = Client::new(passing.stand.tls_door(&["http/1.1"]), Manner::PerRequest, Ask::get("/"));
    let kept = Client::new(passing.stand.tls_door(&["http/1.1"]), Manner::KeepAlive, Ask::get("/"));
    let crowd = Crowd::start([https, kept]);
    let mut streams = Vec::new();
    for turn in 0..10_u32 {
        let to = if turn % 2 == 0 { "two" } else { "one" };
        streams.push(Talk::open(&passing.door("db.example.com")).await.unwrap());
        passing.names(json!({ "db.example.com": to, "a.example.org": null })).await;
        assert_eq!(passing.by("db.example.com").await, to);
        assert_eq!(passing.by("a.example.org").await, "here");
        passing.names(json!({ "*.example.org": { "forward": to, "idle": format!("{}m", 5 + turn) } })).await;
        assert_eq!(passing.by("a.example.org").await, to);
        // The exact name is the better one.
        let other = if turn % 2 == 0 { "one" } else { "two" };
        passing.names(json!({ "a.example.org": other })).await;
        assert_eq!(passing.by("a.example.org").await, other);
        passing.names(json!({ "*.example.org": null })).await;
        for stream in &mut streams {
            stream.echo("still here").await.unwrap();
        }
    }
    // None at all: the listener goes on, and so does what is open.
    passing.names(json!({ "db.example.com": null, "a.example.org": null })).await;
    assert_eq!(passing.by("db.example.com").await, "here");
    for stream in &mut streams {
        stream.echo("still here").await.unwrap();
    }
    crowd.more(20).await;
    crowd.stop().await.assert_unnoticed();
    passing.stand.end().await;
}

#[tokio::test]
async fn idle_and_connect_of_a_name_change() {
    let mut passing = Passing::new(json!({ "db.example.com": { "forward": "one", "idle": "100ms" } })).await;
    let mut short = Talk::open(&passing.door("db.example.com")).await.unwrap();
    // It is closed by the gateway, without the goodbye of TLS.
    assert!(matches!(short.closed().await, Err(Failure::Cut(_))));
    passing.names(json!({ "db.example.com": { "idle": "1h" } })).await;
    let mut long = Talk::open(&passing.door("db.example.com")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    long.echo("still here").await.unwrap();
    let silent = evergate_testkit::backend::Silent::start().await;
    let url = format!("tcp://{}", silent.address);
    passing.stand.apply(json!({ "upstreams": { "one": { "endpoints": [url] } } })).await;
    passing.names(json!({ "db.example.com": { "connect": "50ms" } })).await;
    assert!(Talk::open(&passing.door("db.example.com")).await.is_err());
    long.echo("still here").await.unwrap();
    passing.stand.end().await;
}

/// The first bytes of a client that asks for a name, and the client.
fn hello(config: Arc<ClientConfig>, name: &'static str) -> (Vec<u8>, ClientConnection) {
    let mut tls = ClientConnection::new(config, ServerName::try_from(name).unwrap()).unwrap();
    let mut bytes = Vec::new();
    tls.write_tls(&mut bytes).unwrap();
    (bytes, tls)
}

/// A record cut into many.
fn in_records_of(n: usize, record: &[u8]) -> Vec<u8> {
    let piece = |piece: &[u8]| [&record[..3], &(piece.len() as u16).to_be_bytes(), piece].concat();
    record[5..].chunks(n).flat_map(piece).collect()
}

#[tokio::test]
async fn a_hello_may_come_in_any_pieces() {
    let passing = Passing::new(json!({ "db.example.com": "one" })).await;
    let (address, authority) = (passing.stand.address, &passing.stand.authority);
    for (records, writes) in [(16_000, 1), (100, 1_000_000), (7, 50)] {
        for (name, greeting) in [("db.example.com", "one\n"), ("test.local", "HTTP/1.1 200")] {
            let (bytes, tls) = hello(authority.client(&[]), name);
            let bytes = in_records_of(records, &bytes);
            let heard =
                tokio::task::spawn_blocking(move || shake(address, tls, &bytes, writes, greeting.len()));
            assert_eq!(heard.await.unwrap(), greeting, "records of {records}, writes of {writes}");
        }
    }
    passing.stand.end().await;
}

/// Sends the hello in such pieces, ends the handshake, and hears the first so many bytes.
fn shake(
    address: SocketAddr,
    mut tls: ClientConnection,
    hello: &[u8],
    writes: usize,
    hears: usize,
) -> String {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    for piece in hello.chunks(writes) {
        tcp.write_all(piece).unwrap();
        std::thread::yield_now();
    }
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test.local\r\n\r\n").unwrap();
    let mut heard = vec![0; hears];
    stream.read_exact(&mut heard).unwrap();
    String::from_utf8(heard).unwrap()
}

/// All that comes back until the connection is closed.
async fn shout(door: &Door, bytes: &[u8]) -> Vec<u8> {
    let (mut io, _) = door.dial().await.unwrap();
    io.write_all(bytes).await.unwrap();
    let mut heard = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), io.read_to_end(&mut heard)).await;
    // However it is closed.
    let _ = end.expect("it is closed");
    heard
}

#[tokio::test]
async fn what_is_not_listed_is_refused_where_nobody_else_takes_it() {
    let mut passing = Passing::new(json!({ "db.example.com": "one" })).await;
    let (hello, _) = hello(passing.stand.authority.client(&[]), "other.example.com");
    let mut stream = Talk::open(&passing.door("db.example.com")).await.unwrap();
    // Without TLS of its own nothing is left of the listener but the names.
    passing.stand.db(json!({ "tls": null })).await;
    let clear = passing.stand.door();
    let refused = "gateway_streams_total{listener=\"db\",end=\"refused\"}";
    let alert = |code: u8| vec![21, 3, 3, 0, 2, 2, code];
    for (n, (bytes, expected)) in [
        (&hello[..], alert(112)),
        (b"GET / HTTP/1.1\r\n\r\n", vec![]),
        (&[22, 3, 1, 0, 4, 1, 0, 0, 0], alert(50)),
        (&[22, 3, 1, 0, 4, 1, 255, 0, 0], alert(50)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(shout(&clear, bytes).await, expected, "{n}");
    }
    passing
        .stand
        .gate
        .until("it is counted", async || passing.stand.gate.metric(refused).await == Some(4.0))
        .await;
    assert_eq!(passing.by("db.example.com").await, "one");
    stream.echo("still here").await.unwrap();
    // A hello that does not end, or never begins, has its time.
    passing.stand.db(json!({ "timeouts": { "handshake": "100ms" } })).await;
    for bytes in [&hello[..100], &[]] {
        assert_eq!(shout(&clear, bytes).await, b"");
    }
    passing.stand.end().await;
}

#[tokio::test]
async fn what_is_not_listed_is_carried_where_all_is() {
    let mut passing = Passing::new(json!({ "db.example.com": "one" })).await;
    let (hello, _) = hello(passing.stand.authority.client(&[]), "other.example.com");
    passing.stand.db(json!({ "tls": null, "tcp": "a" })).await;
    assert_eq!(passing.by("db.example.com").await, "one");
    for bytes in [&hello[..], b"who speaks first is carried"] {
        let (mut io, _) = passing.stand.door().dial().await.unwrap();
        io.write_all(bytes).await.unwrap();
        io.shutdown().await.unwrap();
        let mut heard = Vec::new();
        io.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [b"a\n", bytes].concat());
    }
    // With TLS of its own, what is not listed is carried without it.
    passing.stand.db(json!({ "tls": { "certificates": ["leaf"] } })).await;
    assert_eq!(passing.by("db.example.com").await, "one");
    assert_eq!(passing.by("test.local").await, "a");
    passing.stand.end().await;
}
