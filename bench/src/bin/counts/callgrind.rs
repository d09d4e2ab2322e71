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
    folder: PathBuf,
    options: &'static [&'static str],
}

impl Run {
    /// A run with a name of its own; what an earlier one of that name has written is lost.
    pub(crate) fn new(name: &str, options: &'static [&'static str]) -> Run {
        let folder = top().join("bench/out/callgrind").join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        Run { folder, options }
    }

    /// What to write in front of a command.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let mut out = OsString::from("--callgrind-out-file=");
        out.push(self.folder.join("out"));
        let fixed = ["valgrind", "--quiet", "--tool=callgrind"];
        fixed.iter().chain(self.options).map(OsString::from).chain([out]).collect()
    }

    /// The variables to run it with.
    pub(crate) fn env() -> (&'static str, &'static str) {
        ("GLIBC_TUNABLES", TUNABLES)
    }

    /// Instructions of each thread, in the order in which they began. Needs `--separate-threads=yes`, and the end of the run.
    pub(crate) fn by_thread(&self) -> Vec<u64> {
        let files = std::fs::read_dir(&self.folder).expect("a folder").flatten().map(|f| f.path());
        let mut files: Vec<PathBuf> = files.filter(|f| f.to_string_lossy().contains("out-")).collect();
        files.sort();
        files.iter().map(|file| read(file)).collect()
    }

    /// Instructions up to the first time that the program had callgrind write down what it had counted.
    pub(crate) fn up_to_mark(&self) -> u64 {
        read(&self.folder.join("out.1"))
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
        assert!(last.ends_with("bench/out/callgrind/test-of-options/out"), "{last}");
        assert!(words.contains(&"--instr-atstart=no".to_owned()), "{words:?}");
    }
}
