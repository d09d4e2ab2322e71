//! Which tools made the counted code: another compiler or libc makes other code of the same source.

use std::{collections::BTreeMap, process::Command};

/// Tool and version, as each says it itself.
pub(crate) fn used() -> BTreeMap<String, String> {
    let tools = [
        ("rustc", said(&["rustc", "--version"])),
        ("valgrind", said(&["valgrind", "--version"])),
        ("libc", said(&["getconf", "GNU_LIBC_VERSION"])),
        ("processor", processor().to_owned()),
    ];
    tools.into_iter().map(|(name, version)| (name.to_owned(), version)).collect()
}

fn said(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", command[0]));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Valgrind shows programs one of two processors, by what the real one has; both hide AVX-512 and all that is newer.
fn processor() -> &'static str {
    if !cfg!(target_arch = "x86_64") {
        return std::env::consts::ARCH;
    }
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|l| l.starts_with("flags")).unwrap_or_default();
    if flags.split_whitespace().any(|f| f == "avx2") { "x86_64 with AVX2" } else { "x86_64 without AVX2" }
}
