//! Proxies before the gateway and behind it: the PROXY protocol both ways, and headers that tell of the client.

use evergate_testkit::{
    Ask, Door, Stand, ports,
    recorder::{Begun, Recorder},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::BIN;

const LINE: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 for `[2001:db8::7]:4711`, with a field that nobody knows.
fn binary() -> Vec<u8> {
    let mut header = [SIGNATURE, &[0x21, 0x21, 0, 36 + 5, 0x20, 1, 0x0d, 0xb8]].concat();
    header.extend([0; 11]);
    header.push(7);
    header.extend([0; 16]);
    header.extend([0x12, 0x67, 1, 0xbb, 0xea, 0, 2, 1, 2]);
    header
}

fn both(settings: &Value) -> Value {
    json!({ "listeners": { "clear": settings, "tls": settings } })
}

/// Who the backend was told that the client is.
async fn told(door: &Door) -> Result<String, String> {
    told_with(door, Ask::get("/")).await
}

async fn told_with(door: &Door, ask: Ask) -> Result<String, String> {
    let answer = door.ask(&ask).await.map_err(|e| format!("{e:?}"))?;
    Ok(answer.json()["fields"]["x-forwarded-for"][0].as_str().unwrap_or("nobody").to_owned())
}

#[tokio::test]
async fn trusted_proxies_say_for_whom_they_connect() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut kept = stand.door().connect().await.unwrap();
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for _ in 0..2 {
        stand.apply(both(&json!({ "proxy_protocol": { "from": ["127.0.0.0/8"] } }))).await;
        for door in stand.doors() {
            assert_eq!(told(&door.clone().preface(LINE)).await, Ok("203.0.113.7".to_owned()));
            assert_eq!(told(&door.clone().preface(binary())).await, Ok("2001:db8::7".to_owned()));
            assert_eq!(told(&door.clone().preface("PROXY UNKNOWN\r\n")).await, Ok("127.0.0.1".to_owned()));
            assert_eq!(told(&door.clone().preface(local.clone())).await, Ok("127.0.0.1".to_owned()));
            assert!(told(&door).await.is_err(), "it is needed from them");
            assert!(told(&door.clone().preface("PROXY TCP4 1.2.3.4\r\n")).await.is_err());
        }
        assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200, "what is open stays");
        // From others it is not believed.
        stand.apply(both(&json!({ "proxy_protocol": { "from": ["192.0.2.0/24"] } }))).await;
        assert_eq!(told(&stand.door()).await, Ok("127.0.0.1".to_owned()));
        let claim = format!("{LINE}GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(stand.door().shout(claim.as_bytes()).await.unwrap().starts_with("HTTP/1.1 400 "));
        stand.apply(both(&json!({ "proxy_protocol": { "others": "refuse" } }))).await;
        assert!(told(&stand.door()).await.is_err());
        stand.apply(both(&json!({ "proxy_protocol": null }))).await;
        for door in stand.doors() {
            assert_eq!(told(&door).await, Ok("127.0.0.1".to_owned()));
        }
        assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_header_may_come_in_pieces_but_not_for_ever() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    stand.apply(both(&json!({ "proxy_protocol": { "from": ["127.0.0.1"] } }))).await;
    let (mut io, _) = stand.door().dial().await.unwrap();
    let request = format!("{LINE}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    for byte in request.as_bytes() {
        io.write_all(&[*byte]).await.unwrap();
        io.flush().await.unwrap();
    }
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("203.0.113.7"), "{answer}");
    stand.apply(both(&json!({ "timeouts": { "handshake": "100ms" } }))).await;
    for part in [&b"PROXY TCP4 203.0"[..], b"", &SIGNATURE[..7]] {
        assert_eq!(stand.door().shout(part).await, Ok(String::new()), "closed without a word");
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn endpoints_are_told_for_whom_a_connection_is_made() {
    let recorder = Recorder::start().await;
    let url = recorder.url.clone();
    let mut stand = Stand::with(
        BIN,
        json!({ "upstreams": { "told": { "endpoints": [url] } }, "routes": { "told": { "match": { "path": "/told" }, "forward": "told" } } }),
    )
    .await;
    let crowd = stand.bystanders().await;
    let with = |version: Value| json!({ "upstreams": { "told": { "proxy_protocol": version } } });
    let client = std::net::TcpStream::connect(stand.clear).unwrap();
    client.set_nonblocking(true).unwrap();
    let source = client.local_addr().unwrap();
    let mut client = tokio::net::TcpStream::from_std(client).unwrap();
    let mut ask = async || {
        client.write_all(b"GET /told HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok") {
            assert!(client.read_buf(&mut answer).await.unwrap() > 0, "cut");
        }
    };
    let count = recorder.begun().len();
    assert_eq!(count, 0);
    let mut connections = 0;
    for (n, version) in [json!(null), json!("v1"), json!(null), json!("v2")].into_iter().enumerate() {
        if n > 0 {
            stand.apply(with(version.clone())).await;
        }
        ask().await;
        ask().await;
        let all = recorder.begun();
        let new = &all[connections..];
        match version.as_str() {
            Some("v1") => {
                let (ip, to) = (source.ip(), stand.clear);
                let line = format!("PROXY TCP4 {ip} {} {} {}\r\n", to.ip(), source.port(), to.port());
                assert_eq!(new, [(line.clone().into_bytes(), 1), (line.into_bytes(), 1)], "each its own");
            }
            Some(_) => {
                let begins = [SIGNATURE, &[0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]].concat();
                let ends = [source.port().to_be_bytes(), stand.clear.port().to_be_bytes()].concat();
                let header = [begins, ends].concat();
                assert_eq!(new, [(header.clone(), 1), (header, 1)]);
            }
            None => assert_eq!(new, [(Vec::new(), 2)], "a pool of its own"),
        }
        connections = all.len();
    }
    // A health check is nobody's connection.
    let health = json!({ "path": "/health", "interval": "50ms" });
    stand.apply(json!({ "upstreams": { "told": { "proxy_protocol": "v1", "health": health } } })).await;
    let said = |seen: &[Begun]| seen.iter().any(|(begin, _)| begin == b"PROXY UNKNOWN\r\n");
    stand.gate.until("a question", async || said(&recorder.begun()[connections..])).await;
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn streams_are_announced_as_requests_are() {
    let recorder = Recorder::start().await;
    let address = ports::free();
    let upstream = json!({ "endpoints": [recorder.url.replace("http:", "tcp:")], "proxy_protocol": "v1" });
    let mut stand = Stand::with(
        BIN,
        json!({
            "upstreams": { "bytes": upstream },
            "listeners": { "bytes": { "address": address, "tcp": "bytes", "proxy_protocol": { "from": ["127.0.0.1"] } } },
            "routes": { "all": { "listeners": ["clear", "tls"] } },
        }),
    )
    .await;
    let crowd = stand.bystanders().await;
    let door = Door::clear(address).preface(LINE);
    let mut kept = door.connect().await.unwrap();
    assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200);
    assert_eq!(recorder.begun(), [(LINE.as_bytes().to_vec(), 1)], "who it is goes all the way");
    stand.apply(json!({ "upstreams": { "bytes": { "proxy_protocol": null } } })).await;
    assert_eq!(door.ask(&Ask::get("/")).await.unwrap().status, 200);
    assert_eq!(recorder.begun()[1], (Vec::new(), 1));
    assert_eq!(kept.ask(&Ask::get("/")).await.unwrap().status, 200, "what is open stays");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn headers_of_trusted_proxies_are_believed() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let mut kept = stand.door().connect().await.unwrap();
    let claim = Ask::get("/")
        .field("x-forwarded-for", "6.6.6.6, 203.0.113.7, 10.0.0.2")
        .field("x-forwarded-proto", "https")
        .field("x-forwarded-host", "outside.example")
        .field("x-forwarded-port", "444")
        .field("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:1\", for=10.0.0.2");
    let seen = async |stand: &Stand| -> Vec<Value> {
        let mut all = Vec::new();
        for door in stand.doors() {
            all.push(door.ask(&claim).await.unwrap().json()["fields"].clone());
        }
        all
    };
    for _ in 0..2 {
        for (fields, proto) in seen(&stand).await.iter().zip(["http", "http", "https", "https"]) {
            assert_eq!(fields["x-forwarded-for"], json!(["127.0.0.1"]), "nobody is believed: {fields}");
            assert_eq!(fields["x-forwarded-proto"], json!([proto]));
            assert_eq!(fields["x-forwarded-host"], json!(["test.local"]));
            assert!(fields["x-forwarded-port"].is_null() && fields["forwarded"].is_null(), "{fields}");
        }
        let trust = json!({ "client_address": { "trust": ["127.0.0.1", "10.0.0.0/8"] } });
        stand.apply(both(&trust)).await;
        for fields in seen(&stand).await {
            let way = "203.0.113.7, 10.0.0.2, 127.0.0.1";
            assert_eq!(fields["x-forwarded-for"], json!([way]), "what the client made up is gone: {fields}");
            assert_eq!(fields["x-forwarded-proto"], json!(["https"]));
            assert_eq!(fields["x-forwarded-host"], json!(["outside.example"]));
            assert_eq!(fields["x-forwarded-port"], json!(["444"]));
        }
        stand.apply(both(&json!({ "client_address": { "header": "forwarded" } }))).await;
        for (fields, proto) in seen(&stand).await.iter().zip(["http", "http", "https", "https"]) {
            assert_eq!(fields["x-forwarded-for"], json!(["2001:db8::7, 10.0.0.2, 127.0.0.1"]), "{fields}");
            let forwarded = fields["forwarded"][0].as_str().unwrap();
            let own = format!("for=10.0.0.2, for=127.0.0.1;proto={proto}");
            assert!(forwarded.ends_with(&own), "{forwarded}");
        }
        // It holds for requests on connections that are open already.
        let answer = kept.ask(&claim).await.unwrap();
        assert_eq!(answer.json()["fields"]["x-forwarded-for"][0], "2001:db8::7, 10.0.0.2, 127.0.0.1");
        stand.apply(both(&json!({ "client_address": { "trust": ["192.0.2.1"] } }))).await;
        assert_eq!(told_with(&stand.door(), claim.clone()).await, Ok("127.0.0.1".to_owned()));
        stand.apply(both(&json!({ "client_address": null }))).await;
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_proxy_by_a_unix_socket_can_be_trusted() {
    let mut stand = Stand::new(BIN).await;
    let path = stand.path().join("web.sock");
    let door = Door::unix(&path);
    let address = format!("unix:{}", path.display());
    let trust = json!({ "trust": ["unix"] });
    stand
        .apply(json!({
            "listeners": { "local": { "address": address, "client_address": trust, "proxy_protocol": { "from": ["unix"] } } },
            "routes": { "all": { "listeners": null } },
        }))
        .await;
    let claim = Ask::get("/").field("x-forwarded-for", "203.0.113.7");
    // The proxy says who it connects for; that one is not trusted to say more.
    assert_eq!(told_with(&door.clone().preface(LINE), claim.clone()).await, Ok("203.0.113.7".to_owned()));
    stand.apply(json!({ "listeners": { "local": { "proxy_protocol": null } } })).await;
    assert_eq!(told_with(&door, claim.clone()).await, Ok("203.0.113.7".to_owned()));
    assert_eq!(told(&door).await, Ok("nobody".to_owned()));
    stand.apply(json!({ "listeners": { "local": { "client_address": null } } })).await;
    assert_eq!(told_with(&door, claim).await, Ok("nobody".to_owned()));
}

#[tokio::test]
async fn what_makes_no_sense_of_proxies_is_refused() {
    let mut stand = Stand::new(BIN).await;
    for (settings, path, code) in [
        (json!({ "proxy_protocol": { "from": [] } }), "proxy_protocol.from", "empty"),
        (json!({ "client_address": { "trust": [] } }), "client_address.trust", "empty"),
        (json!({ "client_address": { "trust": ["::/0", "::/0"] } }), "client_address.trust.1", "duplicate"),
        (
            json!({ "client_address": { "trust": ["::/0"], "header": "a b" } }),
            "client_address.header",
            "bad_header",
        ),
    ] {
        let verdict = stand.refused(json!({ "listeners": { "clear": settings } })).await;
        let problem = &verdict["report"][0];
        assert_eq!(
            (problem["path"].as_str(), problem["code"].as_str()),
            (Some(&*format!("listeners.clear.{path}")), Some(code)),
            "{verdict:#}"
        );
    }
    let settings = json!({ "protocols": ["h3", "h2"], "proxy_protocol": { "from": ["::/0"] } });
    let quic = stand.refused(json!({ "listeners": { "tls": settings } })).await;
    assert_eq!(quic["report"][0]["code"], "conflict", "{quic:#}");
    let within = stand
        .refused(json!({ "listeners": { "clear": { "proxy_protocol": { "from": ["10.0.0.1/8"] } } } }))
        .await;
    assert!(
        within["report"][0]["message"].as_str().unwrap().contains("the network is 10.0.0.0/8"),
        "{within:#}"
    );
}
