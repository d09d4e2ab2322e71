//! The real binary as a process of its own: started on free ports in a folder of its own, changed, asked,
//! killed. Ends only what it started itself.

mod command;
mod launch;
mod logs;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

use crate::{
    client::{Answer, Ask, Door},
    events::Events,
    patch::merge_patch,
    process::{self, PATIENCE, Signal},
};

pub use command::{Said, run};
pub use launch::{Died, Launch};

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

/// A running gateway. Killed when dropped.
pub struct Gate {
    /// Where its admin API is.
    pub admin: SocketAddr,
    binary: PathBuf,
    child: Child,
    home: Option<Home>,
    logs: logs::Logs,
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
        let ask = Ask::get("/readyz").host("localhost");
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

    /// The process that serves, which is not [`Gate::pid`] under a supervisor. For a moment after its death there is none.
    pub async fn serving(&self) -> Option<u32> {
        let ask = Ask::get("/api/v1/status").host("localhost");
        let answer = Door::clear(self.admin).ask(&ask).await.ok()?;
        u32::try_from(answer.json()["pid"].as_u64()?).ok()
    }

    /// Sends a signal to the process that serves, under a supervisor; says which it was.
    pub async fn signal_serving(&self, signal: Signal) -> u32 {
        let serving = self.serving().await.expect("somebody serves");
        assert_ne!(serving, self.pid(), "it has no supervisor");
        process::signal(serving, signal);
        serving
    }

    /// Follows events anew: those who told them are gone when another process serves. It looks at the files once it does;
    /// a change that is made afterwards has a verdict of its own.
    pub async fn follow_again(&mut self) {
        let looked = self.call("POST", "/reload", &json!({})).await;
        assert_eq!(looked.status, 200, "{}", looked.text());
        self.events = Some(Events::follow(self.admin).await.expect("an event stream"));
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
        let ask = ask.clone().host("localhost");
        Door::clear(self.admin).ask(&ask).await.unwrap_or_else(|failure| {
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
        process::signal(self.pid(), signal);
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
