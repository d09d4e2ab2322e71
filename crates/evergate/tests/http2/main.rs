//! HTTP/2 from the outside, frame by frame: what RFC 9113 and RFC 7541 ask of a server, in the manner of `h2spec`, and
//! what becomes of open connections when the listener's `http2` changes.
#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where it cannot go on")]

mod cases;
mod live;
mod raw;

const BIN: &str = env!("CARGO_BIN_EXE_evergate");

use std::time::Duration;

use cases::{CASES, Case};
use evergate_testkit::{Door, Stand};
use raw::Raw;
use serde_json::json;

/// What the cases need: small limits, and a path that answers by itself.
async fn stand() -> Stand {
    let http2 = json!({ "resets": 50, "control_frames": 300 });
    let limits = json!({ "streams": 10, "header_bytes": "8KiB", "headers": 50 });
    let listener = json!({ "http2": http2, "limits": limits });
    Stand::with(
        BIN,
        json!({
            "listeners": { "clear": listener, "tls": listener },
            "routes": { "here": { "match": { "path": "/here" }, "respond": { "body": "hello\n" } } },
        }),
    )
    .await
}

/// What is wrong, if anything.
async fn check(door: &Door, case: &Case) -> Option<String> {
    let (section, what, frames, expected) = *case;
    let mut raw = Raw::connect(door).await;
    let script = raw::script(frames);
    for piece in script {
        raw.send(&piece).await;
    }
    let verdict = raw.verdict(expected).await;
    verdict.err().map(|got| format!("{section} {what}: expected {expected}, got {got}"))
}

async fn check_all(doors: &[Door]) -> Vec<String> {
    let mut wrong = Vec::new();
    for door in doors {
        for case in CASES {
            wrong.extend(check(door, case).await);
        }
    }
    wrong
}

#[tokio::test]
async fn conformance() {
    let stand = stand().await;
    let wrong = check_all(&[stand.door().h2(), stand.tls_door().h2()]).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn conformance_while_the_document_changes() {
    let mut stand = stand().await;
    let mut wrong = Vec::new();
    let mut changes = 0;
    while changes < 3 {
        stand.gate.churn(Duration::from_millis(200));
        wrong.extend(check_all(&[stand.door().h2()]).await);
        changes += stand.gate.calm().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
