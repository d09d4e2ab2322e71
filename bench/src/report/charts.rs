//! Which figures are drawn, and in which picture.

use crate::{
    chart::{Bar, Panel, Value},
    results::{Results, Row, routes},
};

/// A picture.
pub(super) struct Chart {
    /// Of its file, without the ending.
    pub name: &'static str,
    pub title: &'static str,
    pub note: &'static str,
    pub panels: Vec<Panel>,
}

/// Where a panel's bars come from: scenario, case, figure; then its title and unit.
struct From {
    scenario: &'static str,
    case: String,
    key: &'static str,
    title: String,
    unit: &'static str,
    best: Best,
}

/// Which end of a scale is the better one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Best {
    Least,
    Most,
}

const LESS: &str = "Shorter is better. Thin lines: from the least to the most of all rounds.";
const MORE: &str = "Longer is better. Thin lines: from the least to the most of all rounds.";

fn figure(scenario: &'static str, key: &'static str, title: &str, unit: &'static str) -> From {
    From { scenario, case: String::new(), key, title: title.to_owned(), unit, best: Best::Least }
}

fn cpu(scenario: &'static str, title: &str) -> From {
    figure(scenario, "cpu_us", title, "µs of CPU for each request")
}

fn connection(scenario: &'static str, title: &str) -> From {
    figure(scenario, "cpu_us", title, "µs of CPU for each connection, one request included")
}

fn bytes(scenario: &'static str, title: &str) -> From {
    From { best: Best::Most, ..figure(scenario, "mb_per_cpu_s", title, "MB") }
}

fn memory(count: usize) -> From {
    let case = routes(count);
    let title = format!("Memory at {case}");
    From { case, ..figure("routes", "pss_mib", &title, "MiB") }
}

fn start(count: usize) -> From {
    let case = routes(count);
    let title = format!("Start with {case}");
    From { case, ..figure("routes", "start_s", &title, "s to the first answer") }
}

fn change(count: usize, by: &str) -> From {
    let case = format!("{}, {by}", routes(count));
    let title = format!("One of {case}");
    From { case, ..figure("changes", "last_ms", &title, "ms until the last old answer") }
}

/// All that there are figures for.
pub(super) fn all(results: &Results) -> Vec<Chart> {
    let list: [(&str, &str, &str, Vec<From>); 7] = [
        ("overview", "One core, the same job for all", LESS, overview()),
        ("requests", "CPU for each request", LESS, requests()),
        (
            "connections",
            "CPU for each connection",
            LESS,
            vec![
                connection("connect", "HTTP/1.1 in clear text"),
                connection("tls-new", "TLS 1.3, new session"),
                connection("tls-resumed", "TLS 1.3, resumed session"),
            ],
        ),
        (
            "bodies",
            "Bytes for each second of CPU",
            MORE,
            vec![
                bytes("http1-100k", "100 KB bodies"),
                bytes("http1-10m", "10 MB bodies"),
                bytes("files-1m", "Static file, 1 MB"),
            ],
        ),
        (
            "latency",
            "Latency at half of nginx's most",
            LESS,
            vec![
                figure("latency", "p50", "p50", "ms"),
                figure("latency", "p99", "p99", "ms"),
                figure("latency", "p999", "p99.9", "ms"),
            ],
        ),
        (
            "changes",
            "One route changes",
            "Shorter is better. By file: all routes anew; by API: one route.",
            changes(),
        ),
        (
            "memory",
            "Memory, and the time to start",
            "Shorter is better.",
            vec![memory(10), memory(10_000), memory(100_000), start(100_000)],
        ),
    ];
    let chart = |(name, title, note, from): (_, _, _, Vec<From>)| {
        let panels: Vec<Panel> = from.iter().filter_map(|f| panel(results, f)).collect();
        (!panels.is_empty()).then_some(Chart { name, title, note, panels })
    };
    list.into_iter().filter_map(chart).collect()
}

fn overview() -> Vec<From> {
    vec![
        cpu("http1", "HTTP/1.1, kept alive"),
        cpu("h2", "HTTP/2 over TLS"),
        connection("tls-new", "New TLS 1.3 connection"),
        figure("latency", "p99", "Latency at half of nginx's most", "p99, ms"),
        change(10_000, "by file"),
        memory(10_000),
    ]
}

