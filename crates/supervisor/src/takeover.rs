//! A supervisor that goes on as another program, in place: same process, same children, same sockets.
//!
//! All that it knows is written into a file in memory; the program that is executed reads it. Descriptors keep their
//! numbers. What cannot be read is not guessed: both say which form they speak before anything is given up.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{FdFlags, fcntl_setfd},
};

use crate::{
    core::{Child, ChildId, Moment, Phase, Supervisor},
    message::{Begin, DecodeError, Facts, Fields, From, Packet, TAKEOVER, Terms},
};

/// Names the descriptor of the file.
pub(crate) const VARIABLE: &str = "EVERGATE_TAKEOVER";
/// Everything that a supervisor goes on with.
pub(crate) struct Estate {
    pub(crate) core: Supervisor,
    pub(crate) now: Moment,
    /// The program file to use for the next upgrade.
    pub(crate) installed: String,
    pub(crate) channels: BTreeMap<ChildId, OwnedFd>,
    pub(crate) sockets: BTreeMap<String, OwnedFd>,
}

/// Why nothing can be taken over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeoverError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the supervisor before wrote something else: {0}")]
    Form(#[from] DecodeError),
}

impl Estate {
    /// Writes it down, and lets its descriptors survive an `exec`. Returns the file.
    pub(crate) fn leave(&self) -> io::Result<File> {
        let mut file = File::from(memfd_create("supervisor", MemfdFlags::CLOEXEC)?);
        file.write_all(&self.encode())?;
        file.rewind()?;
        self.close_on_exec(FdFlags::empty())?;
        fcntl_setfd(&file, FdFlags::empty())?;
        Ok(file)
    }

    /// Undoes [`Estate::leave`] after an `exec` that failed.
    pub(crate) fn stay(&self) {
        // They are open, and then it cannot fail.
        let _ = self.close_on_exec(FdFlags::CLOEXEC);
    }

    fn close_on_exec(&self, flags: FdFlags) -> io::Result<()> {
        let all = self.channels.values().chain(self.sockets.values());
        all.into_iter().try_for_each(|descriptor| Ok(fcntl_setfd(descriptor, flags)?))
    }

    /// What the supervisor before left in the file with that descriptor.
    pub(crate) fn take(file: RawFd) -> Result<Estate, TakeoverError> {
        let mut text = Vec::new();
        File::from(own(file)?).read_to_end(&mut text)?;
        Estate::decode(&text)
    }

    fn encode(&self) -> Vec<u8> {
        let core = &self.core;
        let mut p = Packet::new(0).number(TAKEOVER).moment(self.now).text(&self.installed);
        p = p.number(core.last_id).number(core.current.unwrap_or(0)).number(core.quick).text(&core.revision);
        p = p.number(u32::from(core.changed_at.is_some())).moment(core.changed_at.unwrap_or_default());
        let f = &core.facts;
        p = p.number(f.supervisor).number(f.crashes).number(f.upgrades).number(f.draining);
        p = p.text(&f.last_crash).text(&f.last_failed_upgrade).text(&f.crash_loop);
        p = p.count(core.children.len());
        for (id, child) in &core.children {
            let channel = self.channels.get(id).map_or(-1, AsRawFd::as_raw_fd);
            p = p.number(*id).number(child.process).descriptor(channel).number(phase_number(child.phase));
            p = p.number(child.terms.watchdog_ms).number(child.terms.draining_max).text(&child.version);
            p = p.moment(child.since).moment(child.heard).number(u32::from(child.told_to_finish));
        }
        p = p.count(self.sockets.len());
        for (name, socket) in &self.sockets {
            p = p.text(name).descriptor(socket.as_raw_fd());
        }
        p.0
    }

    fn decode(text: &[u8]) -> Result<Estate, TakeoverError> {
        let (_, mut f) = Fields::of(text)?;
        if f.number()? != TAKEOVER {
            return Err(DecodeError::Word(0).into());
        }
        let (now, installed) = (f.moment()?, f.text()?);
        let mut core = Supervisor { last_id: f.number()?, has_served: true, ..Supervisor::default() };
        core.current = Some(f.number()?).filter(|id| *id != 0);
        (core.quick, core.revision) = (f.number()?, f.text()?);
        let changed = f.number()? != 0;
        core.changed_at = Some(f.moment()?).filter(|_| changed);
        let (supervisor, crashes, upgrades, draining) = (f.number()?, f.number()?, f.number()?, f.number()?);
        let (last_crash, last_failed_upgrade, crash_loop) = (f.text()?, f.text()?, f.text()?);
        core.facts =
            Facts { supervisor, crashes, upgrades, last_crash, last_failed_upgrade, crash_loop, draining };
        let mut channels = BTreeMap::new();
        for _ in 0..f.number()? {
            let (id, process, channel) = (f.number()?, f.number()?, f.descriptor()?);
            let begin = Begin { from: From::Last, because: String::new() };
            let phase = phase(f.number()?)?;
            let terms = Terms { watchdog_ms: f.number()?, draining_max: f.number()? };
            let mut child = Child::new(begin, terms, now);
            (child.process, child.phase, child.version) = (process, phase, f.text()?);
            (child.since, child.heard, child.told_to_finish) = (f.moment()?, f.moment()?, f.number()? != 0);
            core.children.insert(id, child);
            if channel >= 0 {
                channels.insert(id, own(channel)?);
            }
        }
        let mut sockets = BTreeMap::new();
        for _ in 0..f.number()? {
            let name = f.text()?;
            sockets.insert(name, own(f.descriptor()?)?);
        }
        f.end(())?;
        Ok(Estate { core, now, installed, channels, sockets })
    }
}

