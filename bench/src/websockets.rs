//! WebSockets opened before, between and after a hundred changes.

use std::path::Path;

use evergate_testkit::trial::websockets::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let size = Size { changes: 100, sockets: 100 };
    let found = trial(&binary.display().to_string(), size).await;
    let (before, after) = found.rss_kib;
    let growth = after as f64 / before as f64 * 100.0 - 100.0;
    table::print(
        &format!("WebSockets over {} changes", size.changes),
        &[
            row!["opened", "alive", "generations", "KiB before", "KiB after", "growth"],
            row![found.opened, found.alive, found.generations, before, after, format!("{growth:+.1} %")],
        ],
    );
    json!({
        "changes": size.changes, "opened": found.opened, "alive": found.alive, "generations": found.generations,
        "rss_before_kib": before, "rss_after_kib": after, "growth_percent": growth,
        "descriptors": found.descriptors, "words": found.words,
    })
}
