//! HTTP/3: spoken like the other versions, switched on and off and changed while connections live, and not misled
//! by clients that break its rules.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a helper of tests ends the test"
)]

mod exchange;
mod hostile;
mod live;
mod raw;
mod settings;

use evergate_testkit::{Ask, Conn, Door, Stand};
use serde_json::{Value, json};

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_evergate");

/// A gateway whose listener `tls` speaks HTTP/3, changed by a merge patch before the start.
async fn stand(mut patch: Value) -> Stand {
    patch["listeners"]["tls"]["protocols"] = json!(["h3", "h2", "http/1.1"]);
    Stand::with(BIN, patch).await
}

/// HTTP/3 to it.
fn door(stand: &Stand) -> Door {
    stand.tls_door().h3()
}

/// The status of a plain question.
async fn status(conn: &mut Conn) -> u16 {
    conn.ask(&Ask::get("/")).await.expect("an answer").status
}

/// What answers over TCP say of HTTP/3.
async fn alt_svc(stand: &Stand) -> Option<String> {
    let answer = stand.tls_door().ask(&Ask::get("/")).await.expect("an answer");
    answer.fields.get("alt-svc").map(str::to_owned)
}

/// A patch to the HTTP/3 settings.
fn http3(patch: Value) -> Value {
    json!({ "listeners": { "tls": { "http3": patch } } })
}
