//! SIGHUP as a source.

use evergate_reload::{Hangup, Notice, Origin};

use crate::toy::*;

#[tokio::test]
async fn a_hangup_reloads() {
    let hangup = Hangup::catch().unwrap();
    let bench = Bench::new("{ limit: 1, reload: { watch: false } }");
    let mut program = bench.start().await;
    let task = hangup.reload(&program.handle);
    bench.write("conf/main.yaml", "{ limit: 2, reload: { watch: false } }");
    let us = rustix::process::getpid();
    rustix::process::kill_process(us, rustix::process::Signal::HUP).unwrap();
    program.next(|n| matches!(n, Notice::Ended { origin: Origin::Signal, .. }).then_some(())).await;
    assert_eq!(program.limit(), 2);
    drop(program);
    rustix::process::kill_process(us, rustix::process::Signal::HUP).unwrap();
    task.await.unwrap();
}