fn requests() -> Vec<From> {
    vec![
        cpu("http1", "HTTP/1.1, kept alive"),
        cpu("idle", "HTTP/1.1 beside 1,000 idle connections"),
        cpu("https", "HTTPS, kept alive"),
        cpu("h2", "HTTP/2 in, HTTP/1.1 out"),
        cpu("h2-both", "HTTP/2 in and out"),
        cpu("grpc", "gRPC, unary"),
        cpu("files-1k", "Static file, 1 KB"),
        cpu("http1-100k", "100 KB bodies"),
    ]
}

fn changes() -> Vec<From> {
    let ways = |count| [change(count, "by file"), change(count, "by API")];
    [10, 10_000, 100_000].into_iter().flat_map(ways).collect()
}

/// Nothing, where nobody has been measured so.
fn panel(results: &Results, from: &From) -> Option<Panel> {
    let scenario = results.scenario(from.scenario)?;
    let mut bars: Vec<Bar> = Vec::new();
    for program in &results.peers {
        let mut rows = scenario.rows.iter().filter(|r| r.peer == program.name).peekable();
        if rows.peek().is_none() {
            continue;
        }
        let fits = |row: &&Row| row.case == from.case || row.case.starts_with(&format!("{}: ", from.case));
        let row = rows.find(fits);
        let figure = row.filter(|r| r.absent.is_none()).and_then(|r| r.figures.get(from.key));
        let note = row.map_or(Some("has no such way"), |r| r.absent.as_deref()).unwrap_or_default();
        bars.push(Bar {
            label: program.title.clone(),
            value: figure.map(|f| Value { median: f.median, least: f.least, most: f.most }),
            note: shortened(note),
            ours: program.name == "evergate",
        });
    }
    let worth = |bar: &Bar| {
        let sign = if from.best == Best::Least { 1.0 } else { -1.0 };
        bar.value.map_or(f64::INFINITY, |v| sign * v.median)
    };
    bars.sort_by(|a, b| worth(a).total_cmp(&worth(b)));
    let any = bars.iter().any(|b| b.value.is_some());
    any.then(|| Panel { title: from.title.clone(), unit: from.unit.to_owned(), bars })
}

/// What fits beside a label.
fn shortened(note: &str) -> String {
    const ROOM: usize = 44;
    if note.chars().count() <= ROOM {
        return note.to_owned();
    }
    note.chars().take(ROOM - 1).collect::<String>() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::Machine,
        results::{Program, Scenario, columns},
    };

    fn results(rows: Vec<Row>) -> Results {
        let program = |name: &str| Program {
            name: name.to_owned(),
            title: name.to_uppercase(),
            comes_from: String::new(),
            version: Some("1.0".to_owned()),
            digest: None,
        };
        let scenario = Scenario {
            id: "changes".to_owned(),
            title: String::new(),
            about: String::new(),
            columns: columns(&[]),
            rows,
            date: String::new(),
            command: String::new(),
            took_seconds: 0.0,
        };
        let peers = ["evergate", "nginx", "haproxy", "caddy"].map(program).to_vec();
        Results { machine: Machine::default(), peers, scenarios: vec![scenario] }
    }

    #[test]
    fn bars_stand_in_order_and_the_absent_last() {
        let file = "10 routes, by file: x";
        let results = results(vec![
            Row::new("evergate", file).with("last_ms", 2.0),
            Row::new("nginx", file).with("last_ms", 1.0),
            Row::absent("haproxy", file, "broke"),
            Row::new("caddy", "10 routes, by API: y").with("last_ms", 0.5),
        ]);
        let of = |from: &From| {
            let panel = panel(&results, from)?;
            Some(
                panel
                    .bars
                    .into_iter()
                    .map(|b| (b.label, b.value.map(|v| v.median), b.note))
                    .collect::<Vec<_>>(),
            )
        };
        let bar = |name: &str, value, note: &str| (name.to_owned(), value, note.to_owned());
        let less = [
            bar("NGINX", Some(1.0), ""),
            bar("EVERGATE", Some(2.0), ""),
            bar("HAPROXY", None, "broke"),
            bar("CADDY", None, "has no such way"),
        ];
        assert_eq!(of(&change(10, "by file")).unwrap(), less);
        let more = From { best: Best::Most, ..change(10, "by file") };
        assert_eq!(of(&more).unwrap()[0], bar("EVERGATE", Some(2.0), ""));
        assert!(of(&change(10_000, "by file")).is_none());
        assert!(of(&cpu("http1", "")).is_none());
    }

    #[test]
    fn notes_fit() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"x".repeat(60)).chars().count(), 44);
    }
}
