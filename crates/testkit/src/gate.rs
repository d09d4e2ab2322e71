//! The real binary as a process of its own: started on free ports in a folder of its own, changed, asked,
//! killed. Ends only what it started itself.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::{
    client::{Answer, Ask, Door},
    events::Events,
    ports, process,
    scene::merge_patch,
};

/// Longest that anything may take before a test is taken to hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a document and a data directory; outlives the processes that use it.
pub struct Home {
    folder: TempDir,
    /// The document.
    pub file: PathBuf,
}

impl Home {
    /// A new one, without a document.
    #[must_use]
    pub fn new() -> Home {
        let folder = tempfile::Builder::new().prefix("evergate-test-").tempdir().expect("a folder");
        let file = folder.path().join("gate.yaml");
        Home { folder, file }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Puts a document in place of the old one in one step.
    pub fn write(&self, text: &str) {
        let draft = self.path().join(".gate.yaml.new");
        std::fs::write(&draft, text).expect("document written");
        std::fs::rename(&draft, &self.file).expect("document in place");
    }

    /// Overwrites the document where it is.
    pub fn write_in_place(&self, text: &str) {
        std::fs::write(&self.file, text).expect("document written");
    }
}

impl Default for Home {
    fn default() -> Self {
        Home::new()
    }
}

/// How to start a gateway.
pub struct Launch {
    binary: PathBuf,
    home: Home,
    args: Option<Vec<String>>,
    extra: Vec<String>,
    env: BTreeMap<String, String>,
    admin: SocketAddr,
}

/// A gateway that ended before it was ready.
#[derive(Debug)]
pub struct Died {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said.
    pub logs: Vec<String>,
}

impl Launch {
    /// Of the binary at this path, or in `EVERGATE_BIN`. Callers pass `env!("CARGO_BIN_EXE_evergate")`.
    #[must_use]
    pub fn new(binary: &str) -> Launch {
        Launch {
            binary: std::env::var_os("EVERGATE_BIN").map_or_else(|| binary.into(), PathBuf::from),
            home: Home::new(),
            args: None,
            extra: Vec::new(),
            env: BTreeMap::new(),
            admin: ports::free(),
        }
    }

    /// In the folder of an earlier one.
    #[must_use]
    pub fn home(mut self, home: Home) -> Launch {
        self.home = home;
        self
    }

    /// The folder it will run in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// With this document. One that says no admin address gets one.
    #[must_use]
    pub fn document(mut self, document: &Value) -> Launch {
        let whole = with_admin(document, self.admin);
        if let Some(address) = whole["admin"]["address"].as_str().and_then(|a| a.parse().ok()) {
            self.admin = address;
        }
        self.home.write(&pretty(&whole));
        self
    }

    /// With this text as it is; it has to put the admin API at [`Launch::admin`].
    #[must_use]
    pub fn text(self, text: &str) -> Launch {
        self.home.write(text);
        self
    }

    /// Where the admin API has to be.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The admin API is there: for a home whose document says so already.
    #[must_use]
    pub fn admin_at(mut self, address: SocketAddr) -> Launch {
        self.admin = address;
        self
    }

    /// With one more argument after `run`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Launch {
        self.extra.push(arg.to_owned());
        self
    }

    /// With these in place of the document's path.
    #[must_use]
    pub fn instead_of_file(mut self, args: &[&str]) -> Launch {
        self.args = Some(args.iter().map(|a| (*a).to_owned()).collect());
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts it and waits until it is ready. Panics with what it said if it ends or hangs.
    pub async fn start(self) -> Gate {
        match self.try_start().await {
            Ok(gate) => gate,
            Err(died) => panic!("the gateway ended with {:?}:\n{}", died.code, died.logs.join("\n")),
        }
    }

    /// Starts it and waits until it is ready or ends.
    ///
    /// # Errors
    /// If it ends.
    pub async fn try_start(self) -> Result<Gate, Died> {
        let mut gate = self.spawn();
        gate.wait_ready().await?;
        gate.events = Some(Events::follow(gate.admin).await.expect("an event stream"));
        gate.churn_by_environment();
        Ok(gate)
    }

    /// Starts it and waits for nothing.
    #[must_use]
    pub fn spawn(self) -> Gate {
        let file = self.home.file.display().to_string();
        let mut command = Command::new(&self.binary);
        command
            .arg("run")
            .args(self.args.unwrap_or_else(|| vec![file]))
            .arg("--data-dir")
            .arg(self.home.data())
            .args(&self.extra)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.binary.display()));
        let logs = Logs::read(child.stderr.take().expect("a pipe"));
        let home = Some(self.home);
        Gate { admin: self.admin, binary: self.binary, child, home, logs, events: None, churn: None }
    }
}

