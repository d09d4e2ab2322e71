//! What the kernel knows of a process.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

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

/// True until it has ended, whether or not anybody has asked for it since.
#[must_use]
pub fn runs(pid: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A process and its descendants.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    stats(pid).into_iter().map(|(id, _)| id).collect()
}

/// CPU time of a process and its descendants, user and system together, in clock ticks of a hundredth second.
#[must_use]
pub fn cpu_ticks(pid: u32) -> u64 {
    stats(pid).into_iter().map(|(_, ticks)| ticks).sum()
}

/// What a process and its descendants have in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, summed: what two of them share counts twice.
    pub rss_kib: u64,
    /// What is shared counts for each by its part (PSS).
    pub pss_kib: u64,
}

/// Memory of a process and its descendants.
#[must_use]
pub fn memory(pid: u32) -> Memory {
    let mut sum = Memory::default();
    for id in family(pid) {
        // It may end between being listed and being read.
        let Ok(text) = fs::read_to_string(format!("/proc/{id}/smaps_rollup")) else { continue };
        let line = |name: &str| text.lines().find_map(|l| l.strip_prefix(name));
        let kib = |name: &str| line(name)?.trim().trim_end_matches(" kB").parse::<u64>().ok();
        sum.rss_kib += kib("Rss:").unwrap_or_default();
        sum.pss_kib += kib("Pss:").unwrap_or_default();
    }
    sum
}

/// A process and its descendants with their CPU ticks.
fn stats(pid: u32) -> Vec<(u32, u64)> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut ticks: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        let Some((parent, used)) = stat(id) else { continue };
        children.entry(parent).or_default().push(id);
        ticks.insert(id, used);
    }
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(id) = open.pop() {
        found.extend(ticks.get(&id).map(|used| (id, *used)));
        open.extend(children.remove(&id).unwrap_or_default());
    }
    found
}

/// Parent and CPU ticks (proc(5)). The second field may hold spaces, so that counting starts behind it.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    Some((u32::try_from(number(1)?).ok()?, number(11)? + number(12)?))
}

/// How a thread of a process stands with the scheduler.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Nice value.
    pub nice: i32,
    /// Stands back behind all that wake up (`SCHED_BATCH`).
    pub batch: bool,
    /// How long it runs before others have their turn, in nanoseconds, where the kernel lets threads say so (since Linux
    /// 6.12) and shows it.
    pub slice_ns: Option<u64>,
}

/// The threads of a process.
#[must_use]
pub fn threads(pid: u32) -> Vec<Thread> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process").flatten();
    // They may end between being listed and being read.
    entries.filter_map(|entry| thread(&entry.path())).collect()
}

fn thread(task: &Path) -> Option<Thread> {
    const BATCH: i64 = 3;
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let (start, rest) = stat.rsplit_once(") ")?;
    // proc(5): the state is field 3, nice 19, policy 41.
    let number = |field: usize| rest.split_whitespace().nth(field - 3)?.parse::<i64>().ok();
    let slice = || {
        let text = fs::read_to_string(task.join("sched")).ok()?;
        let line = text.lines().find(|line| line.starts_with("se.slice"))?;
        line.split_once(':')?.1.trim().parse().ok()
    };
    Some(Thread {
        name: start.split_once('(')?.1.to_owned(),
        nice: i32::try_from(number(19)?).ok()?,
        batch: number(41)? == BATCH,
        slice_ns: if linux() >= (6, 12) { slice() } else { None },
    })
}

/// The kernel's version, as far as it counts.
fn linux() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// True if no thread of it runs since it was told to stand still.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let state = |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
    let stats = threads.map(|thread| std::fs::read_to_string(thread.expect("a thread").path().join("stat")));
    stats.into_iter().all(|stat| stat.is_ok_and(|stat| state(&stat)))
}

/// Signals that a gateway understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Reload.
    Hangup,
    /// Drain and stop.
    Terminate,
    /// Stop; at once the second time.
    Interrupt,
    /// Not understood, but obeyed: stand still.
    Pause,
    /// Go on.
    Resume,
    /// Replace the program.
    Upgrade,
    /// Gone at once.
    Kill,
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: Signal) {
    use rustix::process::Signal as Number;
    let number = match signal {
        Signal::Hangup => Number::HUP,
        Signal::Terminate => Number::TERM,
        Signal::Interrupt => Number::INT,
        Signal::Pause => Number::STOP,
        Signal::Resume => Number::CONT,
        Signal::Upgrade => Number::USR2,
        Signal::Kill => Number::KILL,
    };
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process id"), number).expect("still running");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let pid = std::process::id();
        assert!(rss_kib(pid) > 1000);
        assert!(descriptors(pid) >= 3);
        assert!(threads(pid).iter().any(|thread| !thread.name.is_empty() && !thread.batch));
        assert!(family(pid).contains(&pid));
        let both = memory(pid);
        assert!(both.pss_kib > 500 && both.rss_kib >= both.pss_kib);
        let start = cpu_ticks(pid);
        while cpu_ticks(pid) < start + 3 {
            std::hint::black_box(crate::rng::noise(100_000));
        }
    }
}
