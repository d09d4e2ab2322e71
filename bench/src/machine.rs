//! The machine: what it is, and what a measurement asks of it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process::Command,
};

use serde::{Deserialize, Serialize};

/// What figures depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub system: String,
}

impl Machine {
    /// This one.
    pub(crate) fn this() -> Machine {
        let line = |file: &str, start: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let value = text.lines().find_map(|l| l.strip_prefix(start)).unwrap_or_default();
            value.trim_matches(|c: char| c.is_whitespace() || c == ':' || c == '"' || c == '=').to_owned()
        };
        let kib = line("/proc/meminfo", "MemTotal");
        let kib: u64 = kib.trim_end_matches(" kB").parse().unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cpu: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: format!("Linux {}", kernel.trim()),
            system: line("/etc/os-release", "PRETTY_NAME"),
        }
    }
}

/// Day and time, UTC.
pub(crate) fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M"]).output().expect("date");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Tells builds of a program apart; says nothing else.
pub(crate) fn digest(program: &Path) -> Option<String> {
    let mut hasher = DefaultHasher::new();
    fs::read(program).ok()?.hash(&mut hasher);
    Some(format!("{:016x}", hasher.finish()))
}

/// This process and all that it starts on one core; as many descriptors as there may be.
pub(crate) fn settle(core: usize) {
    use rustix::{
        process::{Resource, Rlimit, getrlimit, setrlimit},
        thread::{CpuSet, sched_setaffinity},
    };
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("two cores");
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, most).expect("descriptors");
}
