//! What people see of the results: a table on the terminal, a page in Markdown, charts.

use std::{fmt::Write, path::Path};

use crate::{
    chart::{self, number},
    results::{Figure, Results, Row, Scenario},
    table,
};

mod charts;
mod targets;

use charts::Chart;

/// A finished scenario on the terminal.
pub(crate) fn print(results: &Results, scenario: &Scenario) {
    let title = format!("{} ({}, {:.0} s)", scenario.title, scenario.id, scenario.took_seconds);
    table::print(&title, &rows(results, scenario, Figure::short));
}

impl Figure {
    fn short(&self, digits: usize) -> String {
        fixed(self.median, digits)
    }

    /// With its spread, where there is one.
    fn long(&self, digits: usize) -> String {
        let [median, least, most] = [self.median, self.least, self.most].map(|n| fixed(n, digits));
        if least == most { median } else { format!("{median} ({least}–{most})") }
    }
}

fn fixed(value: f64, digits: usize) -> String {
    if digits == 0 { number(value.round()) } else { format!("{value:.digits$}") }
}

/// The head and a row for each peer and case.
fn rows(results: &Results, scenario: &Scenario, shown: fn(&Figure, usize) -> String) -> Vec<Vec<String>> {
    let cases = scenario.has_cases();
    let mut head = vec!["proxy".to_owned()];
    head.extend(cases.then(|| "case".to_owned()));
    head.extend(scenario.columns.iter().map(|c| c.head.clone()));
    head.push("remarks".to_owned());
    let row = |row: &Row| {
        let mut cells = vec![results.title(&row.peer).to_owned()];
        cells.extend(cases.then(|| row.case.clone()));
        for column in &scenario.columns {
            let figure = row.figures.get(&column.key).filter(|_| row.absent.is_none());
            cells.push(figure.map_or("–".to_owned(), |f| shown(f, column.digits)));
        }
        let remarks: Vec<&str> = row.absent.iter().chain(&row.remarks).map(String::as_str).collect();
        cells.push(remarks.join("; "));
        cells
    };
    std::iter::once(head).chain(scenario.rows.iter().map(row)).collect()
}

/// The page and the charts.
pub(crate) fn write(results: &Results, folder: &Path) {
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
    };
    let charts = charts::all(results);
    for chart in &charts {
        write(&format!("{}.svg", chart.name), chart::draw(chart.title, chart.note, &chart.panels));
    }
    write("README.md", page(results, &charts));
}

fn page(results: &Results, charts: &[Chart]) -> String {
    let machine = &results.machine;
    let mut page = String::from("# Benchmarks\n\n*Written by `cargo run --release -p bench -- suite`.*\n\n");
    let _ = writeln!(
        page,
        "{}, {} cores, {} GiB, {}, {}. Each proxy has core 0 to itself, with one worker; load and backends are on core 1. \
         All peers do the same job in turn, round by round; figures are medians, with the least and the most in brackets. \
         CPU time is that of all threads and processes of a proxy. The configurations are in \
         [`bench/peers`](../peers).\n",
        machine.cpu, machine.cores, machine.memory_gib, machine.kernel, machine.system
    );
    page.push_str("| proxy | version | from |\n|---|---|---|\n");
    for program in &results.peers {
        let version = program.version.as_deref().unwrap_or("**not on this machine**");
        let _ = writeln!(page, "| {} | {version} | {} |", program.title, program.comes_from);
    }
    page.push_str("\n## Targets\n\n");
    page.push_str(&targets::table(results));
    for chart in charts {
        let _ = write!(page, "\n## {}\n\n![{}]({}.svg)\n", chart.title, chart.title, chart.name);
    }
    page.push_str("\n## All figures\n");
    for scenario in &results.scenarios {
        let _ = write!(page, "\n### {}\n\n{}\n\n", scenario.title, scenario.about);
        let rows = rows(results, scenario, Figure::long);
        for (i, row) in rows.iter().enumerate() {
            let _ = writeln!(page, "| {} |", row.join(" | "));
            if i == 0 {
                let _ = writeln!(page, "|{}", "---|".repeat(row.len()));
            }
        }
        let _ = write!(
            page,
            "\n*`{}`, {} UTC, {:.0} s, scenario `{}`.*\n",
            scenario.command, scenario.date, scenario.took_seconds, scenario.id
        );
    }
    page
}
