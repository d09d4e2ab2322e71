//! The long trials of the bench, in short.

use std::time::Duration;

use evergate_testkit::trial::{queue, upgrades};

use crate::BIN;

#[tokio::test]
async fn upgrades_under_every_kind_of_load_at_once_lose_nothing() {
    let size = upgrades::Size { upgrades: 6, every: Duration::from_millis(100), upload: 1 << 20 };
    let found = upgrades::run(BIN, size).await;
    assert_eq!(found.wrong, [""; 0], "{found:#?}");
    for outcome in [&found.requests, &found.uploads] {
        assert_eq!((outcome.failed, outcome.resets), (0, 0), "{outcome:#?}");
        assert!(outcome.answered > 10, "{outcome:#?}");
    }
    assert_eq!((found.upgrades, found.lived), (6, 12), "{found:#?}");
}

async fn nobody_is_dropped(reuse_port: bool) {
    let (lasts, every) = (Duration::from_secs(3), Duration::from_millis(300));
    let found = queue::run(BIN, queue::Size { connections: 600, lasts, every, reuse_port }).await;
    assert_eq!(found.wrong, [""; 0], "{found:#?}");
    assert!(found.answered == 600 && found.upgrades > 0, "{found:#?}");
}

#[tokio::test]
async fn nobody_in_the_accept_queue_is_dropped_by_upgrades() {
    nobody_is_dropped(false).await;
}

#[tokio::test]
async fn nobody_in_the_accept_queues_of_workers_is_dropped_by_upgrades() {
    nobody_is_dropped(true).await;
}
