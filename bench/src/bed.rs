//! Where proxies run: backends, certificates, folders and addresses; what has been started and what could not be.
//! Proxies are on core 0, everything else is on core 1.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use evergate_testkit::{Answer, Ask, Authority, Backend, Door, ports, process, unary};
use tempfile::TempDir;

use crate::{
    peers::{CORES, Found, Job, Peer, Site, pinned, signal},
    template::{Words, fill, host},
};

/// The name that clients ask for where there are no hosts to choose from.
pub(crate) const NAME: &str = "localhost";
/// The host whose backend speaks WebSocket.
pub(crate) const SOCKETS: &str = "socket.test";
/// Bodies by path, in bytes.
pub(crate) const BODIES: [(&str, usize); 4] =
    [("1k", 1000), ("100k", 100_000), ("1m", 1_000_000), ("10m", 10_000_000)];
/// Longest that a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// Everything that is running.
pub(crate) struct Bed {
    started: RefCell<BTreeMap<(&'static str, String), Start>>,
    count: Cell<usize>,
    words: Words,
    authority: Authority,
    _backend: Running,
    /// The last to go: the others have files in it.
    folder: TempDir,
}

/// A running proxy, or why there is none.
type Start = Result<Rc<Instance>, String>;

/// A running proxy.
pub(crate) struct Instance {
    pub peer: &'static dyn Peer,
    pub job: Job,
    pub site: Site,
    /// From exec to the first answer.
    pub start: Duration,
    /// It has had load before.
    pub warm: Cell<bool>,
    /// Changes that it has seen.
    pub turn: Cell<usize>,
    running: Running,
}

/// A process that ends, with its descendants, when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let family = process::family(self.0.id());
        let _ = signal(self.0.id(), rustix::process::Signal::TERM);
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until && self.0.try_wait().is_ok_and(|s| s.is_none()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Old workers may outlive the one that was told: what was there and is there yet ends now.
        let left = family.into_iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists());
        left.for_each(|pid| drop(signal(pid, rustix::process::Signal::KILL)));
        let _ = self.0.wait();
    }
}

