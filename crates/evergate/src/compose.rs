//! The composition root: joins the document's types, the data plane, the admin API and the log to the one thing
//! that the reload engine changes.
//!
//! A change's way through here: check, build (all that can fail), publish. Must not know: how any of them works.

use std::sync::Arc;

use evergate_admin::{Admin, BindError, HealthChange};
use evergate_conf::{Loader, Node, Path, Report, node::Place, schema::paths};
use evergate_contract::{
    Checked, check,
    config::{Carried, Log, Process},
    schema,
    status::{HealthStatus, Running},
};
use evergate_kit::Fds;
use evergate_proxy::{Before, Gateway, Plane};
use evergate_reload::{Build, Candidate, Live, Plan, RevisionId, Settings, Target, Touch, plan::Kind};
use evergate_upstream::Verdict;
use tokio::sync::watch;

use crate::log::LogControl;

/// Everything that a change can reach.
pub(crate) struct Gate {
    plane: Plane,
    gateway: Arc<Gateway>,
    admin: Admin,
    log: LogControl,
    fds: Fds,
    process: watch::Sender<Process>,
}

/// What a change needs, ready to be switched to.
pub(crate) struct Built {
    plane: evergate_proxy::Prepared,
    admin: evergate_admin::Prepared,
    log: Log,
    process: Process,
}

impl Gate {
    /// A gate that serves nothing until the engine publishes its first revision. Control work runs on the runtime.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn new(
        control: tokio::runtime::Handle,
        before: Before,
        admin: Admin,
        log: LogControl,
        process: watch::Sender<Process>,
    ) -> std::io::Result<Gate> {
        let (listener, fds) = (admin.clone(), before.fds.clone());
        let plane = Plane::new(
            control,
            before,
            Arc::new(move |change: evergate_proxy::HealthChange| {
                let health = match change.verdict {
                    Verdict::Unknown => HealthStatus::Unknown,
                    Verdict::Healthy => HealthStatus::Healthy,
                    Verdict::Unhealthy => HealthStatus::Unhealthy,
                };
                let (upstream, url, reason) = (change.upstream, change.url, change.reason);
                tracing::info!(%upstream, endpoint = url, ?health, reason, "endpoint judged anew");
                listener.health_changed(HealthChange { upstream, url, health, reason });
            }),
        )?;
        Ok(Gate { gateway: plane.gateway(), plane, admin, log, fds, process })
    }

    /// The settings of the process, as they run.
    pub(crate) fn process(&self) -> watch::Receiver<Process> {
        self.process.subscribe()
    }

    /// What others may ask of the data plane.
    pub(crate) fn gateway(&self) -> Arc<Gateway> {
        Arc::clone(&self.gateway)
    }
}

/// Reads documents of this program.
pub(crate) fn loader() -> Loader {
    Loader::new(&paths(&schema())).with_clock(std::time::SystemTime::now)
}

impl Target for Gate {
    type Config = Checked;
    type Built = Built;

    fn check(
        &mut self,
        candidate: Candidate<'_>,
        live: Option<Live<'_, Checked>>,
        report: &mut Report,
    ) -> Option<Checked> {
        match check(candidate.document, live.map(|l| (l.document, l.config.as_ref()))) {
            Ok(config) => {
                report.append(config.warnings().clone());
                Some(config)
            }
            Err(found) => {
                report.append(found);
                None
            }
        }
    }

    fn touches(&self, live: &Checked, new: &Checked, plan: &Plan) -> Vec<Touch> {
        let open = self.gateway.listeners();
        let connections = |name: &str| {
            open.iter().filter(|l| l.name.as_ref() == name && !l.draining).map(|l| l.connections).sum::<u64>()
        };
        let ended = plan.section("listeners").filter(|(name, kind)| {
            match (live.listeners.get(name), new.listeners.get(name)) {
                (Some(old), Some(new)) => !old.is_same_as(new),
                _ => *kind == Kind::Removed,
            }
        });
        let becomes = |name| match live.listeners.get(name).map(|listener| listener.carries()) {
            Some(Carried::Udp) => "clients are forgotten, once what they asked is answered",
            Some(Carried::Tcp) => "streams go on until they end by themselves",
            Some(Carried::Http) | None => "connections are closed when what they do is done",
        };
        ended
            .map(|(name, _)| Touch {
                object: Path::from(["listeners", name]),
                effect: format!("{} {}", connections(name), becomes(name)),
            })
            .collect()
    }

    fn build(&mut self, build: Build<'_, Checked>) -> Result<Built, Report> {
        let (config, document) = (Arc::clone(build.config), build.document);
        // Both are tried, so that all that is wrong is said at once.
        let admin = self.admin.prepare(&config.admin);
        match (self.plane.prepare(build), admin) {
            (Ok(plane), Ok(admin)) => {
                let (log, process) = (config.log.clone(), config.process.clone());
                Ok(Built { plane, admin, log, process })
            }
            (plane, admin) => {
                let mut report = plane.err().unwrap_or_default();
                if let Err(error) = admin {
                    add(&mut report, &error, document);
                }
                Err(report)
            }
        }
    }

    fn publish(&mut self, built: Built) {
        self.plane.publish(built.plane);
        self.admin.adopt(built.admin);
        self.log.adopt(&built.log);
        self.fds.settle();
        self.process.send_replace(built.process);
    }

    fn drain(&mut self, oldest: &[RevisionId]) {
        self.plane.drain(oldest);
    }

    fn settings(&self, config: &Checked) -> Settings {
        let reload = &config.reload;
        Settings {
            watch: reload.watch,
            debounce: reload.debounce.0,
            history: reload.history as usize,
            generations: reload.generations as usize,
        }
    }
}

/// The problem at the field that names the socket, or above it where that is a default.
fn add(report: &mut Report, error: &BindError, document: &Node) {
    let path = Path::from(["admin", error.field()]);
    let place =
        document.at(path.keys()).or_else(|| document.get("admin")).map_or(Place::default(), |n| n.place);
    report.problem("bind", &path, place, error.to_string());
}
