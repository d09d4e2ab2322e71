//! As the first process of a container, this one inherits processes whose parents have ended. Under a supervisor that is the
//! supervisor's business.

use std::{io, process};

use rustix::process::{WaitOptions, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Lets orphans go once they have ended, if this is the first process. It starts none of its own.
///
/// # Errors
/// If the signal cannot be caught.
pub(crate) fn orphans() -> io::Result<()> {
    if process::id() != 1 {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child())?;
    tokio::spawn(async move {
        while ended.recv().await.is_some() {
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        }
    });
    Ok(())
}
