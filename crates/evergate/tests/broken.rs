//! Five hundred broken documents under load: each is refused with a position, and nobody notices.

use evergate_testkit::trial::broken::{Size, run};

#[tokio::test]
async fn broken_documents_are_refused_with_a_position() {
    let size = Size { broken: 500, seed: 0xb40c, clients: 10 };
    let found = run(env!("CARGO_BIN_EXE_evergate"), size).await;
    println!("{} refused, {} of them by API; {} stayed good", found.refused, found.by_api, found.good);
    assert!(
        found.placeless.is_empty(),
        "{} without a position:\n{}",
        found.placeless.len(),
        found.placeless.join("\n")
    );
    assert!(found.taken.is_empty(), "{}", found.taken.join("\n"));
    assert_eq!(found.refused, 500);
    assert!(found.by_api > 100);
    found.outcome.assert_unnoticed();
}
