//! Clients that break the rules of RFC 9114 and RFC 9204: the connection or the stream ends with the code that the
//! standard has for it, nothing is passed on, and nothing grows.

use evergate_testkit::{Ask, Stand};
use serde_json::json;

use crate::{
    door,
    raw::{CONTROL, DATA, End, HEADERS, Raw, SETTINGS, frame, request, section, varint},
    stand, status,
};

const STREAM_CREATION: u64 = 0x103;
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const FRAME: u64 = 0x106;
const EXCESSIVE_LOAD: u64 = 0x107;
const SETTINGS_ERROR: u64 = 0x109;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_INCOMPLETE: u64 = 0x10d;
const MESSAGE: u64 = 0x10e;
const DECOMPRESSION: u64 = 0x200;
const ENCODER_STREAM: u64 = 0x201;

#[tokio::test]
async fn a_request_by_hand_is_answered() {
    let stand = stand(json!({})).await;
    let (raw, _control) = Raw::greeted(&stand).await;
    assert_eq!(raw.ask(&request(&[])).await.status(), 200);
    // Frames and streams of unknown kinds mean nothing (RFC 9114 §9), also large ones.
    let unknown = frame(0x21, &[7; 300_000]);
    let end = raw.ask(&[&unknown, &request(&[])[..], &unknown, &frame(DATA, b"x"), &unknown].concat()).await;
    assert_eq!(end.status(), 200);
    let mut stream = raw.uni(&[0x21]).await;
    assert!(stream.stopped().await.is_ok_and(|code| code.is_some_and(|c| c.into_inner() == STREAM_CREATION)));
    let _ = stream.finish();
    // So may a stream that ends before it has said what it is, and QPACK streams that say nothing.
    drop(raw.0.open_uni().await.unwrap());
    let _qpack = (raw.uni(&[2, 0x20]).await, raw.uni(&[3]).await);
    assert_eq!(raw.ask(&request(&[])).await.status(), 200);
}

#[tokio::test]
async fn streams_that_break_the_connection() {
    let stand = stand(json!({})).await;
    let rows: [(&str, Vec<u8>, u64); 9] = [
        ("data first", frame(DATA, b"x"), FRAME_UNEXPECTED),
        ("settings", frame(SETTINGS, b""), FRAME_UNEXPECTED),
        ("goaway", frame(7, b"\0"), FRAME_UNEXPECTED),
        ("a push promise", frame(5, b"\0"), FRAME_UNEXPECTED),
        ("of HTTP/2", frame(6, b""), FRAME_UNEXPECTED),
        ("cut within a frame", vec![HEADERS, 10, 0, 0], FRAME),
        ("a table that is not there", frame(HEADERS, b"\0\0\x80"), DECOMPRESSION),
        ("an insert that never comes", frame(HEADERS, b"\x02\0\xd1"), DECOMPRESSION),
        ("no section", frame(HEADERS, b"\0\0\x51\x7f\xff\xff\xff\xff\xff\xff"), DECOMPRESSION),
    ];
    for (what, bytes, code) in rows {
        let (raw, _control) = Raw::greeted(&stand).await;
        assert_eq!(raw.ask(&bytes).await, End::Closed(code), "{what}");
    }
    assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
}

#[tokio::test]
async fn control_streams_that_break_the_connection() {
    let stand = stand(json!({})).await;
    let twice = [frame(SETTINGS, b"\x06\x01\x06\x02")].concat();
    let rows: [(&str, Vec<u8>, u64); 11] = [
        ("no settings", [&[CONTROL][..], &frame(7, b"\0")].concat(), MISSING_SETTINGS),
        ("settings again", [CONTROL, SETTINGS, 0, SETTINGS, 0].to_vec(), FRAME_UNEXPECTED),
        ("a setting twice", [&[CONTROL][..], &twice].concat(), SETTINGS_ERROR),
        ("a setting of HTTP/2", [CONTROL, SETTINGS, 2, 4, 1].to_vec(), SETTINGS_ERROR),
        ("half a setting", [CONTROL, SETTINGS, 1, 6].to_vec(), FRAME),
        ("data", [CONTROL, SETTINGS, 0, DATA, 0].to_vec(), FRAME_UNEXPECTED),
        ("headers", [CONTROL, SETTINGS, 0, HEADERS, 0].to_vec(), FRAME_UNEXPECTED),
        ("settings without end", [&[CONTROL, SETTINGS][..], &varint(1 << 40)].concat(), EXCESSIVE_LOAD),
        ("a push", [1, 0].to_vec(), STREAM_CREATION),
        ("an insert", [&[2][..], b"\x41a\x01b"].concat(), ENCODER_STREAM),
        ("a capacity", [2, 0x3f, 0x10].to_vec(), ENCODER_STREAM),
    ];
    for (what, bytes, code) in rows {
        let raw = Raw::to(&stand).await;
        let _stream = raw.uni(&bytes).await;
        assert_eq!(raw.closed().await, code, "{what}");
    }
    for kind in [CONTROL, 2, 3] {
        let (raw, _control) = Raw::greeted(&stand).await;
        let _first = raw.uni(&[kind]).await;
        let _second = raw.uni(&[kind]).await;
        assert_eq!(raw.closed().await, STREAM_CREATION, "two of kind {kind}");
        let raw = Raw::to(&stand).await;
        let bytes = if kind == CONTROL { &[CONTROL, SETTINGS, 0][..] } else { &[kind] };
        let mut critical = raw.uni(bytes).await;
        critical.finish().unwrap();
        assert_eq!(raw.closed().await, CLOSED_CRITICAL_STREAM, "the end of kind {kind}");
    }
    assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
}

