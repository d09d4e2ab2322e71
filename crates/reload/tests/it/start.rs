//! Starting: from files, from the last good revision, or not at all.

use std::fs;

use evergate_reload::{Intent, StartError, status::StartedFrom};

use crate::toy::*;

#[tokio::test]
async fn starts_from_the_files() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    assert_eq!(program.limit(), 5);
    let status = program.handle.status();
    assert_eq!((status.started_from, status.held, status.overlay), (StartedFrom::Files, false, false));
    assert_eq!(status.running.revision, program.snapshot().id);
    assert_eq!(status.running.revision.seq, 1);
    assert_eq!(status.generations.len(), 1);
    assert_eq!(status.generations[0].holders.unwrap().connections, 3);
    assert!(status.pending.is_empty() && status.last_refused.is_none());
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    program.patch("{ items: { a: { size: 1 } } }").await;
    let id = program.snapshot().id;
    program.handle.stop().await;

    let program = bench.start().await;
    assert_eq!(program.snapshot().id, id, "the same revision, not a new one");
    assert_eq!(program.snapshot().config.items["a"].size, 1, "edits survive");
    assert!(program.handle.status().overlay);
    assert_eq!(program.handle.history().await.len(), 2);
    program.handle.stop().await;

    bench.write("conf/main.yaml", "limit: 6");
    let program = bench.start().await;
    assert_eq!((program.limit(), program.snapshot().id.seq), (6, 3));
    assert_eq!(program.handle.running().parent, Some(id));
}

#[tokio::test]
async fn broken_files_start_the_last_good_revision() {
    let good = "limit: 5\ncertificate: a.pem";
    for (name, text, reason) in [
        ("conf/main.yaml", "limit: [", "syntax"),
        ("conf/main.yaml", "limitt: 5", "unknown"),
        ("conf/main.yaml", "limit: 6\nport: 1", "is taken"),
        ("conf/a.pem", "broken", "is no certificate"),
    ] {
        let bench = Bench::new(good);
        bench.write("conf/a.pem", "good");
        let program = bench.start().await;
        let id = program.snapshot().id;
        program.handle.stop().await;
        bench.write(name, text);

        let mut strict = bench.options();
        strict.strict = true;
        let Err(StartError::Refused(report)) = bench.try_start(strict).await else {
            panic!("{text}: started")
        };
        let said = format!("{:?} {report}", report.iter().map(|d| d.code.clone()).collect::<Vec<_>>());
        assert!(said.contains(reason), "{said}");

        let mut program = bench.start().await;
        assert_eq!((program.snapshot().id, program.limit()), (id, 5));
        assert_eq!(program.snapshot().certificate.as_deref(), Some("good"), "as it was then, not as it is");
        let status = program.handle.status();
        assert_eq!(status.started_from, StartedFrom::LastGood);
        assert!(status.last_refused.unwrap().report.to_string().contains("main.yaml"), "says where");

        bench.write(name, if name.ends_with("yaml") { "limit: 7\ncertificate: a.pem" } else { "better" });
        program.applied().await;
        let status = program.handle.status();
        assert!(status.last_refused.is_none());
        assert_eq!(program.snapshot().id.seq, 2);
    }
}

#[tokio::test]
async fn the_last_good_revision_has_the_secrets_that_it_had() {
    let bench = Bench::new("limit: 5\ntoken: { file: token }");
    bench.write("conf/token", "hunter2\n");
    let mut program = bench.start().await;
    bench.write("conf/token", "hunter3\n");
    program.applied().await;
    let token = |program: &Program| program.snapshot().config.token.as_ref().unwrap().expose().to_owned();
    assert_eq!(token(&program), "hunter3");
    program.submit(Intent::Rollback(None)).await;
    assert_eq!(token(&program), "hunter2");
    program.submit(Intent::Reload { insist: true }).await;
    program.handle.stop().await;
    fs::remove_file(bench.path("conf/token")).unwrap();

    let program = bench.start().await;
    let status = program.handle.status();
    assert_eq!((status.started_from, token(&program).as_str()), (StartedFrom::LastGood, "hunter3"));
    assert_eq!(
        program.patch("limit: 6").await.word(),
        "applied",
        "an edit needs no file that it does not touch"
    );
    assert_eq!(token(&program), "hunter3");
}

#[tokio::test]
async fn nothing_starts_from_broken_files_alone() {
    let bench = Bench::new("limit: -1");
    let Err(StartError::Refused(report)) = bench.try_start(bench.options()).await else { panic!("started") };
    let text = report.to_string();
    assert!(text.contains("main.yaml:1:8") && text.contains("must not be negative"), "{text}");
    fs::remove_file(bench.path("conf/main.yaml")).unwrap();
    assert!(matches!(bench.try_start(bench.options()).await, Err(StartError::Refused(_))));
}

#[tokio::test]
async fn two_cannot_share_a_data_directory() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    assert!(matches!(bench.try_start(bench.options()).await, Err(StartError::Locked(_))));
    program.handle.stop().await;
    bench.start().await;
}

#[tokio::test]
async fn runs_without_files_and_without_a_data_directory() {
    let bench = Bench::new("");
    let mut options = bench.options();
    (options.roots, options.data_dir) = (Vec::new(), None);
    options.built_in = Some(yaml("limit: 3"));
    let program = bench.try_start(options).await.unwrap();
    assert_eq!(program.limit(), 3);
    program.patch("limit: 4").await;
    assert_eq!(program.limit(), 4);
    assert_eq!(program.handle.history().await.len(), 2);
    assert_eq!(program.reload().await.word(), "unchanged");
}

#[tokio::test]
async fn the_built_in_document_lies_below_the_files() {
    let bench = Bench::new("limit: 5");
    let mut options = bench.options();
    options.built_in = Some(yaml("{ limit: 3, items: { a: { size: 1 } } }"));
    let program = bench.try_start(options).await.unwrap();
    assert_eq!((program.limit(), program.snapshot().config.items.len()), (5, 1));
}

#[tokio::test]
async fn the_target_goes_with_the_last_handle() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    let weak = program.handle.downgrade();
    assert!(weak.upgrade().is_some());
    let handle = program.handle.clone();
    drop(program);
    let mut options = bench.options();
    assert!(weak.upgrade().is_some(), "one is left");
    drop(handle);
    assert!(weak.upgrade().is_none());
    // The lock on the data directory goes when the thread has ended.
    while let Err(error) = bench.try_start(options).await {
        assert!(matches!(error, StartError::Locked(_)));
        tokio::task::yield_now().await;
        options = bench.options();
    }
}
