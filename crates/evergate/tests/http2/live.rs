//! `listeners.X.http2` and `limits.streams`, each as it acts and as it changes on a connection that is open.

use evergate_testkit::Stand;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::{
    BIN,
    raw::{Frame, Raw, block, frame, get, script},
};

const HEADER_TABLE_SIZE: u16 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

async fn stand(http2: Value) -> Stand {
    Stand::with(BIN, json!({ "listeners": { "clear": { "http2": http2 } } })).await
}

async fn change(stand: &mut Stand, http2: Value) {
    stand.apply(json!({ "listeners": { "clear": { "http2": http2 } } })).await;
}

/// The next SETTINGS, which are acknowledged.
async fn settings(raw: &mut Raw) -> Frame {
    let told = raw.until(|f| f.kind == "SETTINGS" && f.flags == 0).await.expect("SETTINGS");
    raw.send(&frame("SETTINGS", 1, 0, &[])).await;
    told
}

/// Requests that are worked on.
async fn active(stand: &Stand) -> Option<f64> {
    stand.gate.metric("gateway_active_requests").await
}

async fn send(raw: &mut Raw, frames: &str) {
    for piece in script(frames) {
        raw.send(&piece).await;
    }
}

#[tokio::test]
async fn all_settings_are_told_at_first_and_what_changes_later() {
    let mut stand = stand(json!({
        "stream_window": "100KiB", "connection_window": "1MiB", "frame_size": "32KiB", "header_table": "1KiB",
    }))
    .await;
    let mut raw = Raw::connect(&stand.door()).await;
    let told = |settings: &Frame| {
        let ids = [HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE];
        (ids.map(|id| settings.setting(id)), settings.setting(MAX_HEADER_LIST_SIZE))
    };
    let first = ([Some(1 << 10), Some(200), Some(100 << 10), Some(32 << 10)], Some(64 << 10));
    assert_eq!(told(&raw.settings), first);
    let mut raw_two = Raw::connect(&stand.tls_door().h2()).await;
    assert_eq!(told(&raw_two.settings), ([None, Some(200), Some(256 << 10), None], Some(64 << 10)));
    change(&mut stand, json!({ "stream_window": "64KiB", "header_table": "0B" })).await;
    assert_eq!(told(&settings(&mut raw).await), ([Some(0), None, Some(64 << 10), None], None));
    let limits = json!({ "streams": 7, "header_bytes": "2KiB" });
    stand.apply(json!({ "listeners": { "clear": { "limits": limits } } })).await;
    assert_eq!(told(&settings(&mut raw).await), ([None, Some(7), None, None], Some(2 << 10)));
    // The other listener's clients hear nothing of it.
    raw_two.send(&frame("PING", 0, 0, b"anything")).await;
    assert_eq!(raw_two.until(|f| f.kind == "SETTINGS" || f.kind == "PING").await.unwrap().says(), "PING ACK");
}

#[tokio::test]
async fn the_number_of_streams() {
    let mut stand =
        Stand::with(BIN, json!({ "listeners": { "clear": { "limits": { "streams": 2 } } } })).await;
    let mut raw = Raw::connect(&stand.door()).await;
    let hold = |stream: u32| format!("HEADERS {stream} SH @post x-do=hold");
    for stream in [1, 3, 5] {
        send(&mut raw, &hold(stream)).await;
    }
    raw.verdict("RST_STREAM 5 REFUSED_STREAM").await.unwrap();
    stand.apply(json!({ "listeners": { "clear": { "limits": { "streams": 3 } } } })).await;
    settings(&mut raw).await;
    for stream in [7, 9] {
        send(&mut raw, &hold(stream)).await;
    }
    raw.verdict("RST_STREAM 9 REFUSED_STREAM").await.unwrap();
    // Fewer: those that are open go on.
    stand.apply(json!({ "listeners": { "clear": { "limits": { "streams": 1 } } } })).await;
    settings(&mut raw).await;
    stand.gate.until("all are held", async || stand.v1.requests() >= 3).await;
    stand.v1.release();
    let mut answered = 0;
    while answered < 3 {
        let frame = raw.until(|f| f.kind == "HEADERS").await.expect("an answer");
        assert!(frame.says().ends_with("200"), "{}", frame.says());
        answered += 1;
    }
}

