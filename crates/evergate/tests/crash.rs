//! `kill -9` at any moment: the next start serves a revision that was complete.

use std::time::Duration;

use evergate_testkit::trial::crash::{Size, run};

#[tokio::test]
async fn two_hundred_kills_leave_a_whole_revision() {
    let size = Size { kills: 200, seed: 0xdead, within: Duration::from_millis(80) };
    let found = run(env!("CARGO_BIN_EXE_evergate"), size).await;
    println!("{found:?}");
    assert!(found.wrong.is_empty(), "{}", found.wrong.join("\n"));
    assert_eq!(found.starts, 200);
    assert!(found.from_last_good > 50 && found.amidst > 50, "{found:?}");
}
