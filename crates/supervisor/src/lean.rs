//! A supervisor is there for months and hardly ever runs. What its start has read of the program's text is given back; the
//! kernel reads what is needed again from the file.

use std::{fs, ptr};

use rustix::mm::{Advice, madvise};

/// Gives back what is resident of all program text.
#[expect(unsafe_code, reason = "the kernel takes addresses")]
pub(crate) fn forget_text() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, length) in maps.lines().filter_map(text) {
        // SAFETY: this is a private mapping of a file that cannot be written and never has been, so that a page which is
        // dropped comes back from the file as it was. Nobody unmaps text, and no memory of ours is in it.
        let _ = unsafe { madvise(ptr::without_provenance_mut(start), length, Advice::LinuxDontNeed) };
    }
}

/// Where a mapping is and how long, if it is the text of a file (proc(5)). Read-only data is left alone: relocations may
/// have been written into it.
fn text(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, file) = (words.next()?, words.nth(3)?);
    let start = usize::from_str_radix(start, 16).ok()?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    (rights == "r-xp" && file.starts_with('/')).then_some((start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_of_files_is_given_back() {
        let line = |rights: &str, file: &str| format!("1000-3000 {rights} 00001000 fe:00 123   {file}");
        assert_eq!(text(&line("r-xp", "/usr/bin/evergate")), Some((0x1000, 0x2000)));
        assert_eq!(text(&line("r-xp", "/usr/bin/evergate (deleted)")), Some((0x1000, 0x2000)));
        for other in
            [line("r--p", "/usr/bin/evergate"), line("rw-p", "/x"), line("r-xp", "[vdso]"), line("r-xp", "")]
        {
            assert_eq!(text(&other), None, "{other}");
        }
    }

    #[test]
    fn what_was_read_is_not_resident_afterwards() {
        let before = resident();
        forget_text();
        assert!(resident() < before / 4 * 3, "{} of {before} KiB", resident());
    }

    /// KiB of program text.
    fn resident() -> u64 {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut sum, mut counts) = (0, false);
        for line in maps.lines() {
            if let Some(size) = line.strip_prefix("Rss:") {
                sum += if counts { size.trim().trim_end_matches(" kB").parse::<u64>().unwrap() } else { 0 };
            } else if line.split_once(' ').is_some_and(|(range, _)| range.contains('-')) {
                counts = text(line).is_some();
            }
        }
        sum
    }
}
