//! HTTP at its edges: what could be smuggled, what streams, what is relayed as it is.

use std::time::Duration;

use evergate_testkit::{
    Ask, Backend, Door, Failure, Stand,
    h1::Framing,
    rng::{hash, noise},
    ws::Socket,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BIN: &str = env!("CARGO_BIN_EXE_evergate");

/// Requests that two parsers could read in two ways. Each is followed by a request that must not be answered.
const AMBIGUOUS: &[(&str, &str)] = &[
    (
        "both lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (
        "same length twice",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    ),
    ("list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    ("negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello"),
    ("hexadecimal length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"),
    ("empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nhello"),
    ("huge length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nhello"),
    (
        "coding not last",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    ("unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("coding with a tail", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n"),
    ("chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    ("coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("bare LF in the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LF in a header", "GET / HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
    ("bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rX-C: d\r\n\r\n"),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
    ("folded header", "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
    ("blank before the first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("blank before the colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello"),
    ("blank in a name", "GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n"),
    ("empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\nX-A: b\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("bad host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("another host in the target", "GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no version", "GET /\r\nHost: a\r\n\r\n"),
    ("version of the future", "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    ("bad method", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
];

/// Bodies that are wrong when the request has begun: what was sent on may not be completed.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("size is no number", "zz\r\nhello\r\n0\r\n\r\n"),
    ("signed size", "+5\r\nhello\r\n0\r\n\r\n"),
    ("size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("blank before the size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("huge size", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
    ("bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
    ("longer than its size", "4\r\nhello\r\n0\r\n\r\n"),
    ("bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
    ("empty size", "\r\nhello\r\n0\r\n\r\n"),
];

const FOLLOWER: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Paths of requests that a backend got.
fn targets(backend: &Backend) -> Vec<String> {
    backend.take_seen().iter().map(|s| s["target"].as_str().unwrap_or_default().to_owned()).collect()
}

fn status_lines(said: &str) -> Vec<&str> {
    said.lines().filter(|l| l.starts_with("HTTP/1.1 ")).collect()
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_go_nowhere() {
    let stand = Stand::new(BIN).await;
    let mut wrong = Vec::new();
    for door in [stand.door(), stand.tls_door()] {
        for (what, request) in AMBIGUOUS {
            let said = door.shout(format!("{request}{FOLLOWER}").as_bytes()).await;
            let said = said.unwrap_or_else(|f| format!("{f:?}"));
            let lines = status_lines(&said);
            let fits = |l: &&str| l.starts_with("HTTP/1.1 400 ") || l.starts_with("HTTP/1.1 505 ");
            let refused = lines.len() == 1 && lines.iter().all(fits);
            let whole = said.contains("application/json") && said.contains("\"error\"");
            let closes = said.to_ascii_lowercase().contains("connection: close");
            let seen = targets(&stand.v1);
            if !(refused && whole && closes && seen.is_empty()) {
                wrong.push(format!("{what}: {said:?}, and the backend saw {seen:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn bad_chunks_end_the_request_and_the_connection() {
    let stand = Stand::new(BIN).await;
    let mut wrong = Vec::new();
    for (what, body) in BAD_CHUNKS {
        let head = "POST /begun HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let said = stand.door().shout(format!("{head}{body}{FOLLOWER}").as_bytes()).await;
        let said = said.unwrap_or_else(|f| format!("{f:?}"));
        let lines = status_lines(&said);
        let refused = lines.len() == 1 && lines[0].starts_with("HTTP/1.1 400 ");
        let seen = targets(&stand.v1);
        if !refused || seen.iter().any(|t| t != "/begun") {
            wrong.push(format!("{what}: {said:?}, and the backend saw {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The pools are not poisoned by what was cut off.
    for _ in 0..20 {
        let answer = stand.door().ask(&Ask::post("/after", "hello")).await.unwrap();
        assert_eq!((answer.status, answer.json()["body_length"].as_u64()), (200, Some(5)));
    }
}

#[tokio::test]
async fn unusual_but_right_requests_are_served() {
    let stand = Stand::new(BIN).await;
    let rows: &[(&str, &str)] = &[
        ("/absolute", "GET http://a/absolute HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        ("/old", "GET /old HTTP/1.0\r\nHost: a\r\n\r\n"),
        ("/hostless", "GET /hostless HTTP/1.0\r\n\r\n"),
        ("/blanks", "GET /blanks HTTP/1.1\r\nHost:  \t a \t\r\nX-A:\r\nConnection: close\r\n\r\n"),
        ("/empty-lines", "\r\n\r\nGET /empty-lines HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        ("/port", "GET /port HTTP/1.1\r\nHost: a:8080\r\nConnection: close\r\n\r\n"),
        (
            "/extension",
            "POST /extension HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: CHUNKED\r\n\r\n\
             5;x=\"y\"\r\nhello\r\n0\r\nX-End: 1\r\n\r\n",
        ),
        (
            "/zeros",
            "POST /zeros HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0005\r\n\r\nhello",
        ),
    ];
    let mut wrong = Vec::new();
    for (target, request) in rows {
        let said = stand.door().shout(request.as_bytes()).await;
        let said = said.unwrap_or_else(|f| format!("{f:?}"));
        let seen = targets(&stand.v1);
        if !said.starts_with("HTTP/1.1 200 ") || seen != [*target] {
            wrong.push(format!("{target}: {said:?}, and the backend saw {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_target_without_a_slash_is_refused() {
    let stand = Stand::new(BIN).await;
    for target in ["a", "*", "a:80"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let said = stand.door().shout(request.as_bytes()).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 400 "), "{target}: {said:?}");
    }
    assert_eq!(targets(&stand.v1), [""; 0]);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let stand = Stand::new(BIN).await;
    let mut requests = String::new();
    for n in 0..10 {
        let slow = if n % 3 == 0 { "x-do: slow 20\r\n" } else { "" };
        let body = "x".repeat(n);
        requests += &format!("POST /{n} HTTP/1.1\r\nHost: a\r\n{slow}Content-Length: {n}\r\n\r\n{body}");
    }
    requests += "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let said = stand.door().shout(requests.as_bytes()).await.unwrap();
    let echoes: Vec<Value> = said.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let targets: Vec<&str> = echoes.iter().filter_map(|e: &Value| e["target"].as_str()).collect();
    assert_eq!(targets, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/last"]);
    assert!(echoes.iter().zip(0..).take(10).all(|(e, n)| e["body_length"] == n));
}

/// All four ways in, to HTTP/1.1 and to HTTP/2.
async fn eight_ways() -> (Stand, Vec<(Door, &'static str)>) {
    let stand = Stand::made(BIN, |v1, _| {
        json!({
            "upstreams": { "two": { "endpoints": [v1.url()], "protocol": "h2" } },
            "routes": { "two": { "match": { "hosts": ["two.test"] }, "forward": "two" } },
        })
    })
    .await;
    let mut ways = Vec::new();
    for door in stand.doors() {
        ways.extend(["test.local", "two.test"].map(|host| (door.clone(), host)));
    }
    (stand, ways)
}

#[tokio::test]
async fn big_bodies_go_both_ways_unharmed() {
    let (_stand, ways) = eight_ways().await;
    let body = noise(2_000_000);
    for (door, host) in ways {
        let mut conn = door.connect().await.unwrap();
        for chunked in [false, true] {
            let mut ask = Ask::post("/", body.clone()).host(host).field("x-do", "return");
            ask.chunked = chunked;
            let answer = conn.ask(&ask).await.unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, body.len()));
            assert_eq!(hash(&answer.body), hash(&body));
        }
    }
}

#[tokio::test]
async fn trailers_and_early_hints_are_relayed() {
    let (_stand, ways) = eight_ways().await;
    for (door, host) in ways {
        let mut conn = door.connect().await.unwrap();
        let ask = Ask::post("/", "body")
            .host(host)
            .trailer("x-t", "end")
            .field("x-do", "trailers")
            .field("te", "trailers");
        let answer = conn.ask(&ask).await.unwrap();
        assert_eq!(answer.json()["trailers"]["x-t"], "end", "{host}");
        assert_eq!(answer.trailers.get("x-end"), Some("yes"), "{host}: {answer:?}");
        assert_eq!(answer.trailers.get("x-sum"), Some(hash(&answer.body).to_string().as_str()));
        let answer = conn.ask(&Ask::get("/").host(host).field("x-do", "hints")).await.unwrap();
        let hints: Vec<_> = answer.early.iter().map(|(s, f)| (*s, f.get("link"))).collect();
        assert_eq!(hints, [(103, Some("</a.css>; rel=preload"))], "{host}");
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn head_has_no_body_and_keeps_the_connection() {
    let (_stand, ways) = eight_ways().await;
    for (door, host) in ways {
        let mut conn = door.connect().await.unwrap();
        for method in ["HEAD", "GET", "HEAD"] {
            let answer =
                conn.ask(&Ask::get("/").host(host).method(method).field("x-do", "bytes 1000")).await.unwrap();
            assert_eq!((answer.status, answer.body.is_empty()), (200, method == "HEAD"), "{host} {method}");
        }
        assert!(!conn.over());
    }
}

#[tokio::test]
async fn events_are_flushed_at_once() {
    let (stand, ways) = eight_ways().await;
    for (door, host) in ways {
        let ask = Ask::get("/").host(host).field("x-do", "events");
        let mut coming = door.connect().await.unwrap().begin(&ask).await.unwrap();
        // The backend sends the next event only when it is told to: what is not passed on at once would hang.
        for n in 0..3 {
            assert_eq!(coming.piece().await.unwrap().unwrap(), format!("data: {n}\n\n"));
            stand.v1.release();
        }
        assert_eq!(coming.piece().await.unwrap().unwrap_or_default(), "");
    }
}

#[tokio::test]
async fn websockets_and_other_upgrades_are_tunnelled() {
    let stand = Stand::new(BIN).await;
    for door in [stand.door(), stand.tls_door()] {
        let mut socket = Socket::open(&door, "test.local", "/socket").await.unwrap();
        for length in [0, 5, 200, 100_000] {
            socket.echo(&"x".repeat(length)).await.unwrap();
        }
        socket.close().await.unwrap();

        let mut line = door.connect().await.unwrap().line();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: mine/1\r\n\r\nearly";
        line.writer.raw(request.as_bytes()).await.unwrap();
        let head = line.reader.head().await.unwrap().unwrap();
        assert_eq!((head.status().unwrap(), head.fields.get("upgrade")), (101, Some("mine/1")));
        let mut got = Vec::new();
        while got.len() < 5 {
            got.extend_from_slice(&line.reader.some().await.unwrap());
        }
        assert_eq!(got, b"early");
        // Half-close: the other direction stays open until the backend has said its last word.
        line.writer.finish().await.unwrap();
        assert_eq!(line.reader.rest().await, "bye");
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let stand = Stand::new(BIN).await;
    let mut conn = stand.door().connect().await.unwrap();
    let ask = Ask::get("/")
        .field("connection", "upgrade")
        .field("upgrade", "websocket")
        .field("x-do", "status 403");
    assert_eq!(conn.ask(&ask).await.unwrap().status, 403);
    assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn expectations_are_passed_on() {
    let stand = Stand::new(BIN).await;
    let mut conn = stand.door().connect().await.unwrap();
    let ask = Ask::post("/", noise(100_000)).field("expect", "100-continue");
    let answer = conn.ask(&ask).await.unwrap();
    assert_eq!(answer.early.iter().map(|(s, _)| *s).collect::<Vec<_>>(), [100]);
    assert_eq!(answer.json()["body_length"], 100_000);
    let answer = stand.door().ask(&ask.clone().field("x-do", "early 403")).await.unwrap();
    assert_eq!(answer.status, 403);
    let answer = stand.door().ask(&Ask::post("/", "x").field("expect", "something-else")).await.unwrap();
    assert_eq!(answer.status, 417);
}

#[tokio::test]
async fn half_closed_clients_get_their_answer() {
    let stand = Stand::new(BIN).await;
    let mut line = stand.door().connect().await.unwrap().line();
    line.writer.raw(b"GET /half HTTP/1.1\r\nHost: a\r\nx-do: slow 50\r\n\r\n").await.unwrap();
    line.writer.finish().await.unwrap();
    let head = line.reader.head().await.unwrap().unwrap();
    assert_eq!(head.status().unwrap(), 200);
    let (body, _) = line.reader.body(Framing::of_response("GET", 200, &head.fields).unwrap()).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("/half"));
    assert_eq!(line.reader.rest().await, "");
}

#[tokio::test]
async fn whoever_says_close_gets_all_and_then_the_end() {
    let stand = Stand::new(BIN).await;
    for (length, version) in [(0, "1.1"), (10, "1.1"), (10, "1.0"), (5_000_000, "1.1"), (5_000_000, "1.0")] {
        let mut tcp = TcpStream::connect(stand.door().address).await.unwrap();
        let request =
            format!("GET / HTTP/{version}\r\nHost: a\r\nX-Do: bytes {length}\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        // More than fits into the kernel's buffers waits meanwhile.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut said = Vec::new();
        tcp.read_to_end(&mut said).await.expect("an end and no reset");
        let head = said.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert!(said.starts_with(b"HTTP/1.1 200 "), "{version}");
        assert_eq!(said.len() - head, length, "{version}");
        // It is closed, and not only its one direction: whoever writes now is reset.
        let mut reset = false;
        for _ in 0..50 {
            reset |= tcp.write_all(b"more").await.is_err();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(reset, "{version}");
    }
}

#[tokio::test]
async fn a_word_behind_the_last_request_does_not_cost_the_answer() {
    let stand = Stand::new(BIN).await;
    let mut tcp = TcpStream::connect(stand.door().address).await.unwrap();
    // More than the kernel holds: the word comes while the answer is under way.
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Do: bytes 30000000\r\nConnection: close\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut said = vec![0; 1000];
    tcp.read_exact(&mut said).await.unwrap();
    tcp.write_all(b"\r\n").await.unwrap();
    tcp.read_to_end(&mut said).await.expect("an end and no reset");
    assert!(said.len() > 30_000_000, "{}", said.len());
}

#[tokio::test]
async fn slow_clients_and_large_heads_are_refused() {
    let stand = Stand::with(
        BIN,
        json!({ "listeners": { "clear": {
            "timeouts": { "header": "300ms", "idle": "600ms", "body": "300ms" },
            "limits": { "header_bytes": "8KiB", "headers": 50, "body": "1MiB" },
        }}}),
    )
    .await;
    let rows = [
        ("half a head", "GET / HTTP/1.1\r\nHost: a\r\n".to_owned(), 408, "client_timeout"),
        (
            "half a body",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf".to_owned(),
            408,
            "client_timeout",
        ),
        (
            "long header",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "a".repeat(9000)),
            431,
            "header_too_large",
        ),
        (
            "long target",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(40_000)),
            414,
            "uri_too_long",
        ),
        (
            "many headers",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(51)),
            431,
            "header_too_large",
        ),
        (
            "long body",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n".to_owned(),
            413,
            "body_too_large",
        ),
        (
            "long chunk",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1e8480\r\n{}",
                "a".repeat(2_000_000)
            ),
            413,
            "body_too_large",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, request, status, code) in rows {
        let said = stand.door().shout(request.as_bytes()).await;
        let said = said.unwrap_or_else(|f| format!("{f:?}"));
        let code = format!("\"error\":\"{code}\"");
        if !said.starts_with(&format!("HTTP/1.1 {status} ")) || !said.contains(&code) {
            wrong.push(format!("{what}: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // One that says nothing at all is closed without a word.
    assert_eq!(stand.door().shout(b"").await.unwrap(), "");
    let mut conn = stand.door().connect().await.unwrap();
    conn.ask(&Ask::get("/")).await.unwrap();
    conn.closed().await.unwrap();
}

/// What an upstream says, and what the client must get for it.
#[tokio::test]
async fn malformed_answers_become_502() {
    let stand = Stand::new(BIN).await;
    let rows: &[(&str, &str)] = &[
        ("garbage", "SSH-2.0-OpenSSH\r\n\r\n"),
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-"),
        (
            "both lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc"),
        ("bad length", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab"),
        ("bad status", "HTTP/1.1 99 Low\r\ncontent-length: 0\r\n\r\n"),
        ("bad version", "HTTP/9.9 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("split by a bare CR", "HTTP/1.1 200 OK\r\nx-a: b\rx-c: d\r\ncontent-length: 0\r\n\r\n"),
        ("split by a bare LF", "HTTP/1.1 200 OK\r\nx-a: b\nx-c: d\r\ncontent-length: 0\r\n\r\n"),
        ("folded", "HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 0\r\n\r\n"),
        ("NUL", "HTTP/1.1 200 OK\r\nx-a: \0\r\ncontent-length: 0\r\n\r\n"),
        ("blank before the colon", "HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n"),
        ("unasked upgrade", "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
    ];
    let mut wrong = Vec::new();
    for (what, script) in rows {
        stand.v1.script("it", script.as_bytes());
        let answer = stand.door().ask(&Ask::get("/").field("x-do", "raw it")).await;
        if !answer.as_ref().is_ok_and(|a| a.status == 502 && a.json()["status"] == 502) {
            wrong.push(format!("{what}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Once the status was sent, all that is left is to end without a proper end.
    for script in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        stand.v1.script("it", script.as_bytes());
        for door in stand.doors() {
            let failure = door.ask(&Ask::get("/").field("x-do", "raw it")).await;
            let cut = matches!(failure, Err(Failure::Cut(_) | Failure::Reset(_) | Failure::Bad(_)));
            assert!(cut || failure.as_ref().is_ok_and(|a| a.status == 502), "{script:?}: {failure:?}");
        }
    }
    assert_eq!(stand.door().ask(&Ask::get("/")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_to_the_end_of_the_connection_is_passed_on() {
    let stand = Stand::new(BIN).await;
    stand.v1.script("it", b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end");
    stand.v1.script("old", b"HTTP/1.0 200 OK\r\n\r\nold");
    for door in stand.doors() {
        assert_eq!(door.ask(&Ask::get("/").field("x-do", "raw it")).await.unwrap().text(), "until the end");
        assert_eq!(door.ask(&Ask::get("/").field("x-do", "raw old")).await.unwrap().text(), "old");
    }
}

#[tokio::test]
async fn a_gateway_that_asks_itself_stops() {
    let address = evergate_testkit::ports::free();
    let stand = Stand::with(
        BIN,
        json!({
            "listeners": { "loop": { "address": address } },
            "upstreams": { "self": { "endpoints": [format!("http://{address}")] } },
            "routes": { "loop": { "match": { "path": "/loop" }, "forward": "self" } },
        }),
    )
    .await;
    let answer = Door::clear(address).ask(&Ask::get("/loop")).await.unwrap();
    assert_eq!((answer.status, answer.json()["error"].as_str()), (508, Some("loop_detected")));
    assert_eq!(stand.door().ask(&Ask::get("/").field("via", "1.1 somebody-else")).await.unwrap().status, 200);
}

#[tokio::test]
async fn who_asked_is_told_and_ids_are_given() {
    let stand = Stand::new(BIN).await;
    let answer = stand.door().ask(&Ask::get("/").field("x-forwarded-for", "10.0.0.1")).await.unwrap();
    let fields = &answer.json()["fields"];
    assert_eq!(fields["x-forwarded-for"][0], "127.0.0.1", "what a client says of itself is not believed");
    assert_eq!(fields["x-forwarded-proto"][0], "http");
    assert_eq!(
        stand.tls_door().ask(&Ask::get("/")).await.unwrap().json()["fields"]["x-forwarded-proto"][0],
        "https"
    );
    let id = |v: &Value| v["fields"]["x-request-id"][0].as_str().map(str::to_owned);
    let (one, two) = (id(&answer.json()), id(&stand.door().ask(&Ask::get("/")).await.unwrap().json()));
    assert!(one.is_some() && two.is_some() && one != two, "{one:?} {two:?}");
    assert!(fields["via"][0].as_str().is_some_and(|v| v.starts_with("1.1 ")), "{fields}");
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let stand = Stand::new(BIN).await;
    let conn = stand.door().h2().connect().await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..100 {
        let mut twin = conn.twin().unwrap();
        asking.spawn(async move {
            twin.ask(&Ask::post(&format!("/{n}"), noise(n * 1000)).field("x-do", "hold")).await
        });
    }
    stand.gate.until("all are there", async || stand.v1.requests() == 100).await;
    stand.v1.release();
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status, 200);
    }
    assert!(!conn.over());
}

#[tokio::test]
async fn a_request_is_sent_once_when_the_endpoint_took_it() {
    let stand =
        Stand::made(BIN, |v1, v2| json!({ "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()] } } }))
            .await;
    for _ in 0..10 {
        let answer = stand.door().ask(&Ask::post("/", "once").field("x-do", "close")).await.unwrap();
        assert_eq!(answer.status, 502);
    }
    assert_eq!(stand.v1.requests() + stand.v2.requests(), 10, "a request that was sent is not sent again");
}

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere() {
    let mut stand =
        Stand::made(BIN, |v1, v2| json!({ "upstreams": { "v1": { "endpoints": [v1.url(), v2.url()] } } }))
            .await;
    stand.v1.stop().await;
    for _ in 0..20 {
        let answer = stand.door().ask(&Ask::post("/", "anywhere")).await.unwrap();
        assert_eq!((answer.status, answer.json()["backend"].as_str()), (200, Some("v2")));
    }
}

#[tokio::test]
async fn a_pooled_connection_that_the_endpoint_closed_is_not_noticed() {
    let mut stand = Stand::new(BIN).await;
    for _ in 0..10 {
        assert_eq!(stand.door().ask(&Ask::get("/")).await.unwrap().status, 200);
        stand.v1.stop().await;
        stand.v1.open().await;
    }
}
