//! `evergate run`: from the command line to a running gateway, and from a signal to its end.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use evergate_admin::Admin;
use evergate_conf::{Report, Severity};
use evergate_contract::{
    config::{self, Log},
    status::{ListenerStatus, Running},
};
use evergate_kit::{Carried, Fds};
use evergate_proxy::{Before, Gateway};
use evergate_reload::{Begin, Handle, Hangup, Notice, Options, StartError, WeakHandle, start};
use evergate_supervisor::{
    child::{Heard, Started},
    message::{From, TAKEOVER, Terms, ToChild, ToParent},
};
use tokio::{
    runtime::Runtime,
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    time::sleep,
};

use crate::{
    built_in::BuiltIn,
    cli::RunArgs,
    compose::{Gate, loader},
    exit::Exit,
    leave::Ending,
    log::{self, LogControl},
    overseer::{self, Overseer},
    place, reap,
    stop::Stop,
};

/// How often the supervisor hears that this process works, for each time that it would wait.
const BEATS: u32 = 4;
/// How long workers may take to open what they serve.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// How much the control runtime stands back behind the workers.
const CONTROL_NICE: i32 = 3;
/// Threads of the control runtime: one may wait for a disk while the other answers.
const CONTROL_THREADS: usize = 2;

/// Why the gateway did not start: how to exit, and what to say.
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: text.into() }
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// If it cannot start.
pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    // Before anything else is opened: what was passed on has fixed numbers.
    let system = |error: io::Error| Failure::new(Exit::System, format!("cannot start: {error}"));
    let started = evergate_supervisor::child::started(place::variable).map_err(system)?;
    // A supervisor starts it by another name, and people look for this one.
    let _ = rustix::thread::set_name(c"evergate");
    let data_dir = match args.data_dir.clone().or_else(place::data_dir) {
        Some(folder) => absolute(&folder),
        None => return Err(Failure::new(Exit::Usage, "there is no home directory: say --data-dir")),
    };
    let options = options(args, &data_dir)?;
    // Until the document says otherwise.
    let log = log::start(&Log::default()).map_err(system)?;
    raise_open_files();
    let runtime = control_runtime().map_err(system)?;
    let ended = runtime.block_on(serve(&runtime, data_dir, options, started, &log));
    log.flush();
    // The process ends: what still runs need not be waited for.
    runtime.shutdown_background();
    ended
}

/// Each connection is a descriptor, and the soft limit is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

fn control_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        // Serving comes first. Not allowed everywhere, and only politeness.
        .on_thread_start(|| {
            let _ = rustix::process::setpriority_process(None, CONTROL_NICE);
        })
        .enable_all()
        .build()
}

