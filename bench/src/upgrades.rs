//! Five hundred upgrades of the program to itself, under every kind of load at once.

use std::{path::Path, time::Duration};

use evergate_testkit::trial::upgrades::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let size = Size { upgrades: 500, every: Duration::from_millis(700), upload: 8 << 20 };
    let found = trial(&binary.display().to_string(), size).await;
    let mut took: Vec<f64> = found.took.iter().map(|t| t.as_secs_f64() * 1e3).collect();
    took.sort_by(f64::total_cmp);
    let at =
        |share: f64| took.get((took.len() as f64 * share) as usize).or(took.last()).copied().unwrap_or(0.0);
    let mut rows = vec![row!["what", "answered", "failed", "resets"]];
    for (what, outcome) in [("requests", &found.requests), ("uploads of 8 MiB", &found.uploads)] {
        rows.push(row![what, outcome.answered, outcome.failed, outcome.resets]);
    }
    rows.push(row!["WebSockets, streams", found.lived, found.wrong.len(), ""]);
    let title = format!("{} upgrades of {} under mixed load", found.upgrades, size.upgrades);
    table::print(&title, &rows);
    table::print(
        "from the order to the first answer of the next process, and what the supervisor holds",
        &[
            row!["median ms", "p99 ms", "RSS KiB, early", "in the end", "descriptors, early", "in the end"],
            row![
                format!("{:.0}", at(0.5)),
                format!("{:.0}", at(0.99)),
                found.rss_kib.0,
                found.rss_kib.1,
                found.descriptors.0,
                found.descriptors.1
            ],
        ],
    );
    for line in found.wrong.iter().chain(&found.requests.words).chain(&found.uploads.words) {
        println!("{line}");
    }
    json!({
        "upgrades": found.upgrades, "answered": found.requests.answered, "failed": found.requests.failed,
        "resets": found.requests.resets, "uploads": found.uploads.answered,
        "uploads_failed": found.uploads.failed, "lived": found.lived, "took_median_ms": at(0.5),
        "took_p99_ms": at(0.99), "supervisor_rss_kib": [found.rss_kib.0, found.rss_kib.1],
        "supervisor_descriptors": [found.descriptors.0, found.descriptors.1], "wrong": found.wrong,
        "words": found.requests.words, "upload_words": found.uploads.words,
    })
}
