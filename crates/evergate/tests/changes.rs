//! A thousand changes in a row, and nobody notices.

use std::time::Duration;

use evergate_testkit::trial::changes::{Size, run};

#[tokio::test]
async fn a_thousand_changes_go_unnoticed() {
    let size = Size { changes: 1000, clients: 20, pause: Duration::from_millis(5) };
    let found = run(env!("CARGO_BIN_EXE_evergate"), size).await;
    println!("first answer of the new revision, ms after the rename: {:?}", found.first_new);
    println!("last answer of an older one:                           {:?}", found.last_old);
    println!("verdict:                                               {:?}", found.verdict);
    println!("{} answers in {:?}", found.outcome.answered, found.took);
    found.outcome.assert_unnoticed();
    assert_eq!(found.generations, 1, "what a generation made, it frees");
    assert!(found.outcome.revisions.len() > 900, "clients saw {} revisions", found.outcome.revisions.len());
}
