//! A process that takes the place of another: from what ran last, from what was before, and the pause between the two.

use evergate_reload::{Begin, Intent, Options, status::StartedFrom};

use crate::toy::*;

fn beginning(bench: &Bench, begin: Begin) -> Options {
    Options { begin, ..bench.options() }
}

#[tokio::test]
async fn a_successor_runs_what_ran_last_and_then_looks_at_the_files() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    program.patch("{ items: { a: { size: 1 } } }").await;
    let id = program.snapshot().id;
    program.handle.stop().await;

    // Broken files do not keep it from running; they are refused as they would have been.
    bench.write("conf/main.yaml", "limit: -1");
    let mut program = bench.try_start(beginning(&bench, Begin::Last)).await.unwrap();
    assert_eq!((program.snapshot().id, program.handle.status().started_from), (id, StartedFrom::Last));
    assert!(program.refused().await.contains("must not be negative"));
    assert_eq!(program.snapshot().id, id);
    bench.write("conf/main.yaml", "limit: 6");
    program.applied().await;
    assert_eq!((program.limit(), program.snapshot().config.items["a"].size), (6, 1));
    program.handle.stop().await;

    // A change while nobody ran is applied as a change.
    bench.write("conf/main.yaml", "limit: 7");
    let mut program = bench.try_start(beginning(&bench, Begin::Last)).await.unwrap();
    assert_eq!(program.handle.status().started_from, StartedFrom::Last);
    if program.limit() != 7 {
        program.applied().await;
    }
    assert_eq!(program.limit(), 7);
}

#[tokio::test]
async fn without_a_history_a_successor_reads_the_files() {
    for begin in [Begin::Last, Begin::Previous] {
        let bench = Bench::new("limit: 5");
        let program = bench.try_start(beginning(&bench, begin)).await.unwrap();
        assert_eq!((program.limit(), program.handle.status().started_from), (5, StartedFrom::Files));
    }
}

#[tokio::test]
async fn what_ended_its_process_again_and_again_is_taken_back_and_held() {
    let bench = Bench::new("limit: 5");
    let mut program = bench.start().await;
    let good = program.snapshot().id;
    bench.write("conf/main.yaml", "limit: 6");
    let bad = program.applied().await;
    program.handle.stop().await;

    let program = bench.try_start(beginning(&bench, Begin::Previous)).await.unwrap();
    let status = program.handle.status();
    assert_eq!((program.limit(), status.started_from), (5, StartedFrom::Previous));
    assert_eq!((status.running.restores, status.held), (Some(good), true));
    let refused = status.last_refused.unwrap().report.to_string();
    assert!(refused.contains(&bad.to_string()) && refused.contains("again and again"), "{refused}");
    assert_eq!(
        program.submit(Intent::Reload { insist: false }).await.word(),
        "unchanged",
        "the file is as it was"
    );
    program.handle.stop().await;

    // The next one goes on with that, and the file counts when it changes.
    let mut program = bench.try_start(beginning(&bench, Begin::Last)).await.unwrap();
    assert_eq!(program.limit(), 5);
    bench.write("conf/main.yaml", "limit: 7");
    program.applied().await;
    assert_eq!(program.limit(), 7);
}

#[tokio::test]
async fn where_nothing_was_before_what_ran_last_runs_again() {
    let bench = Bench::new("limit: 5");
    let program = bench.start().await;
    let id = program.snapshot().id;
    program.handle.stop().await;
    let program = bench.try_start(beginning(&bench, Begin::Previous)).await.unwrap();
    assert_eq!((program.snapshot().id, program.handle.status().started_from), (id, StartedFrom::Last));
}

#[tokio::test]
async fn a_pause_leaves_the_data_directory_and_no_draft_is_lost() {
    let bench = Bench::new("limit: 5");
    let old = bench.start().await;
    old.handle.pause().await;
    let waiting = tokio::spawn({
        let handle = old.handle.clone();
        async move { handle.submit(draft("{ limit: 8 }")).await }
    });

    // Another process tries, changes something, and goes.
    let new = bench.try_start(beginning(&bench, Begin::Last)).await.unwrap();
    assert_eq!(new.snapshot().id, old.snapshot().id, "the revision that runs");
    new.patch("{ items: { a: { size: 1 } } }").await;
    let taken = new.snapshot().id.seq;
    assert!(!waiting.is_finished());
    new.handle.stop().await;

    old.handle.resume();
    assert_eq!(waiting.await.unwrap().word(), "applied");
    assert_eq!((old.limit(), old.snapshot().id.seq), (8, taken + 1), "no number is given twice");
}

#[tokio::test]
async fn who_waits_when_another_process_has_taken_over_is_told() {
    let bench = Bench::new("limit: 5");
    let old = bench.start().await;
    old.handle.pause().await;
    let asked = old.handle.submit(draft("{ limit: 8 }"));
    let (verdict, ()) = tokio::join!(asked, old.handle.stop());
    assert_eq!(verdict.word(), "refused");
    let new = bench.try_start(beginning(&bench, Begin::Last)).await.unwrap();
    assert_eq!(new.submit(Intent::Reload { insist: true }).await.word(), "unchanged");
}

fn draft(yaml: &str) -> evergate_reload::Draft {
    evergate_reload::Draft::new(evergate_reload::Origin::Api, Intent::Patch(body(yaml)))
}
