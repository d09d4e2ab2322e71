//! A thousand changes in a row under twenty clients.

use std::{path::Path, time::Duration};

use evergate_testkit::trial::changes::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let size = Size { changes: 1000, clients: 20, pause: Duration::from_millis(1) };
    let found = trial(&binary.display().to_string(), size).await;
    let outcome = &found.outcome;
    let ms = |s: evergate_testkit::paced::Spread| {
        row![format!("{:.1}", s.median), format!("{:.1}", s.p99), format!("{:.1}", s.max)]
    };
    let mut rows = vec![row!["after the rename, ms", "median", "p99", "most"]];
    for (what, spread) in [
        ("first answer of the new revision", found.first_new),
        ("last answer of an older one", found.last_old),
        ("verdict", found.verdict),
    ] {
        rows.push([row![what], ms(spread)].concat());
    }
    table::print(
        &format!(
            "{} changes in {:.1} s under {} clients",
            size.changes,
            found.took.as_secs_f64(),
            size.clients
        ),
        &rows,
    );
    table::print(
        "what the clients noticed",
        &[
            row!["answers", "failed", "resets", "reconnects", "polite closes", "stale", "generations"],
            row![
                outcome.answered,
                outcome.failed,
                outcome.resets,
                outcome.reconnects,
                outcome.polite,
                outcome.stale,
                found.generations,
            ],
        ],
    );
    json!({
        "changes": size.changes, "clients": size.clients, "seconds": found.took.as_secs_f64(),
        "first_new_ms": found.first_new, "last_old_ms": found.last_old, "verdict_ms": found.verdict,
        "answered": outcome.answered, "failed": outcome.failed, "resets": outcome.resets,
        "reconnects": outcome.reconnects, "polite": outcome.polite, "stale": outcome.stale,
        "generations": found.generations, "words": outcome.words,
    })
}
