//! What Evergate is to reach, as ratios within one run, and whether it does.

use crate::{
    chart::number,
    peers::{PART, PATCH, WHOLE, Way},
    results::{Results, Row, Scenario, routes},
};

const OURS: &str = "evergate";

/// One target and what was found.
#[derive(Clone, Debug, PartialEq)]
struct Verdict {
    what: String,
    needs: String,
    /// None: not measured, or nothing to compare with.
    found: Option<Found>,
}

#[derive(Clone, Debug, PartialEq)]
struct Found {
    shown: String,
    met: bool,
}

/// What counts.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn met(self, number: f64) -> bool {
        match self {
            Bound::AtMost(bound) => number <= bound,
            Bound::AtLeast(bound) => number >= bound,
        }
    }

    fn shown(self) -> String {
        match self {
            Bound::AtMost(bound) => format!("≤ {bound}"),
            Bound::AtLeast(bound) => format!("≥ {bound}"),
        }
    }
}

pub(super) fn table(results: &Results) -> String {
    let mut text = String::from("| target | needed | measured | |\n|---|---|---|---|\n");
    for verdict in all(results) {
        let (shown, word) = match &verdict.found {
            Some(found) => (found.shown.as_str(), if found.met { "met" } else { "**missed**" }),
            None => ("–", "not measured"),
        };
        text.push_str(&format!("| {} | {} | {shown} | {word} |\n", verdict.what, verdict.needs));
    }
    text
}

fn all(results: &Results) -> Vec<Verdict> {
    let [ten, middle, large] = [10, 10_000, 100_000].map(routes);
    let mut all = vec![
        against(results, "http1", "HTTP/1.1, CPU per request", "nginx", 0.8),
        against(results, "http1", "HTTP/1.1, CPU per request", "haproxy", 0.75),
    ];
    for (id, what) in [
        ("https", "HTTPS, CPU per request"),
        ("tls-new", "TLS 1.3 new session, CPU per connection"),
        ("tls-resumed", "TLS 1.3 resumed session, CPU per connection"),
        ("h2", "HTTP/2 in, CPU per request"),
        ("h2-both", "HTTP/2 both ways, CPU per request"),
        ("grpc", "gRPC unary, CPU per call"),
    ] {
        all.push(best(results, id, "cpu_us", what, Bound::AtMost(1.0)));
    }
    let bytes = "10 MB bodies, bytes per CPU second";
    all.push(best(results, "http1-10m", "mb_per_cpu_s", bytes, Bound::AtLeast(1.0)));
    all.push(best(results, "latency", "p99", "p99 at a paced load", Bound::AtMost(1.0)));
    all.push(best(results, "latency", "p999", "p99.9 at a paced load", Bound::AtMost(1.0)));
    all.push(sizes(results, &ten, &large));
    let changes = results.scenario("changes");
    let ways = [(Way::Api, PATCH), (Way::Part, PART), (Way::Whole, WHOLE)];
    let [patch, part, whole] = ways;
    for (count, (way, name), bound) in
        [(&middle, patch, 10.0), (&large, patch, 25.0), (&large, part, 30.0), (&middle, whole, 120.0)]
    {
        let case = way.case(count, name);
        all.push(own(
            changes,
            &case,
            "last_ms",
            &format!("{case}: last old answer, ms"),
            Bound::AtMost(bound),
        ));
    }
    for count in [&ten, &middle, &large] {
        let ways = ways.into_iter().filter(|(way, _)| *way != Way::Part || *count != ten);
        all.extend(ways.map(|(way, name)| near(changes, &way.case(count, name))));
    }
    let routes = results.scenario("routes");
    all.push(own(routes, &middle, "rss_mib", &format!("RSS at {middle}, MiB"), Bound::AtMost(30.0)));
    all.push(own(routes, &large, "rss_mib", &format!("RSS at {large}, MiB"), Bound::AtMost(200.0)));
    let grown = "Memory after 1,000 changes, growth in %";
    all.push(own(results.scenario("own"), &middle, "growth", grown, Bound::AtMost(5.0)));
    for case in [&ten, &middle] {
        let what = format!("Memory after 100 changes with two WebSockets each, {case}, growth in %");
        all.push(own(results.scenario("sockets"), case, "growth", &what, Bound::AtMost(10.0)));
    }
    all.push(own(routes, &large, "start_s", &format!("Start with {large}, s"), Bound::AtMost(1.0)));
    all
}

/// A figure that is there and means something.
fn median(row: Option<&Row>, key: &str) -> Option<f64> {
    row.filter(|r| r.absent.is_none())?.median(key)
}

/// CPU of Evergate against that of one peer.
fn against(results: &Results, id: &str, what: &str, peer: &str, bound: f64) -> Verdict {
    let of = |peer: &str| median(results.scenario(id)?.row(peer, ""), "cpu_us");
    let needs = format!("≤ {bound:.2} × {}", results.title(peer));
    let found = of(OURS).zip(of(peer)).map(|(ours, theirs)| Found {
        shown: format!("{:.2} ({} against {})", ours / theirs, number(ours), number(theirs)),
        met: ours / theirs <= bound,
    });
    Verdict { what: what.to_owned(), needs, found }
}

/// Evergate against the best of all others.
fn best(results: &Results, id: &str, key: &str, what: &str, bound: Bound) -> Verdict {
    let compare = |scenario: &Scenario| {
        let ours = median(scenario.row(OURS, ""), key)?;
        let others = scenario.rows.iter().filter(|r| r.peer != OURS);
        let others = others.filter_map(|r| Some((r.peer.as_str(), median(Some(r), key)?)));
        let (peer, theirs) = match bound {
            Bound::AtMost(_) => others.min_by(|a, b| a.1.total_cmp(&b.1)),
            Bound::AtLeast(_) => others.max_by(|a, b| a.1.total_cmp(&b.1)),
        }?;
        let ratio = ours / theirs;
        let (ours, theirs) = (number(ours), number(theirs));
        let shown = format!("{ratio:.2} ({ours} against {theirs} of {})", results.title(peer));
        Some(Found { shown, met: bound.met(ratio) })
    };
    let sign = bound.shown();
    let needs = format!("{} × the best peer", sign);
    Verdict { what: what.to_owned(), needs, found: results.scenario(id).and_then(compare) }
}