impl Bed {
    /// Starts the backends.
    pub(crate) async fn new() -> Bed {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir().expect("a folder");
        let authority = Authority::new();
        let leaf = authority.leaf(&[NAME]);
        leaf.write(folder.path(), "leaf");
        let both = format!("{}{}", leaf.cert, leaf.key);
        std::fs::write(folder.path().join("both.pem"), both).expect("a certificate");
        let files = folder.path().join("files");
        std::fs::create_dir(&files).expect("a folder");
        for (name, size) in BODIES {
            std::fs::write(files.join(name), "a".repeat(size)).expect("a file");
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut words = Words::from([
            ("FILES", path("files")),
            ("CERT", path("leaf.pem")),
            ("KEY", path("leaf.key")),
            ("PEM", path("both.pem")),
        ]);
        for (name, port) in
            [("A", "A_PORT"), ("B", "B_PORT"), ("H2C", "H2C_PORT"), ("GRPC", "GRPC_PORT"), ("WS", "WS_PORT")]
        {
            add(&mut words, name, port, ports::free());
        }
        let address = |word: &str| words[word].parse().expect("an address");
        sockets(address("WS"));
        unary::serve(address("GRPC")).expect("a gRPC backend");
        let backend = backend(folder.path(), &words).await;
        let (started, count) = (RefCell::default(), Cell::new(0));
        Bed { folder, words, authority, _backend: backend, started, count }
    }

    /// A proxy with a job; it is started unless it runs already. A failure is remembered.
    pub(crate) async fn get(&self, found: &Found, job: Job) -> Result<Rc<Instance>, String> {
        if let Some(why) = found.peer.lacks(job) {
            return Err(why.to_owned());
        }
        let key = (found.peer.name(), job.to_string());
        if let Some(known) = self.started.borrow().get(&key) {
            return known.clone();
        }
        let instance = self.start(found, job).await.map(Rc::new);
        self.started.borrow_mut().insert(key, instance.clone());
        instance
    }

    /// Ends one, so that the next [`Bed::get`] starts it anew.
    pub(crate) fn end(&self, found: &Found, job: Job) {
        self.started.borrow_mut().remove(&(found.peer.name(), job.to_string()));
    }

    /// Ends all.
    pub(crate) fn clear(&self) {
        self.started.borrow_mut().clear();
    }

    async fn start(&self, found: &Found, job: Job) -> Result<Instance, String> {
        self.count.set(self.count.get() + 1);
        let name = format!("{}-{job}-{}", found.peer.name(), self.count.get());
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let mut words = self.words.clone();
        let [listen, tls, admin] = [ports::free(), ports::free(), ports::free()];
        words.insert("DIR", folder.display().to_string());
        add(&mut words, "LISTEN", "LISTEN_PORT", listen);
        add(&mut words, "TLS", "TLS_PORT", tls);
        words.insert("ADMIN", admin.to_string());
        let site = Site { folder, program: found.program.clone(), words, listen, tls, admin };
        site.write(found.peer, job);
        let log = File::create(site.folder.join("log")).expect("a log");
        let mut command = pinned(CORES[0], &site.program);
        command.args(found.peer.args(&site, job)).current_dir(&site.folder).env("HOME", &site.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let exec = Instant::now();
        let child = command.spawn().map_err(|e| e.to_string())?;
        let mut instance = Instance {
            peer: found.peer,
            job,
            site,
            start: Duration::ZERO,
            warm: Cell::new(false),
            turn: Cell::new(0),
            running: Running(child),
        };
        self.ready(&mut instance, exec).await?;
        instance.start = exec.elapsed();
        Ok(instance)
    }

    async fn ready(&self, instance: &mut Instance, exec: Instant) -> Result<(), String> {
        let mut last = String::new();
        while exec.elapsed() < START_MAX {
            if let Ok(Some(status)) = instance.running.0.try_wait() {
                return Err(format!("ended with {status}: {}", instance.said()));
            }
            match self.probe(instance).await {
                Ok(()) => return Ok(()),
                Err(why) => last = why,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let why = format!("no answer within {} s: {last} {}", START_MAX.as_secs(), instance.said());
        Err(why.trim().to_owned())
    }

    /// Looks whether a proxy does its job right: status, body, and who answered.
    pub(crate) async fn probe(&self, instance: &Instance) -> Result<(), String> {
        let clear = Door::clear(instance.site.listen);
        let client = |alpn: &[&str]| self.authority.client(alpn);
        match instance.job {
            Job::Plain => {
                right(&clear.ask(&Ask::get("/").host(NAME)).await, b'a', None)?;
                let tls = Door::tls(instance.site.tls, client(&["http/1.1"]), NAME);
                right(&tls.ask(&Ask::get("/").host(NAME)).await, b'a', None)?;
                right(&tls.h2().ask(&Ask::get("/").host(NAME)).await, b'a', None)
            }
            Job::H2 => {
                let door = Door::tls(instance.site.tls, client(&["h2"]), NAME).h2();
                right(&door.ask(&Ask::get("/").host(NAME)).await, b'h', None)?;
                let call = Ask::post(unary::CALL, unary::MESSAGE.to_vec()).host(NAME);
                let call = call.field("content-type", "application/grpc").field("te", "trailers");
                let answer = door.ask(&call).await;
                right(&answer, 0, Some(unary::MESSAGE.len()))?;
                let status = answer.ok().and_then(|a| a.trailers.get("grpc-status").map(str::to_owned));
                if status.as_deref() == Some("0") { Ok(()) } else { Err(format!("grpc-status: {status:?}")) }
            }
            Job::Files => {
                let answer = clear.ask(&Ask::get("/1k").host(NAME)).await;
                right(&answer, b'a', Some(1000))
            }
            Job::Hosts(count) | Job::Split(count) => {
                let some = [0, count / 3, count / 2, count - 1];
                for number in some {
                    let answer = clear.ask(&Ask::get("/").host(&host(number))).await;
                    let to = crate::template::backend(count, number, instance.turn.get());
                    right(&answer, to as u8, None)?;
                }
                Ok(())
            }
        }
    }

    /// Looks whether a path has a body of the right size.
    pub(crate) async fn probe_body(&self, instance: &Instance, path: &str) -> Result<(), String> {
        let Some((_, size)) = BODIES.iter().find(|(name, _)| path.strip_prefix('/') == Some(name)) else {
            return Ok(());
        };
        let answer = Door::clear(instance.site.listen).ask(&Ask::get(path).host(NAME)).await;
        right(&answer, b'a', Some(*size))
    }
}

/// Linux fixes the length of a tick for user space.
const TICKS: f64 = 100.0;

/// See [`Instance::clock`].
pub(crate) struct Clock {
    own: f64,
    idle: f64,
    at: Instant,
}

/// What a proxy has used since an earlier look.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// CPU seconds.
    pub cpu: f64,
    /// Share of its core's time that it had.
    pub busy: f64,
    /// Share in which the core did nothing.
    pub idle: f64,
}

impl Clock {
    pub(crate) fn used(&self, instance: &Instance) -> Used {
        let now = instance.clock();
        let seconds = (now.at - self.at).as_secs_f64();
        let cpu = now.own - self.own;
        Used { cpu, busy: cpu / seconds, idle: (now.idle - self.idle) / seconds }
    }
}

/// Why a proxy did not have its whole core, if it had not.
pub(crate) fn limited(used: &[Used]) -> Vec<String> {
    let (busy, idle) = (percent(used, |u| u.busy), percent(used, |u| u.idle));
    let slack = busy < 95.0 && idle > 4.0;
    let slack = slack.then(|| format!("load or backend were the limit: core {idle:.0} % idle"));
    slack.into_iter().chain(disturbed(used)).collect()
}

/// Whether others than a proxy had a part of its core.
pub(crate) fn disturbed(used: &[Used]) -> Option<String> {
    let others = 100.0 - percent(used, |u| u.busy) - percent(used, |u| u.idle);
    (others > 4.0).then(|| format!("other programs had {others:.0} % of the core"))
}

fn percent(used: &[Used], of: fn(&Used) -> f64) -> f64 {
    used.iter().map(of).sum::<f64>() / used.len().max(1) as f64 * 100.0
}

/// Time in which a core did nothing, in seconds (proc(5), `/proc/stat`).
fn idle(core: usize) -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(&format!("cpu{core} "))).unwrap_or_default();
    let ticks = line.split_whitespace().skip(3).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}

impl Instance {
    pub(crate) fn pid(&self) -> u32 {
        self.running.0.id()
    }

