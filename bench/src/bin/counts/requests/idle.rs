//! Whether a process has nothing to do, as the kernel sees it.

use super::until;

/// Waits until all threads of a process sleep.
pub(super) async fn wait(pid: u32) {
    // Threads are looked at one after the other, so that one could wake another behind our back: hence twice.
    until(|| asleep(pid) && asleep(pid)).await;
}

/// All threads sleep.
fn asleep(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    tasks.flatten().all(|task| match std::fs::read_to_string(task.path().join("stat")) {
        Ok(stat) => state(&stat) == Some('S'),
        // It has just ended.
        Err(_) => true,
    })
}

/// The state in a line of `/proc/<pid>/stat` (proc(5)), whose second field may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read() {
        assert_eq!(state("12 (a b) S 1 12 12"), Some('S'));
        assert_eq!(state("12 (odd) name)) R 1"), Some('R'));
        assert_eq!(state("12"), None);
    }

    #[test]
    fn who_looks_is_awake() {
        assert!(!asleep(std::process::id()));
    }

    #[tokio::test]
    async fn who_waits_for_long_sleeps() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        wait(child.id()).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
