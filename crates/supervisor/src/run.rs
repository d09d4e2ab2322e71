//! The supervisor at work: waits for signals, children and the clock, tells the state machine, and does what it wants.
//!
//! One thread, no allocation to speak of between events. Signals are kept back and read from a descriptor, so that none is
//! lost when this process goes on as another program.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SigSet, Signal as Number},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, WaitOptions, WaitStatus, kill_process, wait},
};

use crate::{
    channel::Channel,
    core::{Binary, ChildId, Effect, End, Event, Moment, Signal, Supervisor},
    inherit::{Named, take},
    lean,
    message::{ToChild, ToParent},
    notify::notify,
    pid_file::PidFile,
    sockets::Sockets,
    spawn::{Spawn, spawn},
    takeover::{Estate, VARIABLE},
};

/// How children are started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Their arguments, and this process's own.
    pub args: Vec<OsString>,
    /// Where the number of this process is written.
    pub pid_file: Option<PathBuf>,
}

struct Driver {
    options: Options,
    core: Supervisor,
    /// The state machine's zero.
    epoch: Instant,
    signals: SignalFd,
    channels: BTreeMap<ChildId, Channel>,
    sockets: Sockets,
    /// What the child that pauses would have its successor know. Of no use to a later one: by then it is old.
    state: Option<OwnedFd>,
    /// The program file that an upgrade takes if none is named.
    installed: PathBuf,
    /// Programs that children were started from, where it was another.
    programs: BTreeMap<ChildId, PathBuf>,
    successor: Option<ChildId>,
    exit: Option<u8>,
}

/// Runs until it is told to stop, or until the first child does not start. Returns the code to exit with. `variable` reads
/// the environment. To be called before this process opens or starts anything.
///
/// # Errors
/// If the system does not give what a supervisor needs.
pub fn run(options: Options, variable: impl Fn(&str) -> Option<String>) -> io::Result<u8> {
    let signals = signals()?;
    let estate = variable(VARIABLE).and_then(|fd| fd.parse().ok()).map(Estate::take).transpose();
    let process = std::process::id();
    let _pid_file = options.pid_file.clone().map(|path| PidFile::write(path, process)).transpose()?;
    let (mut driver, effects) = match estate.map_err(io::Error::other)? {
        Some(estate) => (Driver::resumed(options, signals, estate), Vec::new()),
        None => Driver::fresh(options, signals, take(variable)?.sockets, process)?,
    };
    driver.carry_out(effects);
    // A child may have ended while this process became another program.
    driver.reap();
    lean::forget_text();
    while driver.exit.is_none() {
        driver.turn()?;
    }
    Ok(driver.exit.unwrap_or(0))
}

/// Signals that mean something here, kept back and read from a descriptor.
fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Number::SIGTERM, Number::SIGINT, Number::SIGHUP, Number::SIGUSR2, Number::SIGCHLD] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

impl Driver {
    fn fresh(
        options: Options,
        signals: SignalFd,
        sockets: Vec<Named>,
        process: u32,
    ) -> io::Result<(Driver, Vec<Effect>)> {
        let (core, effects) = Supervisor::start(process, Moment::ZERO);
        let driver = Driver {
            options,
            core,
            epoch: Instant::now(),
            signals,
            channels: BTreeMap::new(),
            sockets: Sockets::new(sockets.into_iter().collect(), None),
            state: None,
            installed: std::env::current_exe()?,
            programs: BTreeMap::new(),
            successor: None,
            exit: None,
        };
        Ok((driver, effects))
    }

    fn resumed(options: Options, signals: SignalFd, estate: Estate) -> Driver {
        let now = Instant::now();
        let owner = estate.core.current();
        Driver {
            options,
            core: estate.core,
            epoch: now.checked_sub(estate.now).unwrap_or(now),
            signals,
            channels: estate.channels.into_iter().map(|(id, end)| (id, Channel::of(end))).collect(),
            sockets: Sockets::new(estate.sockets, owner),
            state: None,
            installed: estate.installed.into(),
            programs: BTreeMap::new(),
            successor: None,
            exit: None,
        }
    }

