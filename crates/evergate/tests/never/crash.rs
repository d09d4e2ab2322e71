//! A process that dies or hangs: another takes its place, and clients that connect meanwhile wait.

use evergate_testkit::{Ask, Crowd, Manner, Stand, load::Client, process::Signal, trial::deaths};
use serde_json::json;

use crate::BIN;

#[tokio::test]
async fn only_what_was_under_way_fails_when_the_process_dies() {
    let found = deaths::run(BIN, deaths::Size { deaths: 12, routes: 20, seed: 7 }).await;
    println!("{found:?}");
    assert_eq!((found.refused, found.wrong.as_slice()), (0, &[][..]), "{found:#?}");
    assert!(found.answered > 500 && found.restarts == 12, "{found:#?}");
}

#[tokio::test]
async fn a_change_that_ends_the_process_again_and_again_is_taken_back() {
    let mut stand = Stand::supervised(BIN, json!({})).await;
    let good = stand.gate.revision().await;
    stand.apply(json!({ "routes": { "all": { "timeout": "13s" } } })).await;
    let bad = stand.gate.revision().await;
    for death in 1..=2 {
        let old = stand.gate.signal_serving(Signal::Kill).await;
        let other = async || stand.gate.serving().await.is_some_and(|pid| pid != old);
        stand.gate.until("another process serves", other).await;
        assert_eq!(stand.gate.status().await["supervisor"]["crashes"], death);
    }
    let status = stand.gate.status().await;
    assert_eq!((&status["started_from"], &status["held"]), (&json!("previous"), &json!(true)), "{status:#}");
    assert_eq!(status["running"]["restores"], json!(good));
    assert_eq!(status["supervisor"]["crash_loop"], json!(bad));
    let refused = status["last_refused"].to_string();
    assert!(refused.contains(&bad) && refused.contains("again and again"), "{refused}");
    assert_eq!(stand.gate.get("/config").await["routes"]["all"]["timeout"].as_str(), None);
    let said = stand.gate.cli(&["status"]).await;
    assert!(said.out.contains("crash"), "{}", said.out);

    // The file counts again when it changes.
    stand.gate.follow_again().await;
    stand.apply(json!({ "routes": { "all": { "timeout": "14s" } } })).await;
    let over = async || stand.gate.status().await["supervisor"]["crash_loop"].is_null();
    stand.gate.until("no loop any more", over).await;
}

#[tokio::test]
async fn a_process_that_hangs_is_replaced() {
    let mut stand = Stand::supervised(BIN, json!({})).await;
    stand.apply(json!({ "process": { "watchdog": "1s" } })).await;
    let client = Client::new(stand.door(), Manner::PerRequest, Ask::get("/"));
    let old = stand.gate.serving().await.unwrap();
    evergate_testkit::process::signal(old, Signal::Pause);
    let crowd = Crowd::start(vec![client; 4]);
    let other = async || {
        let status = tokio::time::timeout(std::time::Duration::from_millis(300), stand.gate.serving()).await;
        status.is_ok_and(|pid| pid.is_some_and(|pid| pid != old))
    };
    stand.gate.until("another process serves", other).await;
    crowd.more(20).await;
    drop(crowd.stop().await);
    let crash = stand.gate.status().await["supervisor"]["last_crash"].clone();
    assert!(crash.as_str().is_some_and(|c| c.contains("said nothing")), "{crash}");
}