/// A figure of Evergate against a number.
fn own(scenario: Option<&Scenario>, case: &str, key: &str, what: &str, bound: Bound) -> Verdict {
    let found = scenario.and_then(|s| median(s.row(OURS, case), key));
    let found = found.map(|n| Found { shown: number(n), met: bound.met(n) });
    Verdict { what: what.to_owned(), needs: bound.shown(), found }
}

/// Requests per CPU second with many routes against few.
fn sizes(results: &Results, few: &str, many: &str) -> Verdict {
    let of = |case: &str| median(results.scenario("routes")?.row(OURS, case), "per_cpu_s");
    let bound = Bound::AtLeast(0.95);
    let found = of(many).zip(of(few)).map(|(many, few)| Found {
        shown: format!("{:.2} ({} against {})", many / few, number(many), number(few)),
        met: bound.met(many / few),
    });
    let what = format!("Requests per CPU second, {many} against {few}");
    Verdict { what, needs: bound.shown(), found }
}

/// p99 near a change against p99 away from it.
fn near(changes: Option<&Scenario>, case: &str) -> Verdict {
    let of = |key: &str| changes.and_then(|s| median(s.row(OURS, case), key));
    let bound = Bound::AtMost(1.1);
    let found = of("near_ms").zip(of("away_ms")).map(|(near, away)| Found {
        shown: format!("{:.2} ({} ms against {} ms)", near / away, number(near), number(away)),
        met: bound.met(near / away),
    });
    Verdict { what: format!("{case}: p99 near a change"), needs: "≤ 1.1 × away from it".to_owned(), found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::Machine,
        results::{Program, columns},
    };

    fn results(id: &str, rows: Vec<Row>) -> Results {
        let program = |name: &str| Program {
            name: name.to_owned(),
            title: name.to_uppercase(),
            comes_from: String::new(),
            version: Some("1.0".to_owned()),
            digest: None,
        };
        let scenario = Scenario {
            id: id.to_owned(),
            title: String::new(),
            about: String::new(),
            columns: columns(&[]),
            rows,
            date: String::new(),
            command: String::new(),
            took_seconds: 0.0,
        };
        let peers = ["evergate", "nginx", "haproxy"].map(program).to_vec();
        Results { machine: Machine::default(), peers, scenarios: vec![scenario] }
    }

    fn row(peer: &str, case: &str, key: &str, number: f64) -> Row {
        Row::new(peer, case).with(key, number)
    }

    fn shown(verdict: &Verdict) -> Option<(&str, bool)> {
        verdict.found.as_ref().map(|f| (f.shown.as_str(), f.met))
    }

    #[test]
    fn one_peer_is_compared_with() {
        for (ours, theirs, expected) in [
            (Some(8.0), Some(10.0), Some(("0.80 (8 against 10)", true))),
            (Some(8.1), Some(10.0), Some(("0.81 (8.1 against 10)", false))),
            (None, Some(10.0), None),
            (Some(8.0), None, None),
        ] {
            let rows = [("evergate", ours), ("nginx", theirs)].map(|(peer, n)| match n {
                Some(n) => row(peer, "", "cpu_us", n),
                None => Row::absent(peer, "", "not here"),
            });
            let results = results("http1", rows.to_vec());
            let verdict = against(&results, "http1", "x", "nginx", 0.8);
            assert_eq!(shown(&verdict), expected);
            assert_eq!(verdict.needs, "≤ 0.80 × NGINX");
        }
    }

    #[test]
    fn the_best_is_compared_with() {
        let rows = vec![
            row("evergate", "", "x", 5.0),
            row("nginx", "", "x", 6.0),
            row("haproxy", "", "x", 4.0),
            Row { absent: Some("broke".to_owned()), ..row("caddy", "", "x", 1.0) },
        ];
        let results = results("h2", rows);
        let least = best(&results, "h2", "x", "", Bound::AtMost(1.0));
        assert_eq!(shown(&least), Some(("1.25 (5 against 4 of HAPROXY)", false)));
        let most = best(&results, "h2", "x", "", Bound::AtLeast(0.8));
        assert_eq!(shown(&most), Some(("0.83 (5 against 6 of NGINX)", true)));
        assert_eq!(best(&results, "grpc", "x", "", Bound::AtMost(1.0)).found, None);
    }

    #[test]
    fn own_figures_are_compared_with_numbers() {
        let results = results("routes", vec![row("evergate", "10,000 routes", "rss_mib", 31.0)]);
        let scenario = results.scenario("routes");
        let verdict = |bound| own(scenario, "10,000 routes", "rss_mib", "", bound);
        assert_eq!(shown(&verdict(Bound::AtMost(30.0))), Some(("31", false)));
        assert_eq!(shown(&verdict(Bound::AtMost(31.0))), Some(("31", true)));
        assert_eq!(own(scenario, "10 routes", "rss_mib", "", Bound::AtMost(1.0)).found, None);
    }

    #[test]
    fn everything_is_said_of_nothing() {
        let empty = Results { scenarios: vec![], ..results("x", vec![]) };
        assert!(all(&empty).iter().all(|v| v.found.is_none()));
        assert_eq!(table(&empty).matches("not measured").count(), all(&empty).len());
    }
}
