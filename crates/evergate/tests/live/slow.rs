//! Clients that take for ever: in a handshake, a head, a body, and in reading the answer.

use std::time::Duration;

use evergate_testkit::{Ask, Door, Stand};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::BIN;

fn both(settings: &Value) -> Value {
    json!({ "listeners": { "clear": settings, "tls": settings } })
}

#[tokio::test]
async fn a_slow_head_is_given_up() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    stand.apply(both(&json!({ "timeouts": { "header": "200ms" } }))).await;
    for door in [stand.door(), stand.tls_door()] {
        let said = door.drip(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b'a').await.unwrap();
        assert!(said.starts_with("HTTP/1.1 408 "), "bytes that come do not help: {said:?}");
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_slow_handshake_is_given_up() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    stand.apply(both(&json!({ "timeouts": { "handshake": "200ms" } }))).await;
    // A record of TLS that is long in coming; and the beginning of what may become HTTP/2.
    assert_eq!(Door::clear(stand.tls).drip(b"\x16\x03\x01\x02\x00\x01", 0).await.unwrap(), "");
    assert_eq!(stand.door().shout(b"PRI * HTTP").await, Ok(String::new()));
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let begin = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let mut kept = stand.door().connect().await.unwrap();
    kept.ask(&Ask::get("/")).await.unwrap();
    for rate in ["1MiB", "10KiB"] {
        stand
            .apply(both(&json!({ "limits": { "body_rate": rate }, "timeouts": { "grace": "300ms" } })))
            .await;
        for door in [stand.door(), stand.tls_door()] {
            let said = door.drip(begin, b'a').await.unwrap();
            assert!(said.starts_with("HTTP/1.1 408 "), "{said:?}");
            // Who keeps up is left alone, however much it is.
            assert_eq!(door.ask(&Ask::post("/", vec![b'a'; 3_000_000])).await.unwrap().status, 200);
        }
        // One without an end in sight, on a connection that was open before.
        assert_eq!(kept.ask(&Ask::post("/", vec![b'a'; 100_000])).await.unwrap().status, 200);
    }
    stand.apply(both(&json!({ "limits": { "body_rate": null }, "timeouts": { "body": "400ms" } }))).await;
    let (io, _) = stand.door().dial().await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(io);
    writer
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 70\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..70 {
        writer.write_all(b"a").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut said = String::new();
    reader.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 "), "without a rate only silence counts: {said:?}");
    crowd.stop().await.assert_unnoticed();
}

/// `POST /` to `test.local` on stream 1 of HTTP/2, with a part of its body.
fn half_of_a_stream() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let head = [&[0x83, 0x86, 0x84, 0x41, 10][..], b"test.local"].concat();
    let frames = [frame(4, 0, 0, b""), frame(1, 4, 1, &head), frame(0, 0, 1, b"half")].concat();
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames].concat()
}

#[tokio::test]
async fn a_body_that_stops_on_http_2_is_given_up() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let silence = json!({ "timeouts": { "body": "200ms", "idle": "1s" } });
    let pace = json!({ "timeouts": { "body": "60s", "grace": "200ms" }, "limits": { "body_rate": "1KiB" } });
    for settings in [silence, pace] {
        stand.apply(json!({ "listeners": { "clear": settings } })).await;
        // Idle without streams, it is closed a second later.
        let said = stand.door().shout(&half_of_a_stream()).await.unwrap();
        assert!(said.contains(r#""status":408"#), "{settings} {said:?}");
    }
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_cut() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let much = Ask::get("/").field("x-do", "bytes 40000000");
    let open = async |stand: &Stand| {
        let status = stand.gate.status().await;
        let all = status["listeners"].as_array().unwrap().clone();
        all.iter().filter(|l| l["name"] != "quiet").map(|l| l["connections"].as_u64().unwrap()).sum::<u64>()
    };
    let pace = json!({ "limits": { "body_rate": "1MiB" }, "timeouts": { "grace": "300ms" } });
    let silence = json!({ "limits": { "body_rate": null }, "timeouts": { "body": "300ms" } });
    for settings in [pace, silence] {
        stand.apply(both(&settings)).await;
        for door in stand.doors() {
            let reading = door.connect().await.unwrap().begin(&much).await.unwrap();
            if door.h2 {
                // The client of this test takes what comes on its own; it is the stream's window that is full.
                drop(reading);
            } else {
                stand.gate.until("it is given up", async || open(&stand).await == 0).await;
                let mut reading = reading;
                let mut got = 0;
                while let Ok(Some(piece)) = reading.piece().await {
                    got += piece.len();
                }
                assert!(got < 40_000_000, "cut short");
            }
            // Who reads gets all of it.
            assert_eq!(door.ask(&much).await.unwrap().body.len(), 40_000_000);
        }
    }
    crowd.stop().await.assert_unnoticed();
}
