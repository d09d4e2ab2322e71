//! What people see of the results: a table on the terminal, a page in Markdown, charts.

use std::{fmt::Write, path::Path};

use crate::{
    chart::{self, Bar, Panel, Value, number},
    results::{Figure, Results, Row, Scenario, routes},
    table,
};

mod targets;

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
    let charts: Vec<Chart> = charts(results).into_iter().filter(|c| !c.panels.is_empty()).collect();
    for chart in &charts {
        write(&format!("{}.svg", chart.name), chart::draw(chart.title, chart.note, &chart.panels));
    }
    write("README.md", page(results, &charts));
}

struct Chart {
    name: &'static str,
    title: &'static str,
    note: &'static str,
    panels: Vec<Panel>,
}

/// Where a panel's bars come from: scenario, case, figure; then its title and unit.
struct From<'a> {
    scenario: &'a str,
    case: &'a str,
    key: &'a str,
    title: String,
    unit: &'a str,
}

fn from<'a>(scenario: &'a str, case: &'a str, key: &'a str, title: &str, unit: &'a str) -> From<'a> {
    From { scenario, case, key, title: title.to_owned(), unit }
}

const LESS: &str = "Shorter is better. Thin lines: from the least to the most of all rounds.";
const MORE: &str = "Longer is better. Thin lines: from the least to the most of all rounds.";
const CPU: &str = "µs of CPU for each request";

fn charts(results: &Results) -> Vec<Chart> {
    let [small, middle, large] = [10, 10_000, 100_000].map(routes);
    let panels = |list: &[From<'_>]| list.iter().filter_map(|f| panel(results, f)).collect::<Vec<_>>();
    let cpu = |id, title| from(id, "", "cpu_us", title, CPU);
    let change = |case| from("changes", case, "last_ms", &format!("One of {case} changes"), "ms until the last old answer");
    let memory = |case| from("routes", case, "pss_mib", &format!("Memory at {case}"), "MiB");
    let chart = |name, title, note, list: &[From<'_>]| Chart { name, title, note, panels: panels(list) };
    vec![
        chart("overview", "One core, the same job for all", LESS, &[
            cpu("http1", "HTTP/1.1, kept alive"),
            cpu("h2", "HTTP/2 over TLS"),
            from("tls-new", "", "cpu_us", "New TLS 1.3 connection", "µs of CPU for each"),
            from("latency", "", "p99", "Latency at half of nginx's most", "p99, ms"),
            change(&middle),
            memory(&middle),
        ]),
        chart("requests", "CPU for each request", LESS, &[
            cpu("http1", "HTTP/1.1, kept alive"),
            cpu("idle", "beside 1,000 idle connections"),
            cpu("https", "HTTPS, kept alive"),
            cpu("h2", "HTTP/2 in, HTTP/1.1 out"),
            cpu("h2-both", "HTTP/2 in and out"),
            cpu("grpc", "gRPC, unary"),
            cpu("files-1k", "Static file, 1 KB"),
            cpu("http1-100k", "100 KB bodies"),
        ]),
        chart("connections", "CPU for each connection", LESS, &[
            cpu("connect", "HTTP/1.1 in clear text"),
            cpu("tls-new", "TLS 1.3, new session"),
            cpu("tls-resumed", "TLS 1.3, resumed session"),
        ]),
        chart("bodies", "Bytes for each second of CPU", MORE, &[
            from("http1-100k", "", "mb_per_cpu_s", "100 KB bodies", "MB"),
            from("http1-10m", "", "mb_per_cpu_s", "10 MB bodies", "MB"),
            from("files-1m", "", "mb_per_cpu_s", "Static file, 1 MB", "MB"),
        ]),
        chart("latency", "Latency at half of nginx's most", LESS, &[
            from("latency", "", "p50", "p50", "ms"),
            from("latency", "", "p99", "p99", "ms"),
            from("latency", "", "p999", "p99.9", "ms"),
        ]),
        chart("changes", "One route changes", "Shorter is better. The fastest way that each proxy has.", &[
            change(&small),
            change(&middle),
            change(&large),
        ]),
        chart("memory", "Memory, and the time to start", "Shorter is better.", &[
            memory(&small),
            memory(&middle),
            memory(&large),
            from("routes", &large, "start_s", &format!("Start with {large}"), "s to the first answer"),
        ]),
    ]
}

/// Nothing, where the scenario has not been measured at that size.
fn panel(results: &Results, from: &From<'_>) -> Option<Panel> {
    let scenario = results.scenario(from.scenario)?;
    let fits = |row: &&Row| row.case == from.case || row.case.starts_with(&format!("{}, ", from.case));
    let mut bars: Vec<(f64, Bar)> = Vec::new();
    for program in &results.peers {
        let rows: Vec<&Row> =
            scenario.rows.iter().filter(|r| r.peer == program.name && (from.case.is_empty() || fits(r))).collect();
        let value = |row: &Row| row.figures.get(from.key).copied().filter(|_| row.absent.is_none());
        let best = rows.iter().filter_map(|r| value(r)).min_by(|a, b| a.median.total_cmp(&b.median));
        let note = rows.iter().find_map(|r| r.absent.clone()).unwrap_or_default();
        if rows.is_empty() {
            continue;
        }
        let bar = Bar {
            label: program.title.clone(),
            value: best.map(|f| Value { median: f.median, least: f.least, most: f.most }),
            note: note.chars().take(42).collect(),
            ours: program.name == "evergate",
        };
        bars.push((best.map_or(f64::INFINITY, |f| f.median), bar));
    }
    bars.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bars: Vec<Bar> = bars.into_iter().map(|(_, bar)| bar).collect();
    let any = bars.iter().any(|b| b.value.is_some());
    any.then(|| Panel { title: from.title.clone(), unit: from.unit.to_owned(), bars })
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