fn phase_number(phase: Phase) -> u32 {
    match phase {
        Phase::Starting => 0,
        Phase::Greeted => 1,
        Phase::Beginning => 2,
        Phase::Serving => 3,
        Phase::Pausing => 4,
        Phase::Paused => 5,
        Phase::Left => 6,
    }
}

fn phase(number: u32) -> Result<Phase, DecodeError> {
    use Phase::{Beginning, Greeted, Left, Paused, Pausing, Serving, Starting};
    let all = [Starting, Greeted, Beginning, Serving, Pausing, Paused, Left];
    usize::try_from(number).ok().and_then(|n| all.get(n).copied()).ok_or(DecodeError::Fields)
}

/// A descriptor that the program before left open for this one.
#[expect(unsafe_code, reason = "a number is all that survives an exec")]
fn own(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only asks whether the number is an open descriptor, and closes it in programs that are started.
    fcntl_setfd(unsafe { std::os::fd::BorrowedFd::borrow_raw(raw) }, FdFlags::CLOEXEC)?;
    // SAFETY: it is open; the program before, which was this process, wrote each number once and is gone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

impl Packet {
    fn moment(self, moment: Moment) -> Packet {
        let ms = u64::try_from(moment.as_millis()).unwrap_or(u64::MAX);
        self.number((ms >> 32) as u32).number(ms as u32)
    }

    fn descriptor(self, raw: RawFd) -> Packet {
        self.number(raw as u32)
    }

    fn count(self, count: usize) -> Packet {
        self.number(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

impl Fields<'_> {
    fn moment(&mut self) -> Result<Moment, DecodeError> {
        let (high, low) = (self.number()?, self.number()?);
        Ok(Duration::from_millis(u64::from(high) << 32 | u64::from(low)))
    }

    fn descriptor(&mut self) -> Result<RawFd, DecodeError> {
        Ok(self.number()? as RawFd)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::IntoRawFd};

    use super::*;
    use crate::{channel::Channel, core::Event, message::ToParent};

    #[test]
    fn nothing_is_lost_on_the_way() {
        let at = Duration::from_millis(5_000_000_000);
        let (mut core, _) = Supervisor::start(7, at);
        core.started(1, 70);
        core.step(
            at,
            Event::Said(1, ToParent::Hello { version: "1.2".into(), process: 70, takeover: TAKEOVER }),
        );
        core.step(at, Event::Said(1, ToParent::Serving { revision: "4-a".into() }));
        core.step(at, Event::Said(1, ToParent::Alive(Terms { watchdog_ms: 9, draining_max: 3 })));
        let (channel, other_end) = Channel::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let estate = Estate {
            core: core.clone(),
            now: at,
            installed: "/usr/bin/evergate".into(),
            channels: BTreeMap::from([(1, channel.into_inner())]),
            sockets: BTreeMap::from([("tcp a".to_owned(), listener.into())]),
        };
        let file = estate.leave().unwrap();
        // As an exec would have it: the numbers stay open, and nobody owns them.
        for descriptor in estate.channels.into_values().chain(estate.sockets.into_values()) {
            let _ = descriptor.into_raw_fd();
        }
        let mut taken = Estate::take(file.into_raw_fd()).unwrap();
        assert_eq!((&taken.installed, taken.now), (&"/usr/bin/evergate".into(), at));
        // Why a child began matters no more once it serves.
        let child = taken.core.children.get_mut(&1).unwrap();
        (child.begin, child.takeover) = (core.children[&1].begin.clone(), TAKEOVER);
        assert_eq!(taken.core, core);
        let socket = TcpListener::from(taken.sockets.remove("tcp a").unwrap());
        assert_eq!(socket.local_addr().unwrap(), address);
        Channel::of(taken.channels.remove(&1).unwrap()).send(b"x", None).unwrap();
        assert_eq!(other_end.receive().unwrap().unwrap().0, b"x");
    }

    #[test]
    fn another_form_is_refused() {
        for text in [&[][..], &[0, 9, 0, 0, 0], &[0, 1, 0, 0, 0, 1]] {
            assert!(matches!(Estate::decode(text), Err(TakeoverError::Form(_))), "{text:?}");
        }
    }
}
