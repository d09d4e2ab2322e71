//! What a change of one route costs at two sizes of configuration, by the data plane's example `change_cost`: it starts
//! from so many host routes and makes changes by the real way, and has callgrind count between its marks.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    baseline::{Figure, Figures},
    callgrind::Run,
};

const SIZES: [usize; 2] = [10_000, 100_000];

/// Changes that a figure is the mean of.
const CHANGES: u64 = 20;

/// A way to change one route.
struct Way {
    name: &'static str,
    what: &'static str,
}

const WAYS: [Way; 2] = [
    Way { name: "patch", what: "one route by API" },
    Way { name: "file", what: "one route of one file of a hundred" },
];

/// Counts each way that is wanted at each size.
pub(crate) fn count(program: &Path, wanted: &dyn Fn(&str) -> bool, figures: &mut Figures) {
    for way in &WAYS {
        for routes in SIZES {
            let name = format!("change/{}-{routes}", way.name);
            if !wanted(&name) {
                continue;
            }
            let (instructions, allocations) = way.run(program, routes);
            let what = format!("{} of {routes} host routes", way.what);
            let figure = |unit: &str, count| Figure { what: what.clone(), unit: unit.to_owned(), count };
            figures.insert(name.clone(), figure("instructions for each change", instructions));
            figures.insert(format!("{name}/allocations"), figure("allocations for each change", allocations));
        }
    }
}

impl Way {
    /// Instructions and allocations for each change.
    fn run(&self, program: &Path, routes: usize) -> (u64, u64) {
        // What comes before the first mark is not counted, and runs faster for it.
        let run = Run::new(&format!("change-{}-{routes}", self.name), &["--instr-atstart=no"]);
        let words = run.command();
        let (name, value) = Run::env();
        let output = Command::new(&words[0])
            .args(&words[1..])
            .arg(program)
            .args([&routes.to_string(), &CHANGES.to_string(), self.name])
            .env(name, value)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .expect("valgrind");
        assert!(output.status.success(), "{} of {routes}: {}", self.name, output.status);
        let said = String::from_utf8_lossy(&output.stdout);
        let allocations = allocations(&said).unwrap_or_else(|| panic!("no allocations: {said}"));
        (run.up_to_mark() / CHANGES, allocations)
    }
}

/// The number in front of the word.
fn allocations(said: &str) -> Option<u64> {
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words.iter().position(|w| w.trim_end_matches(',') == "allocations")?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_read() {
        let said = "10000 routes: 451 allocations, 316470 bytes allocated for each change\n";
        assert_eq!(allocations(said), Some(451));
        assert_eq!(allocations("allocations\n"), None);
        assert_eq!(allocations("nothing\n"), None);
    }
}
