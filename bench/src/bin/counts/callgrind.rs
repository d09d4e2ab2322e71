//! Programs under callgrind: with which options, and what it has counted.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::top;

/// Leaves out the variants of `memcpy` and the like that not every processor has: libc chooses at start.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM";

/// One run of a program.
pub(crate) struct Run {
    out: PathBuf,
    options: Vec<OsString>,
}

impl Run {
    /// A run with a name of its own; what is in the file of an earlier one is lost.
    pub(crate) fn new(name: &str, options: &[&str]) -> Run {
        let folder = top().join("bench/out/callgrind");
        std::fs::create_dir_all(&folder).expect("a folder");
        let out = folder.join(format!("{name}.out"));
        let _ = std::fs::remove_file(&out);
        Run { out, options: options.iter().map(OsString::from).collect() }
    }

    /// What to write in front of a command.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let mut out = OsString::from("--callgrind-out-file=");
        out.push(&self.out);
        let fixed = ["valgrind", "--quiet", "--tool=callgrind"].map(OsString::from);
        fixed.into_iter().chain(self.options.iter().cloned()).chain([out]).collect()
    }

    /// The variables to run it with.
    pub(crate) fn env() -> (&'static str, &'static str) {
        ("GLIBC_TUNABLES", TUNABLES)
    }

    /// Instructions of all threads, once it has ended.
    pub(crate) fn instructions(&self) -> u64 {
        read(&self.out)
    }

    /// Instructions up to the first time that the program had callgrind write down what it counted.
    pub(crate) fn instructions_dumped(&self) -> u64 {
        let mut name = self.out.clone().into_os_string();
        name.push(".1");
        read(Path::new(&name))
    }
}

fn read(file: &Path) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    total(&text).unwrap_or_else(|| panic!("{}: no totals", file.display()))
}

/// The sum in a file of callgrind's.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().rev().find_map(|l| l.strip_prefix("totals:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        let text = "version: 1\nevents: Ir\nsummary: 5\n\nfn=(1) main\n0 5\n\ntotals: 123456\n";
        assert_eq!(total(text), Some(123_456));
        assert_eq!(total("totals: many\n"), None);
        assert_eq!(total("version: 1\n"), None);
    }

    #[test]
    fn a_run_is_told_where_to_write() {
        let run = Run::new("test-of-options", &["--instr-atstart=no"]);
        let words: Vec<String> = run.command().iter().map(|w| w.to_string_lossy().into_owned()).collect();
        let (first, last) = (words.first().unwrap(), words.last().unwrap());
        assert_eq!(first, "valgrind");
        assert!(last.ends_with("bench/out/callgrind/test-of-options.out"), "{last}");
        assert!(words.contains(&"--instr-atstart=no".to_owned()), "{words:?}");
    }
}
