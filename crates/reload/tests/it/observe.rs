//! What the engine says of itself: plans, notices, counts, generations, history.

use std::{fs, sync::Arc};

use evergate_reload::{Intent, Notice, Stage, Verdict, explain::Layer};

use crate::toy::*;

#[tokio::test]
async fn generations_live_as_long_as_somebody_holds_them() {
    let bench = Bench::new("{ limit: 0, reload: { generations: 3, watch: false } }");
    let mut program = bench.start().await;
    let mut held = vec![program.snapshot()];
    for i in 1..5 {
        program.patch(&format!("limit: {i}")).await;
        held.push(program.snapshot());
    }
    let alive: Vec<_> = program.handle.status().generations.iter().map(|g| g.revision).collect();
    assert_eq!(alive, held.iter().map(|s| s.id).collect::<Vec<_>>());
    assert_eq!(program.handle.generations(), 5);
    let drained = bench.outside.drained.lock().unwrap().clone();
    assert_eq!(drained, [held[0].id, held[0].id, held[1].id], "the oldest, and again while it does not help");

    let gone = held[1].id;
    let rest: Vec<_> = held.drain(..).enumerate().filter(|(i, _)| *i != 1).map(|(_, s)| s).collect();
    let freed = |n: &Notice| match n {
        Notice::GenerationFreed { revision, .. } => Some(*revision),
        _ => None,
    };
    assert_eq!(program.next(freed).await, gone);
    drop(rest);
    for _ in 0..3 {
        program.next(freed).await;
    }
    assert_eq!(program.handle.generations(), 1, "what runs");
}

#[tokio::test]
async fn a_snapshot_that_was_never_published_is_no_generation() {
    let bench = Bench::new("limit: 0");
    let program = bench.start().await;
    program.patch("port: 1").await;
    assert_eq!(program.handle.generations(), 1);
}

#[tokio::test]
async fn a_transaction_is_told_step_by_step() {
    let bench = Bench::new("limit: 0");
    let mut program = bench.start().await;
    program.patch("limit: 1").await;
    let mut steps = Vec::new();
    program
        .next(|n| match n {
            Notice::Received { .. } => {
                steps.push("received".to_owned());
                None
            }
            Notice::Step { stage, .. } => {
                steps.push(stage.to_string());
                None
            }
            Notice::Ended { .. } => Some(()),
            _ => None,
        })
        .await;
    assert_eq!(steps, ["received", "load", "check", "plan", "build", "record", "publish"]);
}

#[tokio::test]
async fn everything_is_counted() {
    let bench = Bench::new("{ limit: 0, reload: { watch: false } }");
    let program = bench.start().await;
    program.patch("items: { a: { size: 1 }, b: { size: 1 } }").await;
    program.patch("items: { a: { size: x } }").await;
    program.patch("port: 1").await;
    program.reload().await;
    let counters = program.handle.counters();
    let reloads: Vec<_> = counters.reloads().filter(|(_, n)| *n > 0).collect();
    assert_eq!(reloads, [("applied", 2), ("unchanged", 1), ("refused", 2)]);
    let errors: Vec<_> = counters.errors().filter(|(_, n)| *n > 0).collect();
    assert_eq!(errors, [(Stage::Check, 1), (Stage::Build, 1)]);
    let items = counters.components().into_iter().find(|(name, _)| name.as_ref() == "items").unwrap().1;
    assert_eq!((items.success, items.failure), (1, 1));
    assert!(counters.last_success() > 1_700_000_000);
    assert_eq!(counters.durations().cumulative.last(), Some(&5));
    let built = counters.steps().find(|(stage, _)| *stage == Stage::Build).unwrap().1;
    assert_eq!(built.cumulative.last(), Some(&3));
}

#[tokio::test]
async fn nothing_that_is_shown_shows_a_secret() {
    let bench = Bench::new("token: { literal: hunter1 }");
    let mut program = bench.start().await;
    let first = program.snapshot().id;
    bench.write("conf/main.yaml", "token: { literal: hunter2 }\nlimit: 1");
    program.applied().await;
    let second = program.snapshot().id;
    assert_eq!(program.snapshot().config.token.as_ref().unwrap().expose(), "hunter2");
    let plan = program.handle.diff(first, second).await.unwrap();
    let shown = [
        plan.to_string(),
        serde_json::to_string(&plan).unwrap(),
        serde_json::to_string(&program.handle.history().await).unwrap(),
        serde_json::to_string(&program.handle.status()).unwrap(),
        serde_json::to_string(&program.handle.explain(&evergate_conf::Path::root())).unwrap(),
        serde_json::to_string(&program.handle.redacted(&program.handle.running().document)).unwrap(),
    ];
    for text in shown {
        assert!(!text.contains("hunter"), "{text}");
    }
    assert!(plan.to_string().contains("token.literal *** → ***"), "{plan}");

    // It is not in the history either, but the history brings it back.
    for entry in fs::read_dir(bench.path("data/history")).unwrap() {
        assert!(!fs::read_to_string(entry.unwrap().path()).unwrap().contains("hunter"));
    }
    program.handle.stop().await;
    bench.write("conf/main.yaml", "limit: [");
    let program = bench.start().await;
    assert_eq!(program.snapshot().config.token.as_ref().unwrap().expose(), "hunter2");
}

