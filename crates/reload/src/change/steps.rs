//! The steps of a transaction, each as one call: load, check, plan, build, publish.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path as FsPath,
    rc::Rc,
    sync::Arc,
    time::SystemTime,
};

use evergate_conf::{Digest, Report, secret::with_files};

use super::{Built, Change, Running, say};
use crate::{
    engine::{Check, Checked, Load, Loaded},
    inputs::Inputs,
    options::Begin,
    plan::{Plan, Side},
    revision::{self, Revision, RevisionId},
    source::Notice,
    status::StartedFrom,
    target::{Build, Candidate, Target},
    verdict::Stage,
};

impl<T: Target> Change<T> {
    pub(super) fn load(&mut self, load: Load) -> Result<Loaded, Report> {
        let archive = &self.shared.archive;
        let kept = match load {
            Load::Files { distrust } => {
                self.transaction.read = true;
                self.has_read_ahead = false;
                let none = Inputs::new();
                let known = self.live.as_ref().map_or(&none, |l| &l.inputs);
                let loaded = self.disk.load(known, distrust);
                let names = self.disk.names();
                self.shared.see(|view| view.names = names);
                return loaded.map(|(base, files)| Loaded::Files(base, files));
            }
            Load::Text(text, format) => return self.disk.parse(&text, format).map(Loaded::Text),
            Load::Revision(id) => archive.read(id),
            Load::Before(id) => archive.before(id),
            Load::Older(seq) => archive.older(seq),
        };
        kept.map(Loaded::Revision).map_err(|error| say::problem("history", error.to_string()))
    }

    pub(super) fn check(&mut self, check: Check) -> Result<Checked, Report> {
        let (digest, built, warnings) = self.timed(Stage::Check, |c| c.checked(check))?;
        let (built, plan) = self.timed(Stage::Plan, move |c| c.plan(built));
        let pins = built.inputs.pins();
        let transaction = self.transaction.number;
        self.notice(Notice::Planned { transaction, plan: Arc::clone(&plan) });
        self.candidate = Some(built);
        Ok(Checked { digest, pins, plan, warnings, time: SystemTime::now() })
    }

    fn checked(&mut self, check: Check) -> Result<(Digest, Built<T>, Report), Report> {
        let none = Inputs::new();
        let known = self.live.as_ref().map_or(&none, |l| &l.inputs);
        let inputs = self.disk.inputs(&check.document, &check.pins, known, &self.shared.archive)?;
        let digest = revision::digest(&check.document, &inputs.pins());
        let mut report = Report::new();
        let config = match self.live.as_ref().filter(|l| l.digest == digest) {
            Some(live) => Some(Arc::clone(&live.config)),
            None => {
                let candidate = Candidate { document: &check.document, inputs: &inputs };
                let live = self.live.as_ref().map(Running::live);
                let target = &mut self.target;
                let pinned = inputs.clone();
                let files = Rc::new(move |path: &FsPath| pinned.get(path).map(|_| pinned.read(path)));
                let config = with_files(files, || survive(|| Ok(target.check(candidate, live, &mut report))));
                config
                    .unwrap_or_else(|panicked| {
                        report.append(panicked);
                        None
                    })
                    .map(Arc::new)
            }
        };
        self.disk.locate(&mut report);
        match config.filter(|_| !report.has_errors()) {
            Some(config) => {
                let built =
                    Built { document: check.document, inputs, config, plan: Arc::default(), built: None };
                Ok((digest, built, report))
            }
            None if report.has_errors() => Err(report),
            None => Err(say::problem("check", "refused without a reason".to_owned())),
        }
    }

    /// What a first revision changes is everything: nobody asks for that, and it would cost as much as the rest.
    fn plan(&mut self, mut built: Built<T>) -> (Built<T>, Arc<Plan>) {
        let Some(live) = &self.live else {
            self.transaction.summary = say::contents(&built.document);
            return (built, Arc::default());
        };
        let (old_pins, new_pins) = (live.inputs.pins(), built.inputs.pins());
        let old = Side { document: &live.document, pins: &old_pins };
        let new = Side { document: &built.document, pins: &new_pins };
        let mut plan = Plan::between(old, new, &self.shared.redactor);
        plan.touches = self.target.touches(&live.config, &built.config, &plan);
        self.transaction.summary = plan.summary(say::CHANGES_MAX);
        let plan = Arc::new(plan);
        built.plan = Arc::clone(&plan);
        (built, plan)
    }

    pub(super) fn build(&mut self, id: RevisionId) -> Result<(), Report> {
        let Some(candidate) = &mut self.candidate else {
            return Err(say::problem("build", "nothing was checked".to_owned()));
        };
        let build = Build {
            id,
            config: &candidate.config,
            document: &candidate.document,
            inputs: &candidate.inputs,
            plan: &candidate.plan,
            live: self.live.as_ref().map(Running::live),
            generation: self.shared.generations.token(id),
        };
        let target = &mut self.target;
        let built = survive(|| target.build(build)).map_err(|mut report| {
            self.disk.locate(&mut report);
            report
        })?;
        candidate.built = Some(built);
        Ok(())
    }

    pub(super) fn publish(&mut self, revision: Arc<Revision>, record: bool) {
        let Some(candidate) = self.candidate.take() else { return };
        let settings = self.target.settings(&candidate.config);
        if record {
            let summary = self.transaction.summary.clone();
            let keep = settings.history;
            let done =
                self.timed(Stage::Record, |c| c.history.record(&revision, &candidate.inputs, summary, keep));
            let degraded = done.err().map(|error| error.to_string());
            if let Some(reason) = degraded.clone() {
                self.notice(Notice::HistoryDegraded { reason });
            }
            self.shared.see(|view| view.degraded = degraded);
        }
        let (id, restores) = (revision.id, revision.restores);
        self.timed(Stage::Publish, |c| {
            if let Some(built) = candidate.built {
                c.target.publish(built);
            }
            c.shared.generations.publish(id);
        });
        let first = self.live.is_none() && !self.transaction.fell_back;
        self.live = Some(Running {
            id,
            digest: revision.digest,
            document: revision.document.clone(),
            config: candidate.config,
            inputs: candidate.inputs,
        });
        let held_at_start = !record && !self.transaction.fell_back && revision.held.is_some();
        let started_from = match self.begin {
            _ if !first => None,
            Begin::Previous if restores.is_some() && record => Some(StartedFrom::Previous),
            Begin::Last | Begin::Previous if !record => Some(StartedFrom::Last),
            _ if held_at_start => Some(StartedFrom::Held),
            _ => None,
        };
        let taken_back = (started_from == Some(StartedFrom::Previous)).then(|| say::taken_back(&revision));
        // What was taken back stays the last thing that was refused.
        self.transaction.fell_back |= taken_back.is_some();
        self.shared.see(|view| {
            view.running = revision;
            view.since = SystemTime::now();
            view.kept = settings.history;
            view.started_from = started_from.unwrap_or(view.started_from);
            view.last_refused = taken_back.or_else(|| view.last_refused.take());
        });
        self.transaction.read = true;
        self.engine.set_debounce(settings.debounce);
        self.settings = settings;
        self.notice(Notice::Published { revision: id, restores });
        let oldest = self.shared.generations.over(self.settings.generations);
        if !oldest.is_empty() {
            self.target.drain(&oldest);
            self.notice(Notice::Draining { revisions: oldest });
        }
    }
}

/// A bug in the target's code refuses the candidate; what runs goes on.
fn survive<R>(work: impl FnOnce() -> Result<R, Report>) -> Result<R, Report> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(say::problem("internal", format!("a defect of the program, please report it: {text}")))
    })
}
