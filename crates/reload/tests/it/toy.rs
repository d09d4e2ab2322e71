//! A program that is reloaded: a limit, some items, a certificate.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use evergate_conf::{
    FilePath, Loader, Node, Report, Secret, Span, decode,
    node::Place,
    schema::{paths, schema_of},
};
use evergate_reload::{
    Build, Candidate, Draft, Generation, Handle, Holders, Intent, Live, Notice, Options, Origin, Plan,
    RevisionId, Settings, StartError, Target, Touch, Verdict, source::Body, start,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

/// What the toy's document may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Must not be negative.
    pub(crate) limit: i64,
    /// A port that is taken if it is 1.
    pub(crate) port: i64,
    /// Makes the check panic.
    pub(crate) defect: bool,
    pub(crate) items: BTreeMap<String, Item>,
    pub(crate) certificate: Option<FilePath>,
    pub(crate) token: Option<Secret>,
    pub(crate) reload: Reload,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) size: i64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reload {
    pub(crate) watch: bool,
    pub(crate) debounce: Span,
    pub(crate) history: usize,
    pub(crate) generations: usize,
}

impl Default for Reload {
    fn default() -> Reload {
        Reload { watch: true, debounce: Span::millis(20), history: 100, generations: 64 }
    }
}

/// What the toy's requests hold.
pub(crate) struct Snapshot {
    pub(crate) id: RevisionId,
    pub(crate) config: Arc<Config>,
    pub(crate) certificate: Option<String>,
    pub(crate) generation: Generation,
}

/// What of the toy is seen from outside.
#[derive(Clone, Default)]
pub(crate) struct Outside {
    pub(crate) snapshot: Arc<Mutex<Option<Arc<Snapshot>>>>,
    pub(crate) drained: Arc<Mutex<Vec<RevisionId>>>,
    pub(crate) checks: Arc<Mutex<u64>>,
    /// Building waits until this is sent something, or dropped.
    pub(crate) gate: Arc<Mutex<Option<std::sync::mpsc::Receiver<()>>>>,
}

pub(crate) struct Toy(pub(crate) Outside);

impl Target for Toy {
    type Config = Config;
    type Built = Arc<Snapshot>;

    fn check(
        &mut self,
        candidate: Candidate<'_>,
        _: Option<Live<'_, Config>>,
        report: &mut Report,
    ) -> Option<Config> {
        *self.0.checks.lock().unwrap() += 1;
        let config: Config = decode(candidate.document, &evergate_conf::Path::root(), report)?;
        assert!(!config.defect, "told to");
        if config.limit < 0 {
            let place = candidate.document.get("limit").map_or(Place::default(), |n| n.place);
            report.problem("range", &evergate_conf::Path::from(["limit"]), place, "must not be negative");
        }
        if config.limit > 1_000_000 {
            report.warning("large", &evergate_conf::Path::from(["limit"]), Place::default(), "is large");
        }
        Some(config)
    }

    fn touches(&self, live: &Config, new: &Config, plan: &Plan) -> Vec<Touch> {
        let removed = live.items.keys().filter(|name| !new.items.contains_key(*name));
        let touch = |name: &String| Touch {
            object: evergate_conf::Path::from(["items".to_owned(), name.clone()]),
            effect: "goes".into(),
        };
        assert!(plan.objects.iter().all(|o| o.object.segments().len() <= 2));
        removed.map(touch).collect()
    }

    fn build(&mut self, build: Build<'_, Config>) -> Result<Arc<Snapshot>, Report> {
        if let Some(gate) = self.0.gate.lock().unwrap().take() {
            let _ = gate.recv();
        }
        let mut report = Report::new();
        let place = |key| build.document.get(key).map_or(Place::default(), |n| n.place);
        if build.config.port == 1 {
            report.problem("bind", &evergate_conf::Path::from(["port"]), place("port"), "is taken");
        }
        let read = |path: &FilePath| build.inputs.read(path).map(|b| String::from_utf8(b.to_vec()).unwrap());
        let certificate = build.config.certificate.as_ref().map(read).transpose();
        let certificate = certificate.unwrap_or_else(|error| {
            let path = evergate_conf::Path::from(["certificate"]);
            report.problem("file", &path, place("certificate"), format!("cannot be read: {error}"));
            None
        });
        if certificate.as_deref() == Some("broken") {
            let path = evergate_conf::Path::from(["certificate"]);
            report.problem("pem", &path, place("certificate"), "is no certificate");
        }
        if report.has_errors() {
            return Err(report);
        }
        build.generation.count_by(|| Holders { connections: 3, ..Holders::default() });
        let (id, config, generation) = (build.id, Arc::clone(build.config), build.generation);
        Ok(Arc::new(Snapshot { id, config, certificate, generation }))
    }

