//! Frees old snapshots: it takes long if they are large, and no worker and no change should wait for it. What they leave goes
//! back to the system once no more of them come for a moment.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use evergate_kit::{memory, sched};

use crate::snapshot::Snapshot;

/// How much freeing stands back behind serving.
const NICE: i32 = 10;
/// The next change would need the memory again, if it came as soon as this.
const QUIET: Duration = Duration::from_millis(100);
/// Endless changes put it off no longer.
const LATEST: Duration = Duration::from_secs(1);

/// Starts the thread; it ends with the sender.
pub(crate) fn start() -> io::Result<Sender<Arc<Snapshot>>> {
    let (reaper, dead) = channel();
    std::thread::Builder::new().name("reaper".to_owned()).spawn(move || {
        if let Err(error) = sched::stand_back(NICE) {
            tracing::debug!(%error, "the reaper does not stand back");
        }
        free(&dead, memory::give_back);
    })?;
    Ok(reaper)
}

/// Drops what comes, and says after each burst that it is over.
fn free<T>(dead: &Receiver<T>, mut over: impl FnMut()) {
    while let Ok(first) = dead.recv() {
        drop(first);
        let latest = Instant::now() + LATEST;
        loop {
            let left = latest.saturating_duration_since(Instant::now());
            match dead.recv_timeout(QUIET.min(left)) {
                Ok(next) => drop(next),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_it_is_over_once() {
        let (reaper, dead) = channel();
        let (tell, told) = channel();
        let kept = Arc::new(());
        let thread = std::thread::spawn(move || free(&dead, || tell.send(()).unwrap()));
        for _ in 0..3 {
            for _ in 0..100 {
                reaper.send(Arc::clone(&kept)).unwrap();
            }
            told.recv().unwrap();
        }
        drop(reaper);
        thread.join().unwrap();
        assert_eq!(Arc::strong_count(&kept), 1, "all were freed");
        // On a machine that is busy one burst may look like several.
        assert!(told.iter().count() < 50);
    }
}
