//! Changes by API, and what becomes of many at once.

use evergate_reload::{Draft, Intent, Origin, Stage, Verdict};

use crate::toy::*;

#[tokio::test]
async fn an_edit_lies_over_the_file_and_survives_its_change() {
    let bench = Bench::new("limit: 5\nitems: { a: { size: 1 } }");
    let mut program = bench.start().await;
    assert_eq!(program.patch("items: { b: { size: 2 } }").await.word(), "applied");
    bench.write("conf/main.yaml", "limit: 6\nitems: { a: { size: 3 }, b: { size: 0 } }");
    program.applied().await;
    let config = &program.snapshot().config;
    assert_eq!((config.limit, config.items["a"].size, config.items["b"].size), (6, 3, 2));

    assert_eq!(program.patch("items: { a: null }").await.word(), "applied");
    assert!(!program.snapshot().config.items.contains_key("a"));
    assert_eq!(program.submit(Intent::Replace(body("limit: 9"))).await.word(), "applied");
    let config = &program.snapshot().config;
    assert_eq!((config.limit, config.items["a"].size, config.items["b"].size), (9, 3, 0));
    assert_eq!(program.submit(Intent::Replace(body("{}"))).await.word(), "applied");
    assert_eq!(program.limit(), 6);
    assert!(!program.handle.status().overlay);
}

#[tokio::test]
async fn many_edits_at_once_all_count() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    let edits = (0..50).map(|i| {
        let handle = program.handle.clone();
        let intent = Intent::Patch(body(&format!("items: {{ n{i}: {{ size: {i} }} }}")));
        tokio::spawn(async move { handle.submit(Draft::new(Origin::Api, intent)).await })
    });
    let mut seqs = Vec::new();
    for edit in edits.collect::<Vec<_>>() {
        let Verdict::Applied { revision, .. } = edit.await.unwrap() else { panic!("not applied") };
        seqs.push(revision.seq);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (2..52).collect::<Vec<_>>(), "each has a revision of its own");
    assert_eq!(program.snapshot().config.items.len(), 50);
}

#[tokio::test]
async fn a_wrong_edit_is_refused_with_its_place_and_changes_nothing() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    for (text, stage, expected) in [
        ("limit: [", Stage::Load, "request:1:9"),
        ("limit: 7\nlimmit: 1", Stage::Check, "request:2:1"),
        ("port: 1", Stage::Build, "request:1:7"),
        ("items:\n  x: { sise: 1 }", Stage::Check, "request:2:8"),
    ] {
        let verdict = program.patch(text).await;
        let Verdict::Refused { stage: at, report, running } = &verdict else { panic!("{text}: {verdict:?}") };
        assert_eq!(*at, stage, "{text}");
        assert!(report.to_string().contains(expected), "{text}: {report}");
        assert_eq!(*running, Some(program.snapshot().id));
        assert_eq!(program.limit(), 5);
        assert_eq!(program.handle.status().last_refused.unwrap().stage, stage);
    }
    assert_eq!(program.patch("limit: 6").await.word(), "applied");
    assert!(program.handle.status().last_refused.is_none());
}

#[tokio::test]
async fn a_defect_in_the_target_refuses_the_candidate_only() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    let Verdict::Refused { report, .. } = program.patch("defect: true").await else { panic!("not refused") };
    assert!(report.to_string().contains("told to"), "{report}");
    assert_eq!(program.patch("limit: 6").await.word(), "applied");
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_does_nothing() {
    let bench = Bench::new("limit: 5\nitems: { a: { size: 1 } }");
    let program = bench.start().await;
    let intent = Intent::Patch(body("{ limit: 6, items: { a: null } }"));
    let draft = Draft { dry_run: true, ..Draft::new(Origin::Api, intent) };
    let Verdict::Planned { plan, running, .. } = program.handle.submit(draft).await else { panic!() };
    assert_eq!(plan.summary(9), "items.a removed, limit 5 → 6");
    assert_eq!(plan.touches.len(), 1);
    assert_eq!(running, Some(program.snapshot().id));
    assert_eq!((program.limit(), program.handle.history().await.len()), (5, 1));
}

#[tokio::test]
async fn a_dry_run_of_something_wrong_is_no_change_that_failed() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    let ask = |dry_run| Draft { dry_run, ..Draft::new(Origin::Api, Intent::Patch(body("limit: many"))) };
    assert_eq!(program.handle.submit(ask(true)).await.word(), "refused");
    assert!(program.handle.status().last_refused.is_none());
    assert_eq!(program.handle.submit(ask(false)).await.word(), "refused");
    assert!(program.handle.status().last_refused.is_some());
}

#[tokio::test]
async fn an_edit_meant_for_another_revision_is_a_conflict() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    let first = program.snapshot().id;
    let edit =
        |text: &str| Draft { if_match: Some(first), ..Draft::new(Origin::Api, Intent::Patch(body(text))) };
    assert_eq!(program.handle.submit(edit("limit: 6")).await.word(), "applied");
    let Verdict::Conflict { running } = program.handle.submit(edit("limit: 7")).await else { panic!() };
    assert_eq!(running, Some(program.snapshot().id));
    assert_eq!(program.limit(), 6);
}

#[tokio::test]
async fn what_changes_nothing_is_unchanged_and_built_for_nobody() {
    let bench = Bench::new("limit: 5\nitems: { a: { size: 1 } }");
    let program = bench.start().await;
    let (id, checks) = (program.snapshot().id, *bench.outside.checks.lock().unwrap());
    bench.write("conf/main.yaml", "# another form of the same\nitems:\n  a:\n    size: 1\nlimit: 5\n");
    assert!(matches!(program.reload().await, Verdict::Unchanged { revision, held: false } if revision == id));
    assert_eq!(*bench.outside.checks.lock().unwrap(), checks, "not even checked");
    assert_eq!(program.handle.history().await.len(), 1);
    // Where things stand is known anew all the same.
    let explained = program.handle.explain(&"limit".parse().unwrap());
    assert_eq!(explained[0].at.as_ref().map(|at| at.line), Some(5));
}

#[tokio::test]
async fn a_warning_comes_with_the_verdict() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    let Verdict::Applied { warnings, .. } = program.patch("limit: 2000000").await else { panic!() };
    assert_eq!(warnings.len(), 1);
}

#[tokio::test]
async fn reloads_while_one_is_built_are_one_and_the_newest_wins() {
    let bench = Bench::new("{ limit: 0, reload: { watch: false } }");
    let program = bench.start().await;
    let held = bench.hold();
    bench.write("conf/main.yaml", "{ limit: 1, reload: { watch: false } }");
    let ask = || {
        let handle = program.handle.clone();
        tokio::spawn(async move {
            handle.submit(Draft::new(Origin::Signal, Intent::Reload { insist: true })).await
        })
    };
    let mut notices = program.handle.subscribe();
    let first = ask();
    // It has been loaded and planned: it waits for the gate.
    while !matches!(*notices.recv().await.unwrap(), evergate_reload::Notice::Planned { .. }) {}
    let mut rest = Vec::new();
    for i in 2..7 {
        bench.write("conf/main.yaml", &format!("{{ limit: {i}, reload: {{ watch: false }} }}"));
        rest.push(ask());
        tokio::task::yield_now().await;
    }
    drop(held);
    let Verdict::Applied { revision: a, .. } = first.await.unwrap() else { panic!() };
    for verdict in rest {
        let Verdict::Applied { revision: b, .. } = verdict.await.unwrap() else { panic!() };
        assert_eq!(b.seq, a.seq + 1, "all waiting ones became one");
    }
    assert_eq!(program.limit(), 6);
}
