//! Never down: the process itself is replaced, dies, hangs and is stopped, and nobody loses what could be kept.

mod crash;
mod datagrams;
mod drain;
mod service;
mod trials;
mod upgrade;

use evergate_testkit::Stand;

/// The binary under test.
const BIN: &str = env!("CARGO_BIN_EXE_evergate");

/// Waits until another process than this serves, and this one takes no more calls.
async fn succeeded(stand: &Stand, old: u32) {
    let other = async || {
        for _ in 0..3 {
            if stand.gate.serving().await.is_none_or(|pid| pid == old) {
                return false;
            }
        }
        true
    };
    stand.gate.until("another process serves", other).await;
}