#[tokio::test]
async fn malformed_messages_end_their_stream_alone() {
    let stand = stand(json!({})).await;
    let (raw, _control) = Raw::greeted(&stand).await;
    let before = stand.v1.requests();
    let rows: [&[(&str, &str)]; 9] = [
        &[(":path", "/other")],
        &[(":authority", "other")],
        &[(":status", "200")],
        &[("connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "websocket")],
        &[("X-Capital", "1")],
        &[("x-a", "1\r\nx-b: 2")],
        &[("te", "gzip")],
    ];
    for more in rows {
        assert_eq!(raw.ask(&request(more)).await, End::Reset(MESSAGE), "{more:?}");
    }
    let late = [(":method", "GET"), ("x-a", "1"), (":scheme", "https"), (":path", "/"), (":authority", "a")];
    assert_eq!(raw.ask(&frame(HEADERS, &section(&late))).await, End::Reset(MESSAGE));
    assert_eq!(raw.ask(&frame(HEADERS, &section(&late[..1]))).await, End::Reset(MESSAGE));
    assert_eq!(raw.ask(b"").await, End::Reset(REQUEST_INCOMPLETE));
    assert_eq!(stand.v1.requests(), before, "nothing was passed on");
    // These are requests, but bad ones.
    for more in [[("host", "other")], [("content-length", "x")]] {
        assert_eq!(raw.ask(&request(&more)).await.status(), 400, "{more:?}");
    }
    assert_eq!(raw.ask(&request(&[])).await.status(), 200, "the connection goes on");
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_said() {
    let stand = stand(json!({})).await;
    let (raw, _control) = Raw::greeted(&stand).await;
    let rows = [("3", 4), ("5", 4), ("0", 1)];
    for (said, length) in rows {
        let bytes = [request(&[("content-length", said)]), frame(DATA, &vec![b'x'; length])].concat();
        match raw.ask(&bytes).await {
            // Nothing of it is read where nothing was announced.
            End::Said(answer) if said == "0" => assert_eq!(End::Said(answer).status(), 200),
            End::Said(answer) => assert_eq!(End::Said(answer).status(), 400),
            end => assert_eq!(end, End::Reset(MESSAGE), "said {said}, sent {length}"),
        }
    }
    for seen in stand.v1.take_seen() {
        assert_ne!(seen["fields"]["content-length"], json!(["3"]), "a cut request was taken for a whole one");
    }
    let whole = [request(&[("content-length", "4")]), frame(DATA, b"full")].concat();
    assert_eq!(raw.ask(&whole).await.status(), 200);
}

#[tokio::test]
async fn heads_have_a_limit_and_memory_does_too() {
    let mut stand = stand(json!({ "listeners": { "tls": { "limits": { "header_bytes": "16KiB" } } } })).await;
    assert_eq!(status(&mut door(&stand).connect().await.unwrap()).await, 200);
    let value = "v".repeat(20_000);
    let large = request(&[("x-large", &value)]);
    let (raw, _control) = Raw::greeted(&stand).await;
    assert_eq!(raw.ask(&large).await.status(), 431);
    // Small fields by the thousand: each counts for 32 bytes more than it has.
    let many = vec![("a", ""); 2000];
    assert_eq!(raw.ask(&request(&many)).await.status(), 431);
    stand.apply(json!({ "listeners": { "tls": { "limits": { "header_bytes": "64KiB" } } } })).await;
    assert_eq!(raw.ask(&large).await.status(), 200, "on the same connection");

    // What claims to be a gigabyte is answered at once, and what follows is not kept.
    let before = stand.gate.rss_kib();
    let mut open = Vec::new();
    for _ in 0..100 {
        let claim = [&[HEADERS][..], &varint(1 << 30), &[0; 60_000]].concat();
        let (raw, control) = Raw::greeted(&stand).await;
        let (send, recv) = raw.open(&claim).await;
        open.push((raw, control, send, recv));
    }
    for (raw, _, send, recv) in &mut open {
        // More than any window, if nobody reads it: the answer is there long before.
        let _ = send.write_all(&vec![0; 1000]).await;
        let mut answer = vec![0; 2];
        recv.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[0], HEADERS);
        assert!(raw.0.close_reason().is_none());
    }
    let grown = stand.gate.rss_kib().saturating_sub(before);
    assert!(grown < 50 << 10, "{grown} KiB for 100 connections");
}

#[tokio::test]
async fn silence_has_an_end() {
    let stand = stand(json!({ "listeners": { "tls": {
        "timeouts": { "header": "200ms", "body": "200ms", "idle": "300ms" },
    } } }))
    .await;
    let (raw, _control) = Raw::greeted(&stand).await;
    let (_send, recv) = raw.open(&request(&[])[..5]).await;
    assert_eq!(raw.end(recv).await.status(), 408, "half a head");
    let body = [request(&[]), frame(DATA, b"some")].concat();
    let (_send, recv) = raw.open(&body).await;
    assert_eq!(raw.end(recv).await.status(), 408, "half a body");
    assert_eq!(raw.closed().await, 0x100, "nothing at all");
    assert_eq!(stand.gate.metric("gateway_active_requests").await, Some(0.0));
}

#[tokio::test]
async fn resets_without_end_cost_nothing() {
    let stand: Stand = stand(json!({})).await;
    let mut conn = door(&stand).connect().await.unwrap();
    let (raw, _control) = Raw::greeted(&stand).await;
    for _ in 0..3000 {
        let (mut send, mut recv) = raw.open(&request(&[("x-do", "slow 50")])).await;
        let _ = (send.reset(0x10c_u32.into()), recv.stop(0x10c_u32.into()));
    }
    assert_eq!(conn.ask(&Ask::get("/")).await.unwrap().status, 200);
    stand
        .gate
        .until("nothing is under way", async || {
            stand.gate.metric("gateway_active_requests").await == Some(0.0)
        })
        .await;
}

/// What the answer is to a body of which a byte comes now and then; nothing if it goes on for so many bytes.
async fn drip(raw: &Raw, bytes: usize) -> Option<u16> {
    let (mut send, recv) = raw.open(&request(&[])).await;
    let mut end = std::pin::pin!(raw.end(recv));
    for _ in 0..bytes {
        // Once the answer is there, nobody wants the rest.
        let _ = send.write_all(&frame(DATA, b"a")).await;
        tokio::select! {
            end = &mut end => return Some(end.status()),
            () = tokio::time::sleep(std::time::Duration::from_millis(10)) => {}
        }
    }
    let _ = send.finish();
    assert_eq!(end.await.status(), 200);
    None
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let mut stand = stand(json!({})).await;
    let crowd = stand.bystanders().await;
    let (raw, _control) = Raw::greeted(&stand).await;
    let mut kept = door(&stand).connect().await.unwrap();
    assert_eq!(drip(&raw, 50).await, None, "without a rate");
    let pace = json!({ "limits": { "body_rate": "1MiB" }, "timeouts": { "body": "60s", "grace": "300ms" } });
    stand.apply(json!({ "listeners": { "tls": pace } })).await;
    assert_eq!(drip(&raw, 100_000).await, Some(408), "bytes that come do not help");
    // Who keeps up is left alone, however much it is, also on a connection that was open before.
    for _ in 0..2 {
        assert_eq!(kept.ask(&Ask::post("/", vec![b'a'; 3_000_000])).await.unwrap().status, 200);
    }
    stand.apply(json!({ "listeners": { "tls": { "limits": { "body_rate": null } } } })).await;
    assert_eq!(drip(&raw, 50).await, None, "only silence counts");
    crowd.stop().await.assert_unnoticed();
}