    fn publish(&mut self, built: Arc<Snapshot>) {
        assert_eq!(built.generation.revision(), built.id);
        *self.0.snapshot.lock().unwrap() = Some(built);
    }

    fn drain(&mut self, oldest: &[RevisionId]) {
        self.0.drained.lock().unwrap().extend(oldest);
    }

    fn settings(&self, config: &Config) -> Settings {
        Settings {
            watch: config.reload.watch,
            debounce: *config.reload.debounce,
            history: config.reload.history,
            generations: config.reload.generations,
        }
    }
}

/// A folder with a file, and a program that may run on it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) outside: Outside,
}

/// A program that runs.
pub(crate) struct Program {
    pub(crate) handle: Handle,
    pub(crate) notices: Receiver<Arc<Notice>>,
    outside: Outside,
}

impl Bench {
    pub(crate) fn new(text: &str) -> Bench {
        let bench = Bench { dir: TempDir::new().unwrap(), outside: Outside::default() };
        bench.write("conf/main.yaml", text);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file in place at once, as careful writers do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let tmp = self.path("written.tmp");
        std::fs::write(&tmp, text).unwrap();
        std::fs::rename(&tmp, path).unwrap();
    }

    /// The next build waits until what is returned is dropped.
    pub(crate) fn hold(&self) -> std::sync::mpsc::Sender<()> {
        let (open, gate) = std::sync::mpsc::channel();
        *self.outside.gate.lock().unwrap() = Some(gate);
        open
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = options(&self.path("conf/main.yaml"));
        options.data_dir = Some(self.path("data"));
        options.folder = self.path("conf");
        options
    }

    pub(crate) async fn try_start(&self, options: Options) -> Result<Program, StartError> {
        let handle = start(Toy(self.outside.clone()), options).await?;
        Ok(Program { notices: handle.subscribe(), handle, outside: self.outside.clone() })
    }

    pub(crate) async fn start(&self) -> Program {
        self.try_start(self.options()).await.unwrap()
    }
}

pub(crate) fn options(root: &Path) -> Options {
    Options::new(Loader::new(&paths(&schema_of::<Config>())), vec![root.to_owned()])
}

impl Program {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.outside.snapshot.lock().unwrap().as_ref().unwrap())
    }

    pub(crate) fn limit(&self) -> i64 {
        self.snapshot().config.limit
    }

    pub(crate) async fn submit(&self, intent: Intent) -> Verdict {
        self.handle.submit(Draft::new(Origin::Api, intent)).await
    }

    pub(crate) async fn reload(&self) -> Verdict {
        self.submit(Intent::Reload { insist: false }).await
    }

    pub(crate) async fn patch(&self, yaml: &str) -> Verdict {
        self.submit(Intent::Patch(body(yaml))).await
    }

    /// Waits for a notice; too long a wait fails the test.
    pub(crate) async fn next<R>(&mut self, mut wanted: impl FnMut(&Notice) -> Option<R>) -> R {
        let wait = async {
            loop {
                let notice = self.notices.recv().await.expect("the engine goes on, and the test keeps up");
                if let Some(found) = wanted(&notice) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it never happened")
    }

    /// How the next change on disk ends.
    pub(crate) async fn verdict(&mut self) -> Verdict {
        self.next(|n| match n {
            Notice::Ended { origin: Origin::File, verdict, .. } => Some(verdict.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until a change on disk is applied.
    pub(crate) async fn applied(&mut self) -> RevisionId {
        loop {
            if let Verdict::Applied { revision, .. } = self.verdict().await {
                return revision;
            }
        }
    }

    /// Waits until a change on disk is refused; returns why.
    pub(crate) async fn refused(&mut self) -> String {
        loop {
            if let Verdict::Refused { report, .. } = self.verdict().await {
                return report.to_string();
            }
        }
    }
}

pub(crate) fn body(yaml: &str) -> Body {
    Body::Text(yaml.into(), evergate_conf::Format::Yaml)
}

pub(crate) fn yaml(text: &str) -> Node {
    let (format, limits) = (evergate_conf::Format::Yaml, evergate_conf::Limits::default());
    evergate_conf::format::parse(text, format, evergate_conf::FileId::NONE, &limits).unwrap()
}
