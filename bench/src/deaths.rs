//! `kill -9` of the process that serves, two hundred times under load, with a supervisor beside it.

use std::path::Path;

use evergate_testkit::trial::deaths::{Size, run as trial};
use serde_json::{Value, json};

use crate::{row, table};

pub(crate) async fn run(binary: &Path) -> Value {
    let size = Size { deaths: 200, routes: 1000, seed: 11 };
    let found = trial(&binary.display().to_string(), size).await;
    let mut back: Vec<f64> = found.back.iter().map(|b| b.as_secs_f64() * 1e3).collect();
    back.sort_by(f64::total_cmp);
    let at =
        |share: f64| back.get((back.len() as f64 * share) as usize).or(back.last()).copied().unwrap_or(0.0);
    let (median, late) = (at(0.5), at(0.99));
    table::print(
        &format!("{} deaths of the process that serves, {} routes", size.deaths, size.routes),
        &[
            row!["answered", "refused", "cut", "restarts", "back, median ms", "p99 ms", "wrong"],
            row![
                found.answered,
                found.refused,
                found.cut,
                found.restarts,
                format!("{median:.1}"),
                format!("{late:.1}"),
                found.wrong.len()
            ],
        ],
    );
    json!({
        "deaths": size.deaths, "routes": size.routes, "answered": found.answered, "refused": found.refused,
        "cut": found.cut, "restarts": found.restarts, "back_median_ms": median, "back_p99_ms": late,
        "wrong": found.wrong,
    })
}
