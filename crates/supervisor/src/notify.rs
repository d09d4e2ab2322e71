//! What a service manager is told (`sd_notify(3)`), if there is one that wants to know.

use sd_notify::NotifyState;

use crate::core::Word;

/// Tells the service manager. `process` is the one to send signals to.
///
/// Nobody may be listening, and nothing depends on it.
pub fn notify(word: Word, process: u32) {
    let _ = match word {
        Word::Ready => sd_notify::notify(&[NotifyState::Ready, NotifyState::MainPid(process)]),
        // A reload is told with the time at which it began (`Type=notify-reload`).
        Word::Reloading => match NotifyState::monotonic_usec_now() {
            Ok(now) => sd_notify::notify(&[NotifyState::Reloading, now]),
            Err(_) => return,
        },
        Word::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Word::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
    };
}
