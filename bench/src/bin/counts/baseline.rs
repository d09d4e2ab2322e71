//! Figures that were taken before, and what new ones are beside them. Knows nothing of how they are counted.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde::{Deserialize, Serialize};

/// Percent above the baseline that are no regression. As many below, and the baseline guards too little.
const SLACK: u64 = 5;

/// Figures by name.
pub(crate) type Figures = BTreeMap<String, Figure>;

/// Something that was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What of.
    pub(crate) what: String,
    /// What is counted.
    pub(crate) unit: String,
    /// How many.
    pub(crate) count: u64,
}

/// What was counted, and with which tools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Baseline {
    pub(crate) tools: BTreeMap<String, String>,
    pub(crate) figures: Figures,
}

/// What new figures are beside old ones.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// For people.
    pub(crate) text: String,
    /// There is a regression, or a figure without its other half.
    pub(crate) worse: bool,
}

impl Baseline {
    /// Nothing if there is no such file.
    pub(crate) fn read(file: &Path) -> Option<Baseline> {
        let text = std::fs::read_to_string(file).ok()?;
        Some(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
    }

    pub(crate) fn write(&self, file: &Path) {
        let mut text = serde_json::to_string_pretty(self).expect("JSON");
        text.push('\n');
        std::fs::write(file, text).expect("a baseline");
    }

    /// With new figures in place of the old ones; tools are those of the new.
    pub(crate) fn updated(mut self, new: Baseline) -> Baseline {
        self.figures.extend(new.figures);
        Baseline { tools: new.tools, figures: self.figures }
    }

    /// The figures alone.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for (name, figure) in &self.figures {
            let _ = writeln!(text, "{:>12}  {name}: {}, {}", figure.count, figure.unit, figure.what);
        }
        text
    }

    /// Compares what was counted now with this.
    pub(crate) fn judge(&self, now: &Baseline) -> Judgement {
        let mut text = String::new();
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        for (name, new) in &now.figures {
            let Some(old) = self.figures.get(name) else {
                worse.push(format!("{name}: {} {}; it is not in the baseline", new.count, new.unit));
                continue;
            };
            let percent = percent(old.count, new.count);
            let _ = writeln!(text, "{:>12} {:>12} {percent:>+7.2} %  {name}", old.count, new.count);
            let line = format!("{name}: {} {}, was {}, {percent:+.2} %", new.count, new.unit, old.count);
            if new.count * 100 > old.count * (100 + SLACK) {
                worse.push(line);
            } else if new.count * 100 <= old.count * (100 - SLACK) && new.count < old.count {
                better.push(line);
            }
        }
        let gone = self.figures.keys().filter(|name| !now.figures.contains_key(*name));
        worse.extend(gone.map(|name| format!("{name}: in the baseline, and not counted any more")));
        section(&mut text, "better; take the baseline anew with `cargo xtask counts --accept`:", &better);
        section(&mut text, &format!("worse by more than {SLACK} %:"), &worse);
        if !(worse.is_empty() && better.is_empty()) {
            section(
                &mut text,
                "the baseline was taken with other tools, which may be all of it:",
                &self.other(now),
            );
        }
        if !worse.is_empty() {
            text.push_str("\nIf it is meant: `cargo xtask counts --accept`, and commit bench/counts.json with the reason.\n");
        }
        Judgement { text, worse: !worse.is_empty() }
    }

    /// Tools that differ.
    fn other(&self, now: &Baseline) -> Vec<String> {
        let unknown = String::new();
        let old = |name: &str| self.tools.get(name).unwrap_or(&unknown);
        let differ = now.tools.iter().filter(|(name, new)| old(name) != *new);
        differ.map(|(name, new)| format!("{name}: {new}, was {}", old(name))).collect()
    }
}

/// By how much a count has grown.
fn percent(old: u64, new: u64) -> f64 {
    match (old, new) {
        (0, 0) => 0.0,
        (0, _) => f64::INFINITY,
        _ => (new as f64 / old as f64 - 1.0) * 100.0,
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{title}");
        lines.iter().for_each(|line| {
            let _ = writeln!(text, "  {line}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rustc: &str, counts: &[(&str, u64)]) -> Baseline {
        let figure = |count| Figure { what: "a thing".to_owned(), unit: "instructions".to_owned(), count };
        Baseline {
            tools: BTreeMap::from([("rustc".to_owned(), rustc.to_owned())]),
            figures: counts.iter().map(|(name, count)| ((*name).to_owned(), figure(*count))).collect(),
        }
    }

    fn check(old: u64, new: u64, worse: bool, says: &[&str]) {
        let judgement = taken("1", &[("a", old)]).judge(&taken("1", &[("a", new)]));
        assert_eq!(judgement.worse, worse, "{judgement:?}");
        for word in ["better;", "worse by", "other tools"] {
            assert_eq!(judgement.text.contains(word), says.contains(&word), "{word}: {}", judgement.text);
        }
    }

    #[test]
    fn a_regression_begins_above_five_percent() {
        check(1000, 1000, false, &[]);
        check(1000, 1050, false, &[]);
        check(1000, 1051, true, &["worse by"]);
        check(1000, 951, false, &[]);
        check(1000, 950, false, &["better;"]);
        check(0, 0, false, &[]);
        check(0, 1, true, &["worse by"]);
    }

    #[test]
    fn a_regression_says_figure_old_new_and_percent() {
        let judgement = taken("1", &[("a", 1000), ("b", 7)]).judge(&taken("1", &[("a", 1100), ("b", 7)]));
        assert!(
            judgement.text.contains("\n  a: 1100 instructions, was 1000, +10.00 %\n"),
            "{}",
            judgement.text
        );
        assert!(!judgement.text.contains("  b: "), "{}", judgement.text);
    }

    #[test]
    fn a_figure_that_nobody_took_is_no_success() {
        let judgement = taken("1", &[("a", 1)]).judge(&taken("1", &[("a", 1), ("b", 2)]));
        assert!(judgement.worse && judgement.text.contains("b: 2 instructions; it is not in the baseline"));
    }

    #[test]
    fn a_figure_that_is_not_counted_any_more_is_no_success() {
        let judgement = taken("1", &[("a", 1), ("b", 2)]).judge(&taken("1", &[("a", 1)]));
        assert!(judgement.worse && judgement.text.contains("b: in the baseline, and not counted any more"));
    }

    #[test]
    fn other_tools_are_named_where_figures_differ() {
        let old = taken("1", &[("a", 1000)]);
        let text = old.judge(&taken("2", &[("a", 1100)])).text;
        assert!(text.contains("other tools") && text.contains("rustc: 2, was 1"), "{text}");
        assert!(!old.judge(&taken("2", &[("a", 1001)])).text.contains("other tools"));
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("counts.json");
        assert_eq!(Baseline::read(&file), None);
        let old = taken("1", &[("a", 1), ("b", 2)]);
        old.write(&file);
        assert_eq!(Baseline::read(&file), Some(old.clone()));
        let new = old.updated(taken("2", &[("b", 3)]));
        assert_eq!(new, taken("2", &[("a", 1), ("b", 3)]));
    }
}
