//! Starts a child with the sockets that it is to go on with, and an end of a channel.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::Command,
};

use command_fds::{CommandFdExt, FdMapping};

use crate::{
    channel::Channel,
    inherit::{CHANNEL, FIRST, escape},
    takeover,
};

/// What to start.
pub(crate) struct Spawn<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: &'a [OsString],
    pub(crate) sockets: &'a BTreeMap<String, OwnedFd>,
}

/// Starts it. Returns its number and this end of the channel.
pub(crate) fn spawn(what: &Spawn<'_>) -> io::Result<(u32, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    let mut mappings = Vec::with_capacity(what.sockets.len() + 1);
    let number = |at: usize| RawFd::try_from(at).ok().and_then(|at| FIRST.checked_add(at));
    let too_many = || io::Error::other("too many sockets");
    for (at, socket) in what.sockets.values().enumerate() {
        let child_fd = number(at).ok_or_else(too_many)?;
        mappings.push(FdMapping { parent_fd: socket.as_fd().try_clone_to_owned()?, child_fd });
    }
    let channel = number(what.sockets.len()).ok_or_else(too_many)?;
    mappings.push(FdMapping { parent_fd: theirs.into_inner(), child_fd: channel });
    let names: Vec<String> = what.sockets.keys().map(|name| escape(name)).collect();
    let mut command = Command::new(what.program);
    command
        .arg0("evergate")
        .args(what.args)
        // A signal from the terminal is for the supervisor, which passes it on once.
        .process_group(0)
        .env("LISTEN_FDS", what.sockets.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env(CHANNEL, channel.to_string())
        .env_remove("LISTEN_PID")
        .env_remove(takeover::VARIABLE);
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    // The handle is dropped: its end is noted with that of all others.
    Ok((command.spawn()?.id(), ours))
}
