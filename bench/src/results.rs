//! What a run has found: figures by scenario and peer, on which machine, when, and by which version. Kept as JSON, so
//! that scenarios can be measured one by one; a report shows what belongs together only.

use std::{collections::BTreeMap, path::Path};

use evergate_testkit::paced::spread;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// A whole run, or what several runs on the same machine with the same programs have put together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub machine: Machine,
    pub peers: Vec<Program>,
    pub scenarios: Vec<Scenario>,
}

/// A proxy, and whether it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Program {
    pub name: String,
    pub title: String,
    pub comes_from: String,
    /// None: it is missing.
    pub version: Option<String>,
    /// Of the program's bytes: two builds of one version differ.
    pub digest: Option<String>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub id: String,
    pub title: String,
    pub about: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// Day and time at which it ended, UTC.
    pub date: String,
    pub command: String,
    pub took_seconds: f64,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub key: String,
    pub head: String,
    pub digits: usize,
}

/// A peer in one scenario, perhaps at one size or by one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub peer: String,
    /// Which of several cases; empty where there is one.
    pub case: String,
    /// Why there are no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
    pub figures: BTreeMap<String, Figure>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// A number measured several times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    pub rounds: usize,
}

impl Figure {
    pub(crate) fn of(numbers: &[f64]) -> Figure {
        let found = spread(numbers.to_vec());
        Figure { median: found.median, least: found.min, most: found.max, rounds: numbers.len() }
    }
}

impl From<f64> for Figure {
    fn from(number: f64) -> Self {
        Figure::of(&[number])
    }
}

impl Row {
    pub(crate) fn new(peer: &str, case: &str) -> Row {
        Row { peer: peer.to_owned(), case: case.to_owned(), ..Row::default() }
    }

    pub(crate) fn absent(peer: &str, case: &str, why: impl Into<String>) -> Row {
        Row { absent: Some(why.into()), ..Row::new(peer, case) }
    }

    pub(crate) fn with(mut self, key: &str, figure: impl Into<Figure>) -> Row {
        self.figures.insert(key.to_owned(), figure.into());
        self
    }

    pub(crate) fn median(&self, key: &str) -> Option<f64> {
        self.figures.get(key).map(|f| f.median)
    }
}

/// Columns from key, head and digits.
pub(crate) fn columns(list: &[(&str, &str, usize)]) -> Vec<Column> {
    let column = |(key, head, digits): &(&str, &str, usize)| Column {
        key: (*key).to_owned(),
        head: (*head).to_owned(),
        digits: *digits,
    };
    list.iter().map(column).collect()
}

/// How a number of routes is written.
pub(crate) fn routes(count: usize) -> String {
    let text = count.to_string();
    let mut out = String::new();
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && (text.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + " routes"
}

impl Results {
    /// What earlier runs have left in a file, if it is of the same machine and programs; else nothing but these.
    pub(crate) fn resume(file: &Path, machine: Machine, peers: Vec<Program>) -> Results {
        let fresh = Results { machine, peers, scenarios: Vec::new() };
        Results::read(file).filter(|earlier| earlier.fits(&fresh)).unwrap_or(fresh)
    }

    /// What earlier runs have left, whatever it is of.
    pub(crate) fn read(file: &Path) -> Option<Results> {
        serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
    }

    fn fits(&self, other: &Results) -> bool {
        self.machine == other.machine && self.peers == other.peers
    }

    /// Takes a scenario in, in place of an earlier one.
    pub(crate) fn put(&mut self, scenario: Scenario) {
        self.scenarios.retain(|s| s.id != scenario.id);
        self.scenarios.push(scenario);
    }

    pub(crate) fn scenario(&self, id: &str) -> Option<&Scenario> {
        self.scenarios.iter().find(|s| s.id == id)
    }

    /// The name that people know.
    pub(crate) fn title<'a>(&'a self, peer: &'a str) -> &'a str {
        self.peers.iter().find(|p| p.name == peer).map_or(peer, |p| &p.title)
    }

    pub(crate) fn write(&self, file: &Path) {
        let text = serde_json::to_string_pretty(self).expect("JSON");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text + "\n").expect("results written");
    }
}

impl Scenario {
    pub(crate) fn row(&self, peer: &str, case: &str) -> Option<&Row> {
        self.rows.iter().find(|r| r.peer == peer && r.case == case)
    }

    /// Several cases share the table.
    pub(crate) fn has_cases(&self) -> bool {
        self.rows.iter().any(|r| !r.case.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(kernel: &str, version: &str) -> Results {
        let machine = Machine { kernel: kernel.to_owned(), ..Machine::default() };
        let peer = Program {
            name: "nginx".to_owned(),
            title: "nginx".to_owned(),
            comes_from: String::new(),
            version: Some(version.to_owned()),
            digest: None,
        };
        Results { machine, peers: vec![peer], scenarios: Vec::new() }
    }

    fn scenario(id: &str, date: &str) -> Scenario {
        Scenario {
            id: id.to_owned(),
            title: String::new(),
            about: String::new(),
            columns: columns(&[("a", "A", 1)]),
            rows: vec![Row::new("nginx", "").with("a", Figure::of(&[3.0, 1.0, 2.0]))],
            date: date.to_owned(),
            command: String::new(),
            took_seconds: 1.0,
        }
    }

    #[test]
    fn only_what_belongs_together_is_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latest.json");
        let mut first = results("6.1", "1.22");
        first.put(scenario("a", "monday"));
        first.put(scenario("b", "monday"));
        first.put(scenario("a", "tuesday"));
        first.write(&file);
        for (kernel, version, expected) in [
            ("6.1", "1.22", vec![("b", "monday"), ("a", "tuesday")]),
            ("6.2", "1.22", vec![]),
            ("6.1", "1.23", vec![]),
        ] {
            let fresh = results(kernel, version);
            let found = Results::resume(&file, fresh.machine, fresh.peers);
            let kept: Vec<_> = found.scenarios.iter().map(|s| (s.id.as_str(), s.date.as_str())).collect();
            assert_eq!(kept, expected, "{kernel} {version}");
            assert_eq!(found.machine.kernel, kernel);
        }
        let none = results("6.1", "1.22");
        assert!(Results::resume(&folder.path().join("none"), none.machine, none.peers).scenarios.is_empty());
    }

    #[test]
    fn sizes_are_written_for_people() {
        for (count, expected) in [(10, "10 routes"), (1000, "1,000 routes"), (100_000, "100,000 routes")] {
            assert_eq!(routes(count), expected);
        }
    }

    #[test]
    fn figures_have_a_middle_and_ends() {
        let figure = Figure::of(&[3.0, 1.0, 2.0]);
        assert_eq!(figure, Figure { median: 2.0, least: 1.0, most: 3.0, rounds: 3 });
        assert_eq!(Figure::from(4.0), Figure { median: 4.0, least: 4.0, most: 4.0, rounds: 1 });
    }
}
