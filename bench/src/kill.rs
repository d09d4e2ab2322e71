//! `kill -9` at two hundred random moments of changes.

use std::{path::Path, time::Duration};

use evergate_testkit::trial::crash::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let size = Size { kills: 200, seed: 0xc0de, within: Duration::from_millis(100) };
    let found = trial(&binary.display().to_string(), size).await;
    table::print(
        &format!("kill -9, {} times", size.kills),
        &[
            row!["starts", "from last good", "killed amidst a change", "changes", "wrong"],
            row![found.starts, found.from_last_good, found.amidst, found.changes, found.wrong.len()],
        ],
    );
    json!({
        "seed": size.seed, "starts": found.starts, "from_last_good": found.from_last_good, "amidst": found.amidst,
        "changes": found.changes, "wrong": found.wrong,
    })
}
