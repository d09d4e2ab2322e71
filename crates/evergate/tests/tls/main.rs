//! TLS of listeners against the real binary: every setting acts, and changes for new handshakes while nobody else notices.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    reason = "a test's own functions"
)]

mod agreed;
mod certificates;
mod clients;
mod names;
mod testssl;
mod tickets;

use std::sync::Arc;

use evergate_testkit::{
    Stand,
    handshake::{self, Seen},
};
use rustls::ClientConfig;
use serde_json::{Value, json};

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_evergate");

/// A change of the `tls` of the listener that is looked at.
fn tls(patch: Value) -> Value {
    json!({ "listeners": { "tls": { "tls": patch } } })
}

async fn look(stand: &Stand, config: &Arc<ClientConfig>) -> Result<Seen, String> {
    handshake::look(stand.tls, config, "test.local").await
}

/// What a client was told that was refused.
fn refused(seen: Result<Seen, String>, alert: &str) {
    match seen {
        Err(error) => assert!(error.contains(alert), "{error}"),
        Ok(seen) => panic!("{alert} was expected: {seen:?}"),
    }
}