#[tokio::test]
async fn the_window_of_a_stream() {
    let mut stand = stand(json!({ "stream_window": "1KiB" })).await;
    let mut raw = Raw::connect(&stand.door()).await;
    send(&mut raw, "HEADERS 1 H @post x-do=hold; DATA 1 S zeros:1025").await;
    raw.verdict("RST_STREAM 1 FLOW_CONTROL_ERROR").await.unwrap();
    send(&mut raw, "HEADERS 3 H @post; DATA 3 S zeros:1024").await;
    raw.verdict("STATUS 3 200").await.unwrap();
    // A stream that is open has the new window too.
    send(&mut raw, "HEADERS 5 H @post").await;
    change(&mut stand, json!({ "stream_window": "8KiB" })).await;
    settings(&mut raw).await;
    send(&mut raw, "DATA 5 S zeros:8192").await;
    raw.verdict("STATUS 5 200").await.unwrap();
    send(&mut raw, "HEADERS 7 H @post; DATA 7 S zeros:8192").await;
    raw.verdict("STATUS 7 200").await.unwrap();
    change(&mut stand, json!({ "stream_window": "1KiB" })).await;
    settings(&mut raw).await;
    send(&mut raw, "HEADERS 9 H @post x-do=hold; DATA 9 S zeros:1025").await;
    raw.verdict("RST_STREAM 9 FLOW_CONTROL_ERROR").await.unwrap();
}

