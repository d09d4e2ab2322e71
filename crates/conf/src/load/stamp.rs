//! Whether a file is what it was when it was read, told without reading it.
//!
//! By the rule of git for "racy" files: what the system says of a file tells only if the file had been left alone for a while
//! when it was read, since a change in the same moment would leave the same times. What is younger is read again.
//! Clocks of other machines tell nothing at all: files that may lie there are always read.

use std::{
    fs::{File, Metadata},
    os::{fd::AsFd, unix::fs::MetadataExt},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The coarsest times that a file system writes down (FAT).
const GRAIN: Duration = Duration::from_secs(2);

/// What changes when a file is written, replaced, renamed over or linked elsewhere. Nobody can set the time of the last
/// change of all this (`st_ctime`) to what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(m: &Metadata) -> Stamp {
        Stamp {
            device: m.dev(),
            inode: m.ino(),
            bytes: m.size(),
            written: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        }
    }

    /// True if every change after this moment makes another stamp.
    fn tells(&self, now: SystemTime) -> bool {
        let Ok(now) = now.duration_since(UNIX_EPOCH) else { return false };
        let until = i64::try_from(now.saturating_sub(GRAIN).as_secs()).unwrap_or(0);
        self.written.0.max(self.changed.0) < until
    }
}

/// The stamp of a file that is about to be read, if it will tell of every change from now on.
pub(super) fn before_reading(file: &File, m: &Metadata, now: SystemTime) -> Option<Stamp> {
    Some(Stamp::of(m)).filter(|stamp| stamp.tells(now) && is_local(file))
}

/// True if the file is on a file system of this machine: nobody else has to be asked, and its times are by our own clock.
#[cfg(target_os = "linux")]
#[must_use]
pub fn is_local(file: impl AsFd) -> bool {
    /// See `linux/magic.h`: bcachefs, btrfs, ext2 to ext4, f2fs, overlayfs, ramfs, tmpfs, XFS, ZFS.
    const LOCAL: [u32; 9] = [
        0xca45_1a4e,
        0x9123_683e,
        0xef53,
        0xf2f5_2010,
        0x794c_7630,
        0x8584_58f6,
        0x0102_1994,
        0x5846_5342,
        0x2fc1_2fc1,
    ];
    // The type's width differs between machines; the numbers have 32 bits.
    rustix::fs::fstatfs(file).is_ok_and(|fs| LOCAL.contains(&(fs.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn is_local(_: impl AsFd) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_just_now_or_later_tells_nothing() {
        let at = |seconds| (seconds, 999_999_999);
        for (written, changed, expected) in [
            (90, 97, true),
            (97, 90, true),
            (90, 98, false),
            (98, 90, false),
            (90, 100, false),
            (200, 90, false),
        ] {
            let stamp = Stamp { device: 1, inode: 2, bytes: 3, written: at(written), changed: at(changed) };
            assert_eq!(stamp.tells(UNIX_EPOCH + Duration::from_millis(100_500)), expected, "{stamp:?}");
        }
    }
}
