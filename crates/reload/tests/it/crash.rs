//! `kill -9` at any moment: the next start finds a revision that was complete.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use evergate_reload::Verdict;

use crate::toy::*;

const FOLDER: &str = "EVERGATE_TEST_VICTIM";
const KILLS: usize = 40;

/// Runs in a process of its own, which the test below starts and kills: edits for ever, and says what was applied.
#[tokio::test]
#[ignore = "it is run, and killed, by the test below"]
async fn victim() {
    let folder = std::env::var(FOLDER).unwrap();
    let mut options = options(format!("{folder}/main.yaml").as_ref());
    options.data_dir = Some(format!("{folder}/data").into());
    let bench = Bench::new("");
    let program = bench.try_start(options).await.unwrap();
    for i in program.snapshot().id.seq.. {
        // Each file is another one, and longer, so that every kind of write is cut off sometimes.
        let text = format!("limit: {i}\nitems: {{ a: {{ size: {i} }} }}\ntoken: {{ literal: t{i} }}");
        let Verdict::Applied { revision, .. } = program.patch(&text).await else { panic!("not applied") };
        println!("applied {} {i}", revision.seq);
    }
}

#[tokio::test]
async fn a_killed_process_leaves_complete_revisions() {
    let bench = Bench::new("");
    bench.write("main.yaml", "reload: { watch: false, history: 20 }");
    let mut last = 0;
    for kill in 0..KILLS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::victim", "--ignored", "--nocapture"])
            .env(FOLDER, bench.dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut applied = lines.filter_map(|l| l.split_once("applied ").map(|(_, rest)| rest.to_owned()));
        // The time between two answers is spent in every step of a transaction; where in it the kill falls,
        // the machine decides.
        let said: Vec<String> = applied.by_ref().take(1 + kill % 7).collect();
        victim.kill().unwrap();
        let said: Vec<String> = said.into_iter().chain(applied).collect();
        victim.wait().unwrap();
        let (seq, limit) = said.last().unwrap().split_once(' ').unwrap();
        let (seq, limit): (u64, i64) = (seq.parse().unwrap(), limit.parse().unwrap());

        let mut options = options(&bench.path("main.yaml"));
        options.data_dir = Some(bench.path("data"));
        let program = bench.try_start(options).await.unwrap();
        let snapshot = program.snapshot();
        assert!(snapshot.id.seq >= seq && snapshot.id.seq <= seq + 1, "{} after {seq}", snapshot.id);
        assert!(snapshot.id.seq > last, "goes on");
        let config = &snapshot.config;
        assert_eq!(config.limit, limit + i64::from(snapshot.id.seq > seq));
        assert_eq!(config.items["a"].size, config.limit);
        assert_eq!(config.token.as_ref().unwrap().expose(), format!("t{}", config.limit));
        last = snapshot.id.seq;
        program.handle.stop().await;
    }
}
