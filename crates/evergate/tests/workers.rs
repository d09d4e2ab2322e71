//! Workers come and go under clients that open a connection for each request: none is refused, none is reset.

use std::time::Duration;

use evergate_testkit::trial::workers::{Size, run};

async fn unnoticed(reuse_port: bool) {
    let every = Duration::from_millis(100);
    let size = Size { lasts: Duration::from_secs(4), every, clients: 8, reuse_port };
    let found = run(env!("CARGO_BIN_EXE_evergate"), size).await;
    found.outcome.assert_unnoticed();
    assert!(found.changes > 4, "{found:?}");
}

#[tokio::test]
async fn workers_come_and_go_unnoticed_on_one_socket() {
    unnoticed(false).await;
}

#[tokio::test]
async fn workers_come_and_go_unnoticed_on_a_socket_each() {
    unnoticed(true).await;
}