/// Asks with a body of so many frames of 16 KiB, and gives what the connection's window was opened by meanwhile.
async fn upload(raw: &mut Raw, stream: u32, frames: usize) -> u32 {
    let body = format!("{frames}* DATA {stream} - zeros:16384; DATA {stream} S");
    send(raw, &format!("HEADERS {stream} H @post; {body}")).await;
    let (mut opened, mut answered) = (0, false);
    loop {
        let frame = raw.next().await.expect("an answer");
        match frame.kind {
            "WINDOW_UPDATE" if frame.stream == 0 => opened += frame.number(),
            "HEADERS" => answered = true,
            "DATA" if answered => {
                send(raw, "PING 0 - zeros:8").await;
            }
            "PING" => return opened,
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_window_of_a_connection() {
    const FRAME: u32 = 16 << 10;
    let mut stand = stand(json!({ "connection_window": "100KiB", "stream_window": "1MiB" })).await;
    let mut raw = Raw::connect(&stand.door()).await;
    assert_eq!(raw.window, 100 << 10);
    change(&mut stand, json!({ "connection_window": "200KiB" })).await;
    let more = raw.until(|f| f.kind == "WINDOW_UPDATE" && f.stream == 0).await.expect("a larger window");
    assert_eq!(more.number(), 100 << 10);
    let left = (200 << 10) - 11 * FRAME + upload(&mut raw, 1, 11).await;
    assert!(left > 100 << 10 && left <= 200 << 10, "{left}");
    // A smaller one: nothing is given back before it is reached.
    change(&mut stand, json!({ "connection_window": "64KiB" })).await;
    assert_eq!(upload(&mut raw, 3, 3).await, 0);
}

#[tokio::test]
async fn the_size_of_a_frame() {
    let mut stand = stand(json!({})).await;
    let mut raw = Raw::connect(&stand.door()).await;
    change(&mut stand, json!({ "frame_size": "32KiB" })).await;
    assert_eq!(settings(&mut raw).await.setting(MAX_FRAME_SIZE), Some(32 << 10));
    send(&mut raw, "HEADERS 1 H @post; DATA 1 S zeros:32768").await;
    raw.verdict("STATUS 1 200").await.unwrap();
    change(&mut stand, json!({ "frame_size": "20KiB" })).await;
    // What was on its way is taken.
    send(&mut raw, "HEADERS 3 H @post; DATA 3 S zeros:32768").await;
    settings(&mut raw).await;
    raw.verdict("STATUS 3 200").await.unwrap();
    send(&mut raw, "HEADERS 5 H @post; DATA 5 S zeros:20481").await;
    raw.verdict("GOAWAY FRAME_SIZE_ERROR").await.unwrap();
}

#[tokio::test]
async fn the_table_of_headers() {
    let mut stand = stand(json!({})).await;
    let mut raw = Raw::connect(&stand.door()).await;
    // A field that is kept, and used.
    let kept = [get("/", &[]), vec![0x40], block(&[("x-a", "b")])[1..].to_vec()].concat();
    raw.send(&frame("HEADERS", 5, 1, &kept)).await;
    raw.verdict("STATUS 1 200").await.unwrap();
    raw.send(&frame("HEADERS", 5, 3, &[get("/", &[]), vec![0xbe]].concat())).await;
    raw.verdict("STATUS 3 200").await.unwrap();
    assert_eq!(stand.v1.take_seen().pop().unwrap()["fields"]["x-a"], json!(["b"]));
    change(&mut stand, json!({ "header_table": "0B" })).await;
    assert_eq!(settings(&mut raw).await.setting(HEADER_TABLE_SIZE), Some(0));
    // Told so, a client says at the next block that it has emptied its table; what was in it is gone.
    raw.send(&frame("HEADERS", 5, 5, &[vec![0x20], get("/", &[])].concat())).await;
    raw.verdict("STATUS 5 200").await.unwrap();
    raw.send(&frame("HEADERS", 5, 7, &[get("/", &[]), vec![0xbe]].concat())).await;
    raw.verdict("GOAWAY COMPRESSION_ERROR").await.unwrap();
}

#[tokio::test]
async fn pings() {
    let mut stand = stand(json!({})).await;
    let mut silent = Raw::connect(&stand.door()).await;
    let mut waiting = Raw::connect(&stand.door()).await;
    send(&mut waiting, "HEADERS 1 SH @post x-do=hold").await;
    stand.gate.until("it is under way", async || active(&stand).await == Some(1.0)).await;
    let mut alive = Raw::connect(&stand.door()).await;
    change(&mut stand, json!({ "ping": { "interval": "20ms", "timeout": "300ms" } })).await;
    // Both were open before; one answers.
    for _ in 0..5 {
        let ping = alive.until(|f| f.kind == "PING").await.expect("a PING");
        assert_eq!(ping.flags, 0);
        alive.send(&frame("PING", 1, 0, &ping.payload)).await;
    }
    let asked = silent.until(|f| f.kind == "PING").await;
    assert!(asked.is_some(), "a PING before the end");
    assert!(silent.until(|_| false).await.is_none(), "the end");
    // Whoever waits for an answer as well; nobody works on it any longer.
    assert!(waiting.until(|f| f.kind == "HEADERS").await.is_none(), "the end");
    stand.gate.until("nothing is in flight", async || active(&stand).await == Some(0.0)).await;
    change(&mut stand, json!({ "ping": null })).await;
    // The last one may have been sent before.
    let mut quiet = Raw::connect(&stand.door()).await;
    quiet.send(&frame("PING", 0, 0, b"anything")).await;
    assert_eq!(quiet.until(|f| f.kind == "PING").await.unwrap().says(), "PING ACK");
}

#[tokio::test]
async fn who_has_said_hello_may_wait() {
    let mut stand = stand(json!({})).await;
    let timeouts = json!({ "timeouts": { "handshake": "100ms", "idle": "60s" } });
    stand.apply(json!({ "listeners": { "tls": timeouts } })).await;
    let door = stand.tls_door().h2();
    let mut waiting = Raw::connect(&door).await;
    // A change of what an idle connection is told of does not end it.
    stand.apply(json!({ "listeners": { "tls": { "limits": { "streams": 3 } } } })).await;
    settings(&mut waiting).await;
    let (mut silent, _) = door.dial().await.unwrap();
    let mut end = Vec::new();
    // Without goodbye: it has said nothing that would be HTTP/2.
    let _ = silent.read_to_end(&mut end).await;
    send(&mut waiting, "HEADERS 1 SH @post").await;
    waiting.verdict("STATUS 1 200").await.unwrap();
}

#[tokio::test]
async fn how_many_requests_may_be_cancelled() {
    let mut stand = stand(json!({ "resets": 5 })).await;
    let cancelled = |n: u32, from: u32| {
        let one = |i: u32| {
            let stream = from + 2 * i;
            format!("HEADERS {stream} SH @post x-do=hold; RST_STREAM {stream} - 0x00000008;")
        };
        (0..n).map(one).collect::<String>()
    };
    let mut raw = Raw::connect(&stand.door()).await;
    send(&mut raw, &cancelled(5, 1)).await;
    send(&mut raw, "PING 0 - zeros:8").await;
    raw.verdict("PING ACK").await.unwrap();
    change(&mut stand, json!({ "resets": 40 })).await;
    send(&mut raw, &cancelled(30, 11)).await;
    send(&mut raw, "PING 0 - zeros:8").await;
    raw.verdict("PING ACK").await.unwrap();
    send(&mut raw, &cancelled(20, 71)).await;
    raw.verdict("GOAWAY ENHANCE_YOUR_CALM").await.unwrap();
    // What was cancelled is not worked on: its upstream connections are closed, none is held.
    stand.gate.until("nothing is in flight", async || active(&stand).await == Some(0.0)).await;
}

#[tokio::test]
async fn how_many_frames_may_carry_nothing() {
    let mut stand = stand(json!({ "control_frames": 100 })).await;
    let mut raw = Raw::connect(&stand.door()).await;
    send(&mut raw, "90* PING 0 - zeros:8; SETTINGS 0 -").await;
    raw.verdict("SETTINGS ACK").await.unwrap();
    change(&mut stand, json!({ "control_frames": 1000 })).await;
    send(&mut raw, "500* PING 0 - zeros:8; HEADERS 1 SH @post").await;
    raw.verdict("STATUS 1 200").await.unwrap();
    change(&mut stand, json!({ "control_frames": 100 })).await;
    send(&mut raw, "200* PING 0 - zeros:8").await;
    raw.verdict("GOAWAY ENHANCE_YOUR_CALM").await.unwrap();
}

#[tokio::test]
async fn how_long_a_body_may_be_silent() {
    let mut stand = stand(json!({})).await;
    let mut raw = Raw::connect(&stand.door()).await;
    send(&mut raw, "HEADERS 1 H @post").await;
    stand.apply(json!({ "listeners": { "clear": { "timeouts": { "body": "50ms" } } } })).await;
    send(&mut raw, "HEADERS 3 H @post; DATA 3 - text:x").await;
    raw.verdict("STATUS 3 408").await.unwrap();
    // What began before has the time that held then.
    send(&mut raw, "DATA 1 S text:x").await;
    raw.verdict("at last STATUS 1 200").await.unwrap();
}

#[tokio::test]
async fn an_open_connection_holds_no_generation() {
    let mut stand = stand(json!({})).await;
    let mut raw = Raw::connect(&stand.door()).await;
    send(&mut raw, "HEADERS 1 SH @post").await;
    raw.verdict("STATUS 1 200").await.unwrap();
    change(&mut stand, json!({ "resets": 7 })).await;
    stand.gate.until("only one generation", async || stand.gate.generations().await == 1).await;
    send(&mut raw, "HEADERS 3 SH @post").await;
    raw.verdict("STATUS 3 200").await.unwrap();
}