fn options(args: &RunArgs, data_dir: &Path) -> Result<Options, Failure> {
    let roots: Vec<PathBuf> = args.files_or_folders.iter().map(|p| absolute(p)).collect();
    let folder = match roots.first() {
        Some(root) if root.is_dir() => root.clone(),
        Some(root) => root.parent().map_or_else(PathBuf::new, Path::to_owned),
        None => absolute(Path::new(".")),
    };
    let served;
    let what = match (&args.proxy, &args.files) {
        _ if !roots.is_empty() => None,
        (Some(url), _) => Some(BuiltIn::Proxy(url)),
        (None, Some(root)) => {
            served = root.canonicalize().ok().filter(|p| p.is_dir()).ok_or_else(|| {
                Failure::new(Exit::NoInput, format!("there is no folder {}", root.display()))
            })?;
            Some(BuiltIn::Files(&served))
        }
        (None, None) => Some(BuiltIn::Welcome),
    };
    let built_in = what.map(|what| what.document(args.listen.as_deref(), args.admin.as_deref())).transpose();
    let built_in = built_in.map_err(|e| Failure::new(Exit::Software, e.to_string()))?;
    let data_dir = Some(data_dir.to_owned());
    Ok(Options { built_in, folder, data_dir, strict: args.strict, ..Options::new(loader(), roots) })
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

async fn serve(
    runtime: &Runtime,
    data_dir: PathBuf,
    mut options: Options,
    started: Started,
    log: &LogControl,
) -> Result<Exit, Failure> {
    let system = |error: io::Error| Failure::new(Exit::System, format!("cannot start: {error}"));
    // Caught before anything runs: a signal that comes early counts too.
    let mut stop = Stop::catch().map_err(system)?;
    let hangup = Hangup::catch().map_err(system)?;
    reap::orphans().map_err(system)?;
    let overseer = Overseer::new(started.parent);
    let mut orders = overseer.orders().map_err(system)?;
    let (settings, heartbeat) = watch::channel(config::Process::default());
    let pulse = Pulse::start(&overseer, heartbeat);
    let begin = tokio::select! {
        begin = told_to_begin(&overseer, &mut orders) => begin,
        () = stop.asked() => None,
    };
    let Some((begin, saved)) = begin else { return Ok(Exit::Ok) };
    options.begin = if options.strict { Begin::Files } else { begin };
    make_data_dir(&data_dir)?;
    let fds = Fds::new(started.sockets, overseer.keeper());
    let admin = Admin::new(runtime.handle().clone(), fds.clone(), data_dir.clone());
    let before = Before { fds: fds.clone(), saved, together: overseer.is_there() };
    let gate = Gate::new(runtime.handle().clone(), before, admin.clone(), log.clone(), settings);
    let gate = gate.map_err(system)?;
    let (gateway, process) = (gate.gateway(), gate.process());
    let engine = tokio::select! {
        started = start(gate, options) => started.map_err(|e| failure(&e))?,
        () = stop.asked() => return Ok(Exit::Ok),
    };
    pulse.looks_at(&gateway);
    // A worker that answers has opened what it serves: the process before leaves once we say that we do.
    if !gateway.is_alive(OPEN_WAIT).await {
        tracing::warn!("a worker is slow to open its sockets");
    }
    // How it means to be treated, then that it serves. Before anybody can see that it serves: whoever does may ask for an upgrade.
    overseer.say(&ToParent::Alive(terms(&process.borrow())));
    overseer.say(&ToParent::Serving { revision: engine.running().id.to_string() });
    admin.serve(engine.clone(), gateway.clone(), overseer.clone());
    hangup.reload(&engine);
    announce(&engine, &gateway, &admin, &data_dir);
    tokio::spawn(report(engine.downgrade(), engine.subscribe(), overseer.clone()));

    let over = obey(&overseer, &engine, &gateway, &fds, &mut stop, &mut orders).await;
    let drain = process.borrow().drain.clone();
    let ending = Ending { engine, gateway, admin, drain };
    Ok(match over {
        Over::Left => ending.leave(&mut stop, &mut orders).await,
        Over::Stopped => {
            overseer.say(&ToParent::Stopping);
            ending.stop(&mut stop).await
        }
    })
}

/// Why a gateway ends.
enum Over {
    /// By a signal, or because its supervisor is gone.
    Stopped,
    /// Another process serves.
    Left,
}

/// What to begin with, and what the process before left. `None`: whoever would say so is gone.
async fn told_to_begin(
    overseer: &Overseer,
    orders: &mut mpsc::UnboundedReceiver<Heard>,
) -> Option<(Begin, Vec<Carried>)> {
    if !overseer.is_there() {
        return Some((Begin::Files, Vec::new()));
    }
    overseer.say(&ToParent::Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: std::process::id(),
        takeover: TAKEOVER,
    });
    loop {
        match orders.recv().await? {
            (ToChild::Begin(begin), state) => {
                if !begin.because.is_empty() {
                    tracing::warn!(because = begin.because, "taking the place of another process");
                }
                let from = match begin.from {
                    From::Document => Begin::Files,
                    From::Last => Begin::Last,
                    From::Previous => Begin::Previous,
                };
                return Some((from, state.map(overseer::read).unwrap_or_default()));
            }
            (ToChild::Facts(facts), _) => overseer.learned(facts),
            _ => {}
        }
    }
}

/// Does what the supervisor says until the gateway is to end.
async fn obey(
    overseer: &Overseer,
    engine: &Handle,
    gateway: &Gateway,
    fds: &Fds,
    stop: &mut Stop,
    orders: &mut mpsc::UnboundedReceiver<Heard>,
) -> Over {
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = stop.asked() => return Over::Stopped,
        };
        match order.map(|(order, _)| order) {
            Some(ToChild::Pause) => {
                tracing::info!("another process is about to take over: no changes meanwhile");
                engine.pause().await;
                fds.leave();
                overseer.say_with_state(&ToParent::Paused, &gateway.save().await);
            }
            Some(ToChild::Resume) => {
                tracing::warn!("the other process failed: going on");
                fds.stay();
                engine.resume();
                overseer.say(&ToParent::Serving { revision: engine.running().id.to_string() });
            }
            Some(ToChild::Leave) => return Over::Left,
            Some(ToChild::Upgraded { ok, text }) => overseer.upgraded(ok, &text),
            Some(ToChild::Facts(facts)) => overseer.learned(facts),
            Some(ToChild::Begin(_) | ToChild::Finish) => {}
            None => {
                tracing::error!(
                    "the supervisor is gone: stopping, so that its successor can have the addresses"
                );
                return Over::Stopped;
            }
        }
    }
}

