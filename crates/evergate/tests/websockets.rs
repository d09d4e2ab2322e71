//! WebSockets outlive any number of changes, and hold no old generation alive.

use evergate_testkit::trial::websockets::{Size, run};

#[tokio::test]
async fn websockets_outlive_a_hundred_changes() {
    let size = Size { changes: 100, sockets: 20 };
    let found = run(env!("CARGO_BIN_EXE_evergate"), size).await;
    println!("{found:?}");
    assert_eq!(found.alive, found.opened, "{:?}", found.words);
    assert_eq!(found.opened, 140);
    assert_eq!(found.generations, 1);
    let (before, after) = found.rss_kib;
    assert!(after <= before + before / 20, "resident memory within five per cent: {found:?}");
    assert!(found.descriptors.1 <= found.descriptors.0 + 4, "{found:?}");
}