    /// Waits for something to happen, and deals with it.
    fn turn(&mut self) -> io::Result<()> {
        let ids: Vec<ChildId> = self.channels.keys().copied().collect();
        let (signalled, spoke) = self.wait(&ids)?;
        // What was said before a signal came counts before it.
        for (id, _) in ids.into_iter().zip(spoke).filter(|(_, spoke)| *spoke) {
            self.hear(id);
        }
        if signalled {
            while let Ok(Some(signal)) = self.signals.read_signal() {
                self.signalled(i32::try_from(signal.ssi_signo).unwrap_or(0));
            }
        }
        if self.core.wake_at().is_some_and(|at| at <= self.now()) {
            self.step(Event::Tick);
        }
        if let Some(successor) = self.successor.take() {
            self.become_like(successor);
        }
        Ok(())
    }

    fn wait(&self, ids: &[ChildId]) -> io::Result<(bool, Vec<bool>)> {
        let ends = ids.iter().filter_map(|id| self.channels.get(id)).map(AsFd::as_fd);
        let all = std::iter::once(self.signals.as_fd()).chain(ends);
        let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let patience =
            self.core.wake_at().map(|at| at.saturating_sub(self.now()).min(Duration::from_secs(3600)));
        let patience = patience.and_then(|p| Timespec::try_from(p).ok());
        match poll(&mut polled, patience.as_ref()) {
            Ok(_) => {}
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) => return Err(error.into()),
        }
        let mut readable = polled.iter().map(|p| !p.revents().is_empty());
        Ok((readable.next().unwrap_or(false), readable.collect()))
    }

    fn now(&self) -> Moment {
        self.epoch.elapsed()
    }

    fn signalled(&mut self, number: i32) {
        match Number::try_from(number) {
            Ok(Number::SIGTERM) => self.step(Event::Stop(Signal::Terminate)),
            Ok(Number::SIGINT) => self.step(Event::Stop(Signal::Interrupt)),
            Ok(Number::SIGHUP) => self.step(Event::Reload),
            Ok(Number::SIGUSR2) => self.step(Event::Upgrade),
            Ok(Number::SIGCHLD) => self.reap(),
            _ => {}
        }
    }

    /// Notes who has ended. As process 1 that may be anybody whose own parent is gone.
    fn reap(&mut self) {
        while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
            let ids = self.core.children();
            let found = ids.into_iter().find(|id| {
                let known = self.core.child(*id).map(|c| c.process);
                known.and_then(|p| i32::try_from(p).ok()) == Some(process.as_raw_nonzero().get())
            });
            let Some(id) = found else { continue };
            // What it said last comes before its end.
            self.hear(id);
            self.channels.remove(&id);
            self.step(Event::Ended(id, ended(status)));
        }
    }

    /// Takes in all that a child has said.
    fn hear(&mut self, id: ChildId) {
        while let Some(channel) = self.channels.get(&id) {
            let (packet, descriptor) = match channel.try_receive() {
                Ok(Some(received)) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Its end is told by the system.
                Ok(None) | Err(_) => return drop(self.channels.remove(&id)),
            };
            let Ok(message) = ToParent::decode(&packet) else { continue };
            match (&message, descriptor) {
                (ToParent::Keep { name }, Some(socket)) => self.sockets.says(id, name.clone(), Some(socket)),
                (ToParent::LetGo { name }, _) => self.sockets.says(id, name.clone(), None),
                (ToParent::Paused, Some(state)) if self.core.current() == Some(id) => {
                    self.state = Some(state);
                }
                _ => {}
            }
            self.step(Event::Said(id, message));
        }
    }

    fn step(&mut self, event: Event) {
        let effects = self.core.step(self.now(), event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start(id, binary) => self.start(id, &binary),
                Effect::Tell(id, message) => self.tell(id, &message),
                Effect::Signal(id, signal) => self.signal(id, signal),
                Effect::Owner(id) => self.sockets.own(id),
                Effect::Forget(id) => {
                    self.sockets.forget(id);
                    self.programs.remove(&id);
                }
                Effect::Notify(word) => notify(word, std::process::id()),
                Effect::Become(id) => self.successor = Some(id),
                Effect::Complain(text) => complain(&text),
                Effect::Exit(code) => self.exit = Some(code),
            }
        }
    }

    fn start(&mut self, id: ChildId, binary: &Binary) {
        let program = match binary {
            Binary::Own => PathBuf::from("/proc/self/exe"),
            Binary::Installed => self.installed.clone(),
            Binary::File(path) => PathBuf::from(path),
        };
        let args = &self.options.args;
        match spawn(&Spawn { program: &program, args, sockets: self.sockets.held() }) {
            Ok((process, channel)) => {
                self.core.started(id, process);
                self.channels.insert(id, channel);
                if *binary != Binary::Own {
                    self.programs.insert(id, program);
                }
            }
            Err(error) => {
                let text = format!("could not be started from {}: {error}", program.display());
                complain(&format!("the gateway {text}"));
                self.step(Event::Ended(id, End { text, code: None }));
            }
        }
    }

    fn tell(&mut self, id: ChildId, message: &ToChild) {
        let Some(channel) = self.channels.get(&id) else { return };
        let state = self.state.take_if(|_| matches!(message, ToChild::Begin(_)));
        let told = channel.try_send(&message.encode(), state.as_ref().map(AsFd::as_fd));
        if told.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            // It has not read for hundreds of messages, and would not know what to do.
            self.signal(id, Signal::Kill);
        }
    }

    fn signal(&self, id: ChildId, signal: Signal) {
        let process = self.core.child(id).and_then(|c| Pid::from_raw(i32::try_from(c.process).ok()?));
        let number = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Hangup => rustix::process::Signal::HUP,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        if let Some(process) = process {
            // It may have ended just now; then that is told.
            let _ = kill_process(process, number);
        }
    }

    /// Goes on as the program that a child runs. If that fails, nothing has changed.
    fn become_like(&mut self, id: ChildId) {
        let Some(process) = self.core.child(id).map(|c| c.process) else { return };
        let installed = self.programs.remove(&id).unwrap_or_else(|| self.installed.clone());
        let estate = Estate {
            core: self.core.clone(),
            now: self.now(),
            installed: installed.display().to_string(),
            channels: std::mem::take(&mut self.channels)
                .into_iter()
                .map(|(id, channel)| (id, channel.into_inner()))
                .collect(),
            sockets: self.sockets.take(),
        };
        let error = match estate.leave() {
            Ok(file) => Command::new(format!("/proc/{process}/exe"))
                .arg0("evergate")
                .args(&self.options.args)
                .env(VARIABLE, file.as_raw_fd().to_string())
                .exec(),
            Err(error) => error,
        };
        complain(&format!("the supervisor goes on as it is, it cannot become the new program: {error}"));
        estate.stay();
        self.channels = estate.channels.into_iter().map(|(id, end)| (id, Channel::of(end))).collect();
        self.sockets = Sockets::new(estate.sockets, self.core.current());
        self.installed = installed;
    }
}

/// How a process ended, in words after "it".
fn ended(status: WaitStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => {
            End { text: format!("ended with code {code}"), code: Some(u8::try_from(code).unwrap_or(u8::MAX)) }
        }
        (None, Some(signal)) => {
            let name = Number::try_from(signal).map_or_else(|_| signal.to_string(), |n| n.to_string());
            End { text: format!("was ended by {name}"), code: None }
        }
        (None, None) => End { text: "ended".to_owned(), code: None },
    }
}

#[expect(clippy::print_stderr, reason = "there is no child that could say it")]
fn complain(text: &str) {
    eprintln!("evergate supervisor: {text}");
}