#[tokio::test]
async fn each_value_says_which_layer_set_it() {
    let bench = Bench::new("limit: 1\nitems:\n  a: { size: 1 }\n  b: { size: 2 }\n");
    let program = bench.start().await;
    program.patch("items: { b: { size: 7 } }").await;
    let explained = program.handle.explain(&"items".parse().unwrap());
    let rows: Vec<_> =
        explained.iter().map(|e| (e.path.to_string(), e.layer, e.at.as_ref().map(|at| at.line))).collect();
    assert_eq!(
        rows,
        [
            ("items.a.size".to_owned(), Layer::Base, Some(3)),
            ("items.b.size".to_owned(), Layer::Overlay, None)
        ]
    );
    assert!(explained[0].at.as_ref().unwrap().file.ends_with("conf/main.yaml"));
    assert!(program.handle.explain(&"nothing.here".parse().unwrap()).is_empty());
}

#[tokio::test]
async fn the_history_can_be_looked_at() {
    let bench = Bench::new("{ limit: 0, reload: { history: 5, watch: false } }");
    let program = bench.start().await;
    for i in 1..20 {
        program.patch(&format!("limit: {i}")).await;
    }
    let history = program.handle.history().await;
    let seqs: Vec<_> = history.iter().map(|r| r.id.seq).collect();
    assert_eq!(seqs, [20, 19, 18, 17, 16]);
    assert_eq!(history[0].summary, "limit 18 → 19");
    let old = program.handle.revision(history[3].id).await.unwrap();
    assert_eq!(old.id, history[3].id);
    let plan = program.handle.diff(history[3].id, history[0].id).await.unwrap();
    assert_eq!(plan.summary(9), "limit 16 → 19");
    assert!(program.handle.revision("3-aaaaaa".parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn a_full_disk_does_not_stop_changes_but_is_said() {
    let bench = Bench::new("limit: 0");
    let mut program = bench.start().await;
    // Root writes where it may not; but nobody makes a file in a folder that is none.
    fs::rename(bench.path("data/history"), bench.path("data/away")).unwrap();
    fs::write(bench.path("data/history"), "in the way").unwrap();
    assert_eq!(program.patch("limit: 1").await.word(), "applied");
    assert_eq!(program.limit(), 1);
    assert!(program.handle.status().history_degraded.is_some());
    program.next(|n| matches!(n, Notice::HistoryDegraded { .. }).then_some(())).await;
    fs::remove_file(bench.path("data/history")).unwrap();
    fs::rename(bench.path("data/away"), bench.path("data/history")).unwrap();
    assert_eq!(program.patch("limit: 2").await.word(), "applied");
    assert!(program.handle.status().history_degraded.is_none());
    program.handle.stop().await;
    let program = bench.start().await;
    assert_eq!(program.limit(), 2);
}

#[tokio::test]
async fn pending_changes_are_seen() {
    let bench = Bench::new("limit: 0");
    let mut program = bench.start().await;
    let held = bench.hold();
    let handle = program.handle.clone();
    let edit = tokio::spawn(async move {
        let draft = evergate_reload::Draft {
            author: Some("joe".into()),
            ..evergate_reload::Draft::new(evergate_reload::Origin::Api, Intent::Patch(body("limit: 1")))
        };
        handle.submit(draft).await
    });
    program.next(|n| matches!(n, Notice::Planned { .. }).then_some(())).await;
    let pending = loop {
        let pending = program.handle.status().pending;
        if pending.iter().any(|p| p.stage == Stage::Build) {
            break pending;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(pending[0].author.as_deref(), Some("joe"));
    drop(held);
    assert!(matches!(edit.await.unwrap(), Verdict::Applied { .. }));
    assert!(program.handle.status().pending.is_empty());
    assert_eq!(program.handle.running().author, Some(Arc::from("joe")));
}
