//! WebSockets outlive any number of changes, and hold no old generation alive.

use evergate_testkit::trial::websockets::{Size, run};

#[tokio::test]
async fn websockets_outlive_a_hundred_changes() {
    let size = Size { changes: 100, sockets: 20, warm_up: 30 };
    let found = run(env!("CARGO_BIN_EXE_evergate"), size).await;
    println!("{found:?}");
    assert_eq!(found.alive, found.opened, "{:?}", found.words);
    assert_eq!(found.opened, 140);
    assert_eq!(found.generations, 1);
    // The allocator of a test build keeps more slack than five per cent; `bench` holds the release build to that.
    assert!(found.rss_after < found.rss_before + found.rss_before / 5 + 2048, "{found:?}");
    assert!(found.descriptors.1 <= found.descriptors.0 + 8, "{found:?}");
}
