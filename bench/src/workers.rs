//! A minute of workers that come and go, under a connection for each request, with and without a socket for each.

use std::{path::Path, time::Duration};

use evergate_testkit::trial::workers::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let mut rows = vec![row!["reuse_port", "changes", "answers", "failed", "resets"]];
    let mut all = Vec::new();
    for reuse_port in [false, true] {
        let (lasts, every) = (Duration::from_secs(60), Duration::from_millis(500));
        let found =
            trial(&binary.display().to_string(), Size { lasts, every, clients: 16, reuse_port }).await;
        let outcome = &found.outcome;
        rows.push(row![reuse_port, found.changes, outcome.answered, outcome.failed, outcome.resets]);
        all.push(json!({
            "reuse_port": reuse_port, "changes": found.changes, "answered": outcome.answered,
            "failed": outcome.failed, "resets": outcome.resets, "words": outcome.words,
        }));
    }
    table::print("workers between 1 and 4, changed every 500 ms for a minute", &rows);
    json!(all)
}
