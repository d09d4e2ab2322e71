//! How a thread stands with the system's scheduler: who serves is let in soon, who builds stands back.
//!
//! By `sched_setattr(2)`, of the calling thread alone. A thread that somebody gave another policy than the usual one (real
//! time, idle) keeps it. Nothing here is needed to work: who calls goes on without it.

use std::{io, mem};

/// How long a thread that serves may run before others have their turn: the shortest that Linux takes. Who asks for less is
/// let in sooner once it has something to do (EEVDF, slices since Linux 6.12; older ones leave it aside), for no more in all.
const SERVING_SLICE_NS: u64 = 100_000;

/// Has the calling thread, and threads that it starts, let in soon after others that run longer at a time.
///
/// # Errors
/// If the system does not allow it, or knows nothing of it.
pub fn serve() -> io::Result<()> {
    change(|now| now.sched_runtime = SERVING_SLICE_NS)
}

/// Has the calling thread, and threads that it starts, stand back: it takes the core of no thread that runs, and has so
/// small a part of one that others want as its nice value (0 to 19) says. One that stands back further stays there.
///
/// # Errors
/// If the system does not allow it, or knows nothing of it.
pub fn stand_back(nice: i32) -> io::Result<()> {
    change(|now| {
        now.sched_policy = libc::SCHED_BATCH.unsigned_abs();
        now.sched_nice = now.sched_nice.max(nice);
    })
}

fn change(edit: impl FnOnce(&mut libc::sched_attr)) -> io::Result<()> {
    let mut attributes = get()?;
    if attributes.sched_policy == libc::SCHED_OTHER.unsigned_abs() {
        edit(&mut attributes);
        set(&attributes)?;
    }
    Ok(())
}

/// The size of what we know of the attributes; the kernel takes it as the version that is spoken.
const SIZE: u32 = mem::size_of::<libc::sched_attr>() as u32;

#[expect(unsafe_code, reason = "no library has these calls")]
fn get() -> io::Result<libc::sched_attr> {
    let mut attributes = libc::sched_attr {
        size: SIZE,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel writes at most `SIZE` bytes, and any bytes make a value of this type. 0 is the calling thread.
    let done = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    if done == 0 { Ok(attributes) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "no library has these calls")]
fn set(attributes: &libc::sched_attr) -> io::Result<()> {
    let sized = libc::sched_attr { size: SIZE, ..*attributes };
    // SAFETY: the kernel only reads, as many bytes as `size` says.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const sized, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the scheduler says of a thread after it did that.
    fn after(act: impl FnOnce() -> io::Result<()> + Send + 'static) -> libc::sched_attr {
        let look = move || act().and_then(|()| get());
        std::thread::spawn(look).join().unwrap().unwrap()
    }

    #[test]
    fn who_serves_has_a_short_slice_and_its_nice_value() {
        let before = after(|| Ok(()));
        let serving = after(serve);
        assert_eq!(serving.sched_policy, before.sched_policy);
        assert_eq!(serving.sched_nice, before.sched_nice);
        // Kernels without slices say none before and after.
        if before.sched_runtime > 0 {
            assert_eq!(serving.sched_runtime, SERVING_SLICE_NS);
        }
    }

    #[test]
    fn who_stands_back_is_a_batch_and_never_comes_forward() {
        let nice = after(|| Ok(())).sched_nice;
        let back = after(move || stand_back(nice + 2));
        assert_eq!(back.sched_policy, libc::SCHED_BATCH.unsigned_abs());
        assert_eq!(back.sched_nice, nice + 2);
        let further = after(move || {
            rustix::process::setpriority_process(None, nice + 3)?;
            stand_back(nice + 2)
        });
        assert_eq!(further.sched_nice, nice + 3);
    }

    #[test]
    fn another_policy_stays() {
        let idle = after(|| {
            set(&libc::sched_attr { sched_policy: libc::SCHED_IDLE.unsigned_abs(), ..get()? })?;
            stand_back(5)?;
            serve()
        });
        assert_eq!(idle.sched_policy, libc::SCHED_IDLE.unsigned_abs());
    }
}