    /// CPU time of all its processes, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        process::cpu_ticks(self.pid()) as f64 / TICKS
    }

    /// Time until now: its own, and that in which its core did nothing.
    pub(crate) fn clock(&self) -> Clock {
        Clock { own: self.cpu(), idle: idle(CORES[0]), at: Instant::now() }
    }

    /// The end of what it has written to its log.
    pub(crate) fn said(&self) -> String {
        let bytes = std::fs::read(self.site.folder.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).replace(&self.site.folder.display().to_string(), "");
        let lines: Vec<&str> = text.lines().rev().take(2).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" ").chars().take(300).collect()
    }
}

fn add(words: &mut Words, name: &'static str, port: &'static str, address: SocketAddr) {
    words.insert(name, address.to_string());
    words.insert(port, address.port().to_string());
}

/// Status 200 with a body that begins so; without a size, longer than a line would be.
fn right(
    answer: &Result<Answer, evergate_testkit::Failure>,
    first: u8,
    size: Option<usize>,
) -> Result<(), String> {
    let answer = answer.as_ref().map_err(|f| format!("{f:?}"))?;
    let begins = answer.body.first().is_some_and(|b| *b == first);
    let long = size.map_or(answer.body.len() > 70, |size| answer.body.len() == size);
    if answer.status == 200 && begins && long {
        return Ok(());
    }
    Err(format!("status {}, {} bytes", answer.status, answer.body.len()))
}

/// The backend for WebSockets, on a thread of its own.
fn sockets(address: SocketAddr) {
    let run = async move {
        let _backend = Backend::serve("sockets", address, None).await;
        std::future::pending::<()>().await;
    };
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run);
    };
    std::thread::Builder::new().name("sockets".to_owned()).spawn(serve).expect("a thread");
}

/// nginx behind all proxies.
async fn backend(folder: &Path, words: &Words) -> Running {
    let mut words = words.clone();
    words.insert("DIR", folder.display().to_string());
    let file = folder.join("backend.conf");
    let text = fill(&crate::here().join("peers"), "backend.conf", &words, None);
    std::fs::write(&file, text).expect("a configuration");
    let program = PathBuf::from("nginx");
    let mut command = pinned(CORES[1], &program);
    command.arg("-p").arg(folder).args(["-e", "stderr", "-c"]).arg(&file);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let running = Running(command.spawn().expect("taskset and nginx"));
    let until = Instant::now() + Duration::from_secs(10);
    let door = Door::clear(words["A"].parse().expect("an address"));
    while right(&door.ask(&Ask::get("/")).await, b'a', None).is_err() {
        assert!(Instant::now() < until, "the backend does not answer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_was_shared_is_remarked() {
        let load = "load or backend were the limit: core 20 % idle";
        for (busy, idle, expected) in [
            (0.98, 0.01, vec![]),
            (0.80, 0.20, vec![load]),
            (0.60, 0.20, vec![load, "other programs had 20 % of the core"]),
            (0.70, 0.00, vec!["other programs had 30 % of the core"]),
        ] {
            let used = [Used { cpu: 1.0, busy, idle }];
            assert_eq!(limited(&used), expected);
        }
        assert_eq!(disturbed(&[Used { cpu: 1.0, busy: 0.4, idle: 0.6 }]), None);
    }
}