/// Tells the overseer of changes, for as long as they are made here.
async fn report(engine: WeakHandle, mut notices: broadcast::Receiver<Arc<Notice>>, overseer: Arc<Overseer>) {
    loop {
        match notices.recv().await.as_deref() {
            Ok(Notice::Received { .. }) => overseer.say(&ToParent::Reloading),
            Ok(Notice::Ended { .. }) | Err(RecvError::Lagged(_)) => {
                let Some(engine) = engine.upgrade() else { return };
                overseer.say(&ToParent::Serving { revision: engine.running().id.to_string() });
            }
            Ok(_) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// What this process asks of its supervisor.
fn terms(process: &config::Process) -> Terms {
    let watchdog_ms = u32::try_from(process.watchdog.as_millis()).unwrap_or(u32::MAX);
    Terms { watchdog_ms, draining_max: process.drain.processes }
}

/// Says again and again that this process works, if it does.
struct Pulse(watch::Sender<Option<Arc<Gateway>>>);

impl Pulse {
    fn start(overseer: &Arc<Overseer>, mut settings: watch::Receiver<config::Process>) -> Pulse {
        let (pulse, gateway) = watch::channel(None::<Arc<Gateway>>);
        let overseer = overseer.clone();
        tokio::spawn(async move {
            loop {
                let watchdog = *settings.borrow_and_update().watchdog;
                let gateway = gateway.borrow().clone();
                let works = match gateway {
                    Some(gateway) => gateway.is_alive(watchdog / 2).await,
                    None => true,
                };
                if works {
                    overseer.say(&ToParent::Alive(terms(&settings.borrow())));
                } else {
                    tracing::error!("a worker does not answer");
                }
                // Changed settings count at once. Without a gateway any more, nobody changes them.
                tokio::select! {
                    () = sleep(watchdog / BEATS) => {}
                    Ok(()) = settings.changed() => {}
                }
            }
        });
        Pulse(pulse)
    }

    /// From now on a worker that hangs counts.
    fn looks_at(&self, gateway: &Arc<Gateway>) {
        self.0.send_replace(Some(gateway.clone()));
    }
}

/// Only its owner may look into it: revisions are kept in it.
fn make_data_dir(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| {
        let text = format!("cannot make the data directory {}: {e}; say --data-dir", folder.display());
        Failure::new(Exit::CannotCreate, text)
    })
}

fn announce(engine: &Handle, gateway: &Arc<Gateway>, admin: &Admin, data_dir: &Path) {
    let shown = |l: &ListenerStatus| format!("{} {}://{}", l.name, l.carries.scheme(l.tls), l.address);
    let listeners: Vec<String> = gateway.listeners().iter().map(shown).collect();
    let running = engine.running();
    let count = |section: &str| running.document.get(section).and_then(|n| n.as_map()).map_or(0, |m| m.len());
    let found = admin.whereabouts();
    tracing::info!(
        listeners = if listeners.is_empty() { "none".to_owned() } else { listeners.join(", ") },
        routes = count("routes"),
        upstreams = count("upstreams"),
        workers = gateway.workers(),
        admin = found.as_ref().map(|f| format!("http://{}", f.address)),
        socket = found.as_ref().map(|f| place::shown(&f.socket)),
        data_dir = %place::shown(data_dir),
        overlay = running.layers.has_overlay(),
        revision = %running.id,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
}

fn failure(error: &StartError) -> Failure {
    let exit = match error {
        StartError::Refused(report) => exit_of(report),
        StartError::DataDir(..) => Exit::Io,
        StartError::Locked(_) => Exit::Unavailable,
        StartError::Thread(_) => Exit::System,
        StartError::Ended => Exit::Software,
    };
    let text = match error {
        StartError::Locked(folder) => format!(
            "the data directory {} is in use by another gateway; a second one needs its own --data-dir",
            folder.display()
        ),
        other => other.to_string(),
    };
    Failure { exit, text: text.trim_end().to_owned() }
}

/// The exit code that says most: what must be mended first.
fn exit_of(report: &Report) -> Exit {
    let has = |codes: &[&str]| {
        report.iter().any(|d| d.severity == Severity::Error && codes.contains(&d.code.as_ref()))
    };
    if has(&["unreadable"]) {
        Exit::NoInput
    } else if has(&["syntax", "duplicate_key", "limit", "empty"]) {
        Exit::Data
    } else if has(&["bind"]) {
        Exit::Unavailable
    } else {
        Exit::Config
    }
}

#[cfg(test)]
mod tests {
    use evergate_conf::{Path as Field, Place};

    use super::*;

    #[test]
    fn start_failures_have_exit_codes() {
        for (codes, exit) in [
            (&["unknown_key"][..], 78),
            (&["bind"], 69),
            (&["bind", "syntax"], 65),
            (&["unknown_key", "unreadable"], 66),
        ] {
            let mut report = Report::new();
            for code in codes {
                report.problem(code, &Field::root(), Place::default(), "x");
            }
            let failure = failure(&StartError::Refused(Arc::new(report)));
            assert_eq!(failure.exit as u8, exit, "{codes:?}");
        }
        let locked = failure(&StartError::Locked("/d".into()));
        assert_eq!((locked.exit, locked.text.contains("/d")), (Exit::Unavailable, true));
        assert_eq!(failure(&StartError::Thread(io::Error::other("x"))).exit, Exit::System);
    }

    #[test]
    fn warnings_decide_nothing() {
        let mut report = Report::new();
        report.warning("bind", &Field::root(), Place::default(), "x");
        report.problem("x", &Field::root(), Place::default(), "x");
        assert_eq!(exit_of(&report), Exit::Config);
    }
}
