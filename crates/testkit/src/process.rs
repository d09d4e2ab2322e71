//! What the kernel knows of a process.

use std::{collections::BTreeMap, fs, time::Duration};

/// Longest that anything may take before a test is taken to hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Resident memory in KiB.
#[must_use]
pub fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Open descriptors.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").count()
}

/// CPU time of a process and its descendants, user and system together, in clock ticks of a hundredth second.
#[must_use]
pub fn cpu_ticks(pid: u32) -> u64 {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut ticks: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        // It may end between being listed and being read.
        let Some((parent, used)) = stat(id) else { continue };
        children.entry(parent).or_default().push(id);
        ticks.insert(id, used);
    }
    let mut sum = 0;
    let mut open = vec![pid];
    while let Some(id) = open.pop() {
        sum += ticks.get(&id).copied().unwrap_or(0);
        open.extend(children.remove(&id).unwrap_or_default());
    }
    sum
}

/// Parent and CPU ticks (proc(5)). The second field may hold spaces, so that counting starts behind it.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    Some((u32::try_from(number(1)?).ok()?, number(11)? + number(12)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let pid = std::process::id();
        assert!(rss_kib(pid) > 1000);
        assert!(descriptors(pid) >= 3);
        let start = cpu_ticks(pid);
        while cpu_ticks(pid) < start + 3 {
            std::hint::black_box(crate::rng::noise(100_000));
        }
    }
}
