//! 20,000 connections within a minute, and an upgrade every two seconds, with and without a socket for each worker.

use std::{path::Path, time::Duration};

use evergate_testkit::trial::queue::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let mut rows = vec![row!["reuse_port", "upgrades", "answered", "slowest ms", "wrong"]];
    let mut all = Vec::new();
    for reuse_port in [false, true] {
        let (lasts, every) = (Duration::from_secs(60), Duration::from_secs(2));
        let size = Size { connections: 20_000, lasts, every, reuse_port };
        let found = trial(&binary.display().to_string(), size).await;
        let slowest = found.slowest.as_millis();
        rows.push(row![reuse_port, found.upgrades, found.answered, slowest, found.wrong.len()]);
        all.push(json!({
            "reuse_port": reuse_port, "upgrades": found.upgrades, "answered": found.answered,
            "slowest_ms": found.slowest.as_secs_f64() * 1e3, "wrong": found.wrong,
        }));
    }
    table::print("20,000 connections in 60 s, an upgrade every 2 s", &rows);
    json!(all)
}