/// A running gateway. Killed when dropped.
pub struct Gate {
    /// Where its admin API is.
    pub admin: SocketAddr,
    pub(crate) binary: PathBuf,
    child: Child,
    home: Option<Home>,
    logs: Logs,
    events: Option<Events>,
    churn: Option<crate::churn::Churn>,
}

impl Gate {
    /// Starts one with this document.
    pub async fn start(binary: &str, document: &Value) -> Gate {
        Launch::new(binary).document(document).start().await
    }

    async fn wait_ready(&mut self) -> Result<(), Died> {
        let until = Instant::now() + PATIENCE;
        let ask = Ask::get("/readyz");
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return Err(Died { code: status.code(), logs: self.logs.all().await });
            }
            if Door::clear(self.admin).ask(&ask).await.is_ok_and(|a| a.status == 200) {
                return Ok(());
            }
            assert!(Instant::now() < until, "not ready:\n{}", self.logs.now().join("\n"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn churn_by_environment(&mut self) {
        let every = std::env::var("EVERGATE_CHURN_MS").ok().and_then(|ms| ms.parse().ok());
        if let Some(every) = every {
            self.churn(Duration::from_millis(every));
        }
    }

    /// Reloads every so often from now on: in turn a change that nothing uses and one that changes nothing.
    pub fn churn(&mut self, every: Duration) {
        self.churn = Some(crate::churn::Churn::start(self.admin, every));
    }

    /// Ends [`Gate::churn`] and says how many reloads there were.
    pub async fn calm(&mut self) -> usize {
        match self.churn.take() {
            Some(churn) => churn.stop().await,
            None => 0,
        }
    }

    /// Its folder.
    #[must_use]
    pub fn home(&self) -> &Home {
        self.home.as_ref().expect("kept until the end")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("still running")
    }

    /// Resident memory in KiB.
    #[must_use]
    pub fn rss_kib(&self) -> u64 {
        process::rss_kib(self.pid())
    }

    /// Open descriptors.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        process::descriptors(self.pid())
    }

    /// Changes the document by renaming a new file over it, and waits for the verdict.
    pub async fn change(&self, document: &Value) -> Value {
        self.change_text(&pretty(&with_admin(document, self.admin))).await
    }

    /// The same with a text as it is.
    pub async fn change_text(&self, text: &str) -> Value {
        let mark = self.events().mark();
        self.home().write(text);
        self.events().verdict(mark, "file").await
    }

    /// Does something to files, and waits for the verdict on it.
    pub async fn touch(&self, act: impl FnOnce(&Home)) -> Value {
        let mark = self.events().mark();
        act(self.home());
        self.events().verdict(mark, "file").await
    }

    /// Changes the document and panics unless it is applied; says the new revision.
    pub async fn apply(&self, document: &Value) -> String {
        let verdict = self.change(document).await;
        assert_eq!(verdict["verdict"], "applied", "{verdict:#}");
        verdict["revision"].as_str().expect("a revision").to_owned()
    }

    /// Changes what the file says by a merge patch and panics unless it is applied.
    pub async fn amend(&self, patch: &Value) -> String {
        let text = std::fs::read_to_string(&self.home().file).expect("a document");
        let mut document = serde_json::from_str(&text).expect("a document that the kit wrote");
        merge_patch(&mut document, patch);
        self.apply(&document).await
    }

    /// Writes a document and waits for nothing.
    pub fn write(&self, document: &Value) {
        self.home().write(&pretty(&with_admin(document, self.admin)));
    }

    /// What has happened since the start, as the event stream tells it.
    #[must_use]
    pub fn events(&self) -> &Events {
        self.events.as_ref().expect("started and ready")
    }

    /// The admin API has moved: speaks to it there from now on.
    pub async fn admin_moved(&mut self, to: SocketAddr) {
        self.admin = to;
        self.events = Some(Events::follow(to).await.expect("an event stream"));
    }

    /// Asks the admin API.
    pub async fn api(&self, ask: &Ask) -> Answer {
        Door::clear(self.admin).ask(ask).await.unwrap_or_else(|failure| {
            panic!("admin API: {failure:?}\n{}", self.logs.now().join("\n"));
        })
    }

    /// `GET` below `/api/v1`, as JSON.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.api(&Ask::get(&format!("/api/v1{path}"))).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    /// A call below `/api/v1` with a JSON body.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let ask = Ask::post(&format!("/api/v1{path}"), body.to_string()).method(method);
        self.api(&ask.field("content-type", kind)).await
    }

