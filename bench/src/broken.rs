//! Five hundred broken documents under load.

use std::path::Path;

use evergate_testkit::trial::broken::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let size = Size { broken: 500, seed: 0x5eed, clients: 20 };
    let found = trial(&binary.display().to_string(), size).await;
    let outcome = &found.outcome;
    table::print(
        &format!("{} broken documents under {} clients", size.broken, size.clients),
        &[
            row![
                "refused with a position",
                "of them by API",
                "without one",
                "stayed good",
                "answers",
                "failed",
                "closed"
            ],
            row![
                found.refused,
                found.by_api,
                found.placeless.len(),
                found.good,
                outcome.answered,
                outcome.failed,
                outcome.resets + outcome.reconnects + outcome.polite,
            ],
        ],
    );
    json!({
        "seed": size.seed, "refused": found.refused, "by_api": found.by_api, "good": found.good,
        "placeless": found.placeless, "taken": found.taken, "answered": outcome.answered, "failed": outcome.failed,
        "resets": outcome.resets, "reconnects": outcome.reconnects, "polite": outcome.polite, "words": outcome.words,
    })
}
