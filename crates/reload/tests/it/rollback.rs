//! Going back, and files that are held.

use evergate_reload::{Intent, Verdict, status::StartedFrom};

use crate::toy::*;

#[tokio::test]
async fn going_back_restores_files_and_edits_and_holds_the_files() {
    let bench = Bench::new("limit: 1");
    let mut program = bench.start().await;
    program.patch("items: { a: { size: 1 } }").await;
    let good = program.snapshot().id;
    bench.write("conf/main.yaml", "limit: 2");
    program.applied().await;
    program.patch("items: { b: { size: 2 } }").await;

    let Verdict::Applied { revision, plan, .. } = program.submit(Intent::Rollback(Some(good))).await else {
        panic!("not applied")
    };
    assert_eq!(revision.seq, 5, "a new revision that brings an old one back");
    assert_eq!(plan.summary(9), "items.b removed, limit 2 → 1");
    let snapshot = program.snapshot();
    assert_eq!((snapshot.config.limit, snapshot.config.items.len()), (1, 1));
    let status = program.handle.status();
    assert!(status.held && status.overlay);
    assert_eq!(status.running.restores, Some(good));

    // The file is touched but says the same: it stays held.
    bench.write("conf/main.yaml", "limit: 2");
    assert!(matches!(program.verdict().await, Verdict::Unchanged { held: true, .. }));
    assert_eq!(program.limit(), 1);
    bench.write("conf/main.yaml", "limit: 3");
    program.applied().await;
    assert_eq!(program.limit(), 3);
    assert!(!program.handle.status().held);
}

#[tokio::test]
async fn held_survives_a_restart_and_ends_when_somebody_insists() {
    let bench = Bench::new("limit: 1");
    let mut program = bench.start().await;
    bench.write("conf/main.yaml", "limit: 2");
    program.applied().await;
    program.submit(Intent::Rollback(None)).await;
    let id = program.snapshot().id;
    program.handle.stop().await;

    let program = bench.start().await;
    assert_eq!((program.limit(), program.snapshot().id), (1, id));
    let status = program.handle.status();
    assert_eq!((status.started_from, status.held), (StartedFrom::Held, true));
    assert!(matches!(program.reload().await, Verdict::Unchanged { held: true, .. }));
    assert_eq!(program.submit(Intent::Reload { insist: true }).await.word(), "applied");
    assert_eq!(program.limit(), 2);
    assert!(!program.handle.status().held);
}

#[tokio::test]
async fn going_back_twice_goes_back_two_steps() {
    let bench = Bench::new("limit: 0");
    let program = bench.start().await;
    for i in 1..4 {
        program.patch(&format!("limit: {i}")).await;
    }
    for expected in [2, 1, 0] {
        assert_eq!(program.submit(Intent::Rollback(None)).await.word(), "applied");
        assert_eq!(program.limit(), expected);
    }
    let Verdict::Refused { report, .. } = program.submit(Intent::Rollback(None)).await else { panic!() };
    assert!(report.to_string().contains("not kept"), "{report}");
    let nowhere = "77-aabbcc".parse().unwrap();
    assert_eq!(program.submit(Intent::Rollback(Some(nowhere))).await.word(), "refused");
}

#[tokio::test]
async fn going_back_brings_back_the_content_of_files() {
    let bench = Bench::new("limit: 1\ncertificate: a.pem");
    bench.write("conf/a.pem", "old");
    let mut program = bench.start().await;
    bench.write("conf/a.pem", "new");
    program.applied().await;
    assert_eq!(program.snapshot().certificate.as_deref(), Some("new"));
    program.submit(Intent::Rollback(None)).await;
    assert_eq!(program.snapshot().certificate.as_deref(), Some("old"));
    // An edit does not bring in what is held.
    program.patch("limit: 2").await;
    assert_eq!(program.snapshot().certificate.as_deref(), Some("old"));
    assert!(program.handle.status().held);
}

#[tokio::test]
async fn a_revision_that_cannot_be_built_any_more_is_refused() {
    let bench = Bench::new("limit: 1");
    let program = bench.start().await;
    program.patch("limit: 2").await;
    program.handle.stop().await;
    for entry in std::fs::read_dir(bench.path("data/history")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("00000001") {
            std::fs::write(path, "nonsense").unwrap();
        }
    }
    // The newest builds on the first, which is damaged: the files are all there is.
    let program = bench.start().await;
    assert_eq!(program.limit(), 1);
    assert_eq!(program.snapshot().id.seq, 3, "numbers are never given twice");
    assert_eq!(program.submit(Intent::Rollback(None)).await.word(), "refused");
}