    /// Changes the overlay by a merge patch and answers the verdict.
    pub async fn patch(&self, patch: &Value) -> Value {
        self.call("PATCH", "/config", patch).await.json()
    }

    /// What it says of itself.
    pub async fn status(&self) -> Value {
        self.get("/status").await
    }

    /// The running revision.
    pub async fn revision(&self) -> String {
        let answer = self.api(&Ask::get("/api/v1/config")).await;
        answer.fields.get("etag").expect("an ETag").trim_matches('"').to_owned()
    }

    /// Generations that are alive.
    pub async fn generations(&self) -> usize {
        self.status().await["generations"].as_array().expect("a list").len()
    }

    /// Waits until only the running generation is alive.
    pub async fn settle(&self) {
        self.until("one generation", async || self.generations().await == 1).await;
    }

    /// Waits until something holds. Panics with the log if it does not come true.
    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < until, "{what}: not so\n{}", self.logs.now().join("\n"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `/metrics` as text.
    pub async fn metrics(&self) -> String {
        self.api(&Ask::get("/metrics")).await.text()
    }

    /// One sample: its name with labels as `/metrics` prints them.
    pub async fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.metrics().await;
        text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
    }

    /// Lines that it has logged up to now.
    #[must_use]
    pub fn logs(&self) -> Vec<String> {
        self.logs.now()
    }

    /// Waits for a line of the log.
    pub async fn log_line(&self, fits: impl Fn(&str) -> bool) -> String {
        self.logs.wait(fits).await
    }

    /// Runs the command line of the same binary against this gateway.
    pub async fn cli(&self, args: &[&str]) -> Said {
        let data = self.home().data().display().to_string();
        let mut all = args.to_vec();
        all.extend(["--data-dir", &data]);
        run(&self.binary, &all, self.home().path()).await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Hangup => rustix::process::Signal::HUP,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Interrupt => rustix::process::Signal::INT,
        };
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process id"), signal).expect("still running");
    }

    /// Kills it at once and gives its folder back.
    pub async fn kill9(mut self) -> Home {
        self.child.kill().await.expect("a child");
        self.home.take().expect("kept until the end")
    }

    /// Waits until it has ended by itself; says its exit code, if it was no signal.
    pub async fn ended(&mut self) -> Option<i32> {
        let end = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        end.unwrap_or_else(|_| panic!("still running:\n{}", self.logs.now().join("\n")))
            .expect("a child")
            .code()
    }

    /// Asks it to stop, waits until it has, and gives its folder back. Panics unless it ends well.
    pub async fn stop(mut self) -> Home {
        self.signal(Signal::Terminate);
        let code = self.ended().await;
        assert_eq!(code, Some(0), "stopped with {code:?}:\n{}", self.logs.now().join("\n"));
        self.home.take().expect("kept until the end")
    }
}

/// Signals that a gateway understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Reload.
    Hangup,
    /// Drain and stop.
    Terminate,
    /// Stop; at once the second time.
    Interrupt,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_default()
    }
}

/// Runs a command of a binary in a folder to its end.
pub async fn run(binary: &Path, args: &[&str], folder: &Path) -> Said {
    let mut command =
        Command::new(std::env::var_os("EVERGATE_BIN").map_or_else(|| binary.into(), PathBuf::from));
    command.args(args).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} hangs")).expect("a child");
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The document with an admin address, unless it has one.
fn with_admin(document: &Value, admin: SocketAddr) -> Value {
    let mut whole = document.clone();
    if whole["admin"]["address"].is_null() {
        whole["admin"]["address"] = json!(admin.to_string());
    }
    whole
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).expect("JSON")
}

/// Lines of a child as they come.
struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Logs {
    fn read(pipe: tokio::process::ChildStderr) -> Logs {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (send, count) = watch::channel(0);
        let writer = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = pipe.next_line().await {
                writer.lock().expect("no panic").push(line);
                send.send_modify(|n| *n += 1);
            }
        });
        Logs { lines, count }
    }

    fn now(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// Everything, once the child has ended.
    async fn all(&self) -> Vec<String> {
        let mut count = self.count.clone();
        while count.changed().await.is_ok() {}
        self.now()
    }

    async fn wait(&self, fits: impl Fn(&str) -> bool) -> String {
        let mut count = self.count.clone();
        let mut from = 0;
        let search = async {
            loop {
                count.borrow_and_update();
                let lines = self.now();
                if let Some(line) = lines.iter().skip(from).find(|l| fits(l)) {
                    return line.clone();
                }
                from = lines.len();
                count.changed().await.expect("the gateway still runs");
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(line) => line,
            Err(_) => panic!("no such line:\n{}", self.now().join("\n")),
        }
    }
}
