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
    config::Log,
    status::{ListenerStatus, Running},
};
use evergate_kit::Fds;
use evergate_proxy::Gateway;
use evergate_reload::{Handle, Hangup, Options, StartError, start};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use crate::{
    built_in::BuiltIn,
    cli::RunArgs,
    compose::{Gate, loader},
    exit::Exit,
    log::{self, LogControl},
    place,
};

/// For requests to finish after SIGTERM; what is open then is cut.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether they have.
const DRAIN_LOOK: Duration = Duration::from_millis(10);
/// For calls of the admin API to finish at the end.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(1);
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
    let data_dir = match args.data_dir.clone().or_else(place::data_dir) {
        Some(folder) => absolute(&folder),
        None => return Err(Failure::new(Exit::Usage, "there is no home directory: say --data-dir")),
    };
    let options = options(args, &data_dir)?;
    let system = |error: io::Error| Failure::new(Exit::System, format!("cannot start: {error}"));
    // Until the document says otherwise.
    let log = log::start(&Log::default()).map_err(system)?;
    raise_open_files();
    let runtime = control_runtime().map_err(system)?;
    let ended = runtime.block_on(serve(&runtime, data_dir, options, &log));
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
    options: Options,
    log: &LogControl,
) -> Result<Exit, Failure> {
    let system = |error: io::Error| Failure::new(Exit::System, format!("cannot start: {error}"));
    // Caught before anything runs: a signal that comes early counts too.
    let mut stop = Stop::catch().map_err(system)?;
    let hangup = Hangup::catch().map_err(system)?;
    make_data_dir(&data_dir)?;
    let fds = Fds::default();
    let admin = Admin::new(runtime.handle().clone(), fds.clone(), data_dir.clone());
    let gate = Gate::new(runtime.handle().clone(), fds, admin.clone(), log.clone()).map_err(system)?;
    let gateway = gate.gateway();
    let engine = tokio::select! {
        started = start(gate, options) => started.map_err(|e| failure(&e))?,
        () = stop.asked() => return Ok(Exit::Ok),
    };
    admin.serve(engine.clone(), gateway.clone());
    hangup.reload(&engine);
    announce(&engine, &gateway, &admin, &data_dir);

    stop.asked().await;
    tokio::select! {
        exit = drain(&engine, &gateway, &admin) => Ok(exit),
        () = stop.asked() => {
            tracing::warn!("asked to stop again: what is open is cut");
            Ok(Exit::Interrupted)
        }
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

/// Ends in the order in which others rely on it: no new work, no new changes, then the work that is left.
async fn drain(engine: &Handle, gateway: &Arc<Gateway>, admin: &Admin) -> Exit {
    admin.drain();
    tracing::info!(deadline_s = DRAIN_TIMEOUT.as_secs(), "draining");
    engine.stop().await;
    gateway.drain();
    let began = Instant::now();
    while !gateway.is_drained() && began.elapsed() < DRAIN_TIMEOUT {
        sleep(DRAIN_LOOK).await;
    }
    if !gateway.is_drained() {
        let open: u64 = gateway.listeners().iter().map(|l| l.connections).sum();
        tracing::warn!(connections = open, "the time to drain is over: what is open is cut");
    }
    gateway.stop();
    if timeout(ADMIN_TIMEOUT, admin.close()).await.is_err() {
        tracing::debug!("an admin connection did not end in time");
    }
    tracing::info!("stopped");
    Exit::Ok
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn catch() -> io::Result<Stop> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next of either.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
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
