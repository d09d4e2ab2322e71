//! What the system says of this process. Linux only; elsewhere nothing is known.

use std::fs;

/// Clock ticks in a second, as `/proc` counts them; the same on every Linux.
const TICKS: f64 = 100.0;

/// Facts about the process; what cannot be read is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) open_files_max: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
}

/// Looks now.
pub(crate) fn look() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    Process {
        resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024),
        threads: number_after(&status, "Threads:"),
        open_files: fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as u64),
        open_files_max: number_after(&limits, "Max open files"),
        cpu_seconds: cpu(&stat),
    }
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15; counted after the name, which may hold spaces.
fn cpu(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11).map(str::parse::<u32>);
    let (user, system) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_formats() {
        let status = "Name:\tevergate\nVmRSS:\t   10240 kB\nThreads:\t7\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(10240));
        assert_eq!(number_after(status, "VmSwap:"), None);
        assert_eq!(
            number_after("Max open files            1024   4096   files\n", "Max open files"),
            Some(1024)
        );
        let stat = "42 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 100";
        assert_eq!(cpu(stat), Some(2.0));
    }

    #[test]
    fn knows_this_process() {
        let process = look();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(process.open_files.is_some_and(|count| (3..100_000).contains(&count)));
        assert!(
            process.threads.is_some() && process.cpu_seconds.is_some() && process.open_files_max.is_some()
        );
    }
}
