//! Memory of the process as the system sees it.

/// Gives memory that was freed back to the system, in whole pages, wherever it lies. The allocator by itself gives back only
/// what lies at the end of what it has; what two generations needed together it would keep for ever.
///
/// Takes a moment, in which other threads may wait for the allocator: for after a change, not for every request. Does nothing
/// where the allocator is not glibc's.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "no library has this call")]
    // SAFETY: it takes the allocator's own locks, and touches only what nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn what_lies_between_what_is_kept_goes_back() {
        const KIB: usize = 64 << 10;
        let mut blocks: Vec<_> = (0..KIB).map(|i| Some(vec![i as u8; 1000])).collect();
        for (i, block) in blocks.iter_mut().enumerate() {
            if i % 64 != 0 {
                *block = None;
            }
        }
        let before = resident_kib();
        give_back();
        let after = resident_kib();
        assert!(after + KIB / 2 < before, "{before} KiB became {after}");
        assert!(blocks.iter().flatten().all(|block| block.len() == 1000));
    }
}
