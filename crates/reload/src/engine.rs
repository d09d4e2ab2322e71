//! The life cycle of a change, pure: events and the time go in, effects come out.
//!
//! Knows neither threads nor files nor what is reloaded. One candidate at a time; every asker gets one
//! verdict; reloads of the files that wait are one; edits keep their order and none is lost.

mod event;
mod overlay;
mod shrunk;
mod waiting;

use std::{sync::Arc, time::Duration};

use evergate_conf::{Digest, Node, Path, Report, merge};

use crate::{
    revision::{Layers, Revision, RevisionId},
    source::{Body, Intent},
    status::Pending,
    verdict::{Stage, Verdict},
};
pub use event::{Asker, Check, Checked, Effect, Event, Head, Load, Loaded, Moment, PinsFrom, State};
use waiting::{Turn, Waiting};

/// Digest of files that cannot be read: whatever is read later differs from it.
pub const UNREADABLE: Digest = Digest([0; 32]);

/// The state machine.
#[derive(Debug)]
pub struct Engine {
    live: Option<Arc<Revision>>,
    /// The last good revision of an earlier process, while there is no live one.
    recovered: Option<Arc<Revision>>,
    /// Digest of the files when they were last read.
    seen: Digest,
    waiting: Waiting,
    active: Option<Active>,
    transactions: u64,
    last_seq: u64,
    strict: bool,
}

/// The one candidate under way.
#[derive(Debug)]
struct Active {
    head: Head,
    askers: Vec<Asker>,
    what: What,
    dry_run: bool,
    stage: Stage,
    candidate: Option<Candidate>,
    /// Why the files were not used at the start.
    fallen_back: Option<(Stage, Arc<Report>)>,
}

/// How what is loaded becomes layers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Files { insist: bool },
    Patch,
    Replace,
    Rollback,
    LastGood,
}

/// Layers on their way to a revision.
#[derive(Debug)]
struct Candidate {
    layers: Layers,
    document: Node,
    files: Digest,
    held: Option<Digest>,
    restores: Option<RevisionId>,
    /// The revision that this is, exactly, if it comes from the history at the start.
    same_as: Option<Arc<Revision>>,
    checked: Option<(Checked, RevisionId)>,
    revision: Option<Arc<Revision>>,
}

impl Engine {
    /// An engine that runs nothing yet; its first event should be a reload. `recovered` is what an earlier
    /// process ran last: its overlay counts, and unless `strict` it runs again if the files are refused.
    /// `last_seq` is the highest number ever given.
    #[must_use]
    pub fn new(recovered: Option<Arc<Revision>>, last_seq: u64, strict: bool) -> Engine {
        Engine {
            live: None,
            recovered,
            seen: UNREADABLE,
            waiting: Waiting::default(),
            active: None,
            transactions: 0,
            last_seq,
            strict,
        }
    }

    /// What runs.
    #[must_use]
    pub fn live(&self) -> Option<&Arc<Revision>> {
        self.live.as_ref()
    }

    /// Where the engine is.
    #[must_use]
    pub fn state(&self) -> State {
        match self.active.as_ref().map(|a| a.stage) {
            None if self.waiting.is_empty() => State::Idle,
            None => State::Settling,
            Some(Stage::Build) => State::Building,
            Some(Stage::Record | Stage::Publish) => State::Publishing,
            Some(_) => State::Loading,
        }
    }

    /// When to send [`Event::Tick`], if nothing else happens first.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        if self.active.is_some() { None } else { self.waiting.ready_at() }
    }

    /// What has no verdict yet, the one under way first.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let active = self.active.iter().map(|a| Pending {
            origin: a.head.origin,
            author: a.head.author.clone(),
            stage: a.stage,
        });
        active.chain(self.waiting.pending()).collect()
    }

    /// Sets the silence to wait for after a file event.
    pub fn set_debounce(&mut self, debounce: Duration) {
        self.waiting.set_debounce(debounce);
    }

    /// Another process has given numbers up to this one.
    pub fn numbers_up_to(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
    }

    /// The next step of the life cycle.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Disturbed => self.waiting.disturbed(now),
            Event::Drafted(asker, draft) => {
                if let Err(report) = self.waiting.draft(now, asker, draft) {
                    effects.push(Effect::TurnAway(asker, self.refusal(Stage::Queue, Arc::new(report))));
                }
            }
            Event::Tick => {}
            Event::Loaded(Ok(loaded)) => self.loaded(loaded, &mut effects),
            Event::Checked(Ok(checked)) => self.checked(checked, &mut effects),
            Event::Built(Ok(())) => self.built(&mut effects),
            Event::Published => self.published(&mut effects),
            Event::Loaded(Err(report)) => {
                if self.active.as_ref().is_some_and(|a| matches!(a.what, What::Files { .. })) {
                    self.seen = UNREADABLE;
                }
                self.refuse(Stage::Load, report, &mut effects);
            }
            Event::Checked(Err(report)) => self.refuse(Stage::Check, report, &mut effects),
            Event::Built(Err(report)) => self.refuse(Stage::Build, report, &mut effects),
        }
        while self.active.is_none() {
            let Some(turn) = self.waiting.next(now) else { break };
            self.begin(turn, &mut effects);
        }
        effects
    }

    fn begin(&mut self, turn: Turn, effects: &mut Vec<Effect>) {
        self.transactions += 1;
        let head = Head {
            transaction: self.transactions,
            origin: turn.draft.origin,
            author: turn.draft.author,
            dry_run: turn.draft.dry_run,
            since: turn.since,
        };
        effects.push(Effect::Begin(head.clone()));
        let running = self.live.as_ref().map(|l| l.id);
        if turn.draft.if_match.is_some() && turn.draft.if_match != running {
            effects.push(Effect::End(head, turn.askers, Verdict::Conflict { running }));
            return;
        }
        let (what, load) = match turn.draft.intent {
            Intent::Reload { insist } => (What::Files { insist }, Ok(Load::Files { distrust: insist })),
            Intent::Patch(body) => (What::Patch, to_load(body)),
            Intent::Replace(body) => (What::Replace, to_load(body)),
            Intent::Rollback(Some(id)) => (What::Rollback, Ok(Load::Revision(id))),
            // Without a live revision there is nothing before it; number 0 is never found.
            Intent::Recover { previous } => match &self.recovered {
                None => (What::Files { insist: false }, Ok(Load::Files { distrust: false })),
                Some(_) if !previous => (What::LastGood, Ok(Load::Files { distrust: false })),
                Some(last) => {
                    self.seen = last.files;
                    (What::Rollback, Ok(Load::Before(last.id)))
                }
            },
            Intent::Rollback(None) => {
                (What::Rollback, Ok(Load::Before(running.unwrap_or(RevisionId { seq: 0, hash: [0; 3] }))))
            }
        };
        self.active = Some(Active {
            head,
            askers: turn.askers,
            what,
            dry_run: turn.draft.dry_run,
            stage: Stage::Load,
            candidate: None,
            fallen_back: None,
        });
        if let (What::LastGood, Some(recovered)) = (what, self.recovered.clone()) {
            return self.last_good(recovered, effects);
        }
        match load {
            Ok(load) => effects.push(Effect::Load(load)),
            Err(node) => self.loaded(Loaded::Text(node), effects),
        }
    }

    fn loaded(&mut self, loaded: Loaded, effects: &mut Vec<Effect>) {
        let Some(what) = self.active.as_ref().map(|a| a.what) else { return };
        match loaded {
            Loaded::Files(base, files) => {
                self.seen = files;
                let known = self.live.as_ref().or(self.recovered.as_ref());
                if what != (What::Files { insist: true }) && known.is_some_and(|k| k.held == Some(files)) {
                    return self.stay_held(effects);
                }
                let overlay = known.map_or_else(Node::empty_map, |k| k.layers.overlay.clone());
                let candidate = Candidate::new(Layers { base, overlay }, files, None);
                self.check(candidate, None, PinsFrom::Disk, effects);
            }
            Loaded::Text(text) if text.as_map().is_none() => {
                self.refuse(Stage::Load, not_a_map(&text), effects);
            }
            Loaded::Text(text) => self.edited(&text, what == What::Patch, effects),
            Loaded::Revision(old) if what == What::LastGood => self.last_good(old, effects),
            Loaded::Revision(old) => {
                let held = (old.files != self.seen).then_some(self.seen);
                let mut candidate = Candidate::new(old.layers.clone(), old.files, held);
                candidate.restores = Some(old.id);
                self.check(candidate, None, PinsFrom::Kept(Arc::clone(&old.pins)), effects);
            }
        }
    }

    /// An edit of the overlay. It is checked with its places, so that problems have lines, and kept without,
    /// since the text is gone afterwards.
    fn edited(&mut self, text: &Node, patch: bool, effects: &mut Vec<Effect>) {
        let known = self.live.as_ref().or(self.recovered.as_ref());
        let nothing = Layers::empty();
        let old = known.map_or(&nothing, |k| &k.layers);
        let bare = overlay::without_places(text, known.map(|k| &k.document));
        let overlay = if patch {
            overlay::edited(&old.base, &old.overlay, &bare)
        } else {
            overlay::tidy(&old.base, &bare)
        };
        let layers = Layers { base: old.base.clone(), overlay };
        // A patch of what runs gives the same document as the layers do, and shares with it what stays.
        let under = known.filter(|_| patch).map_or(&old.base, |k| &k.document);
        let (as_written, document) = (merge(under, text), merge(under, &bare));
        debug_assert!(
            document == layers.document(),
            "an edit is the same in the overlay and in the document"
        );
        let files = known.map_or(UNREADABLE, |k| k.files);
        let candidate = Candidate::made(layers, document, files, known.and_then(|k| k.held));
        let pins = known.map_or(PinsFrom::Disk, |k| PinsFrom::Kept(Arc::clone(&k.pins)));
        self.check(candidate, Some(as_written), pins, effects);
    }

    fn check(
        &mut self,
        candidate: Candidate,
        as_written: Option<Node>,
        pins: PinsFrom,
        effects: &mut Vec<Effect>,
    ) {
        let Some(active) = &mut self.active else { return };
        active.stage = Stage::Check;
        let document = as_written.unwrap_or_else(|| candidate.document.clone());
        effects.push(Effect::Check(Check { document, pins }));
        active.candidate = Some(candidate);
    }

    /// The files are what they were when somebody went back from them.
    fn stay_held(&mut self, effects: &mut Vec<Effect>) {
        match (&self.live, self.recovered.clone()) {
            (Some(live), _) => {
                let revision = live.id;
                self.end(Verdict::Unchanged { revision, held: true }, effects);
            }
            (None, Some(recovered)) => self.last_good(recovered, effects),
            (None, None) => {}
        }
    }

    /// Tries a revision of an earlier process as it is.
    fn last_good(&mut self, old: Arc<Revision>, effects: &mut Vec<Effect>) {
        let Some(active) = &mut self.active else { return };
        active.what = What::LastGood;
        let mut candidate = Candidate::new(old.layers.clone(), old.files, old.held);
        candidate.restores = old.restores;
        let pins = PinsFrom::Kept(Arc::clone(&old.pins));
        candidate.same_as = Some(old);
        self.check(candidate, None, pins, effects);
    }

    fn checked(&mut self, checked: Checked, effects: &mut Vec<Effect>) {
        let Some(active) = &mut self.active else { return };
        let Some(candidate) = &mut active.candidate else { return };
        // Not at the start: what the files say then is what a person started.
        if let (What::Files { insist: false }, Some(live)) = (active.what, &self.live)
            && let Some(report) = shrunk::problem(&live.layers.base, &candidate.layers.base)
        {
            return self.refuse(Stage::Plan, report, effects);
        }
        if let Some(live) = &self.live
            && live.digest == checked.digest
            && live.layers.is_same(&candidate.layers)
        {
            let revision = live.id;
            if !active.dry_run {
                let amended = Arc::new(Revision {
                    layers: candidate.layers.clone(),
                    document: candidate.document.clone(),
                    files: candidate.files,
                    held: candidate.held,
                    ..Revision::clone(live)
                });
                self.live = Some(Arc::clone(&amended));
                effects.push(Effect::Amend(amended));
            }
            return self.end(Verdict::Unchanged { revision, held: false }, effects);
        }
        if active.dry_run {
            let running = self.live.as_ref().map(|l| l.id);
            let (plan, warnings) = (checked.plan, checked.warnings);
            return self.end(Verdict::Planned { running, plan, warnings }, effects);
        }
        // What a process ran before it was restarted keeps its name if it is the same to the byte.
        let recovered = self.recovered.as_ref().filter(|_| self.live.is_none());
        if let Some(old) = recovered
            && old.digest == checked.digest
            && old.layers.is_same(&candidate.layers)
            && old.held == candidate.held
        {
            candidate.same_as = Some(Arc::clone(old));
        }
        let id = match &candidate.same_as {
            Some(old) if old.digest == checked.digest => old.id,
            _ => {
                candidate.same_as = None;
                RevisionId::new(self.last_seq + 1, checked.digest)
            }
        };
        candidate.checked = Some((checked, id));
        active.stage = Stage::Build;
        effects.push(Effect::Build(id));
    }

    fn built(&mut self, effects: &mut Vec<Effect>) {
        let parent = self.live.as_ref().or(self.recovered.as_ref()).map(|r| r.id);
        let Some(active) = &mut self.active else { return };
        let Some(candidate) = &mut active.candidate else { return };
        let Some((checked, id)) = &candidate.checked else { return };
        active.stage = Stage::Publish;
        let new = match &candidate.same_as {
            Some(old) => Revision::clone(old),
            None => Revision {
                id: *id,
                digest: checked.digest,
                parent,
                origin: active.head.origin,
                author: active.head.author.clone(),
                time: checked.time,
                restores: candidate.restores,
                held: candidate.held,
                files: candidate.files,
                layers: candidate.layers.clone(),
                document: candidate.document.clone(),
                pins: Arc::clone(&checked.pins),
            },
        };
        // What comes from the history as it is may stand elsewhere in the files by now.
        let revision = Arc::new(Revision {
            files: candidate.files,
            layers: candidate.layers.clone(),
            document: candidate.document.clone(),
            ..new
        });
        self.last_seq = self.last_seq.max(id.seq);
        candidate.revision = Some(Arc::clone(&revision));
        effects.push(Effect::Publish { revision, record: candidate.same_as.is_none() });
    }

    fn published(&mut self, effects: &mut Vec<Effect>) {
        let Some(candidate) = self.active.as_mut().and_then(|a| a.candidate.take()) else { return };
        let (Some((checked, _)), Some(revision)) = (candidate.checked, candidate.revision) else { return };
        let id = revision.id;
        self.live = Some(revision);
        self.recovered = None;
        self.end(Verdict::Applied { revision: id, plan: checked.plan, warnings: checked.warnings }, effects);
    }

    fn refuse(&mut self, stage: Stage, report: Report, effects: &mut Vec<Effect>) {
        let Some(active) = &mut self.active else { return };
        let report = Arc::new(report);
        if self.live.is_none() {
            match (active.what, &self.recovered) {
                (What::Files { .. }, Some(recovered)) if !self.strict => {
                    active.fallen_back = Some((stage, Arc::clone(&report)));
                    effects.push(Effect::FallBack(stage, report));
                    return self.last_good(Arc::clone(recovered), effects);
                }
                // There is none before it, or it does not run any more.
                (What::Rollback, Some(recovered)) => return self.last_good(Arc::clone(recovered), effects),
                (What::LastGood, _) => {
                    active.fallen_back.get_or_insert((stage, report));
                    if let Some(tried) = active.candidate.take().and_then(|c| c.same_as) {
                        active.stage = Stage::Load;
                        return effects.push(Effect::Load(Load::Older(tried.id.seq)));
                    }
                    let (stage, report) = active.fallen_back.take().unwrap_or_default();
                    return self.end(self.refusal(stage, report), effects);
                }
                _ => {}
            }
        }
        self.end(self.refusal(stage, report), effects);
    }

    fn refusal(&self, stage: Stage, report: Arc<Report>) -> Verdict {
        Verdict::Refused { running: self.live.as_ref().map(|l| l.id), stage, report }
    }

    fn end(&mut self, verdict: Verdict, effects: &mut Vec<Effect>) {
        if let Some(active) = self.active.take() {
            effects.push(Effect::End(active.head, active.askers, verdict));
        }
    }
}

impl Candidate {
    fn new(layers: Layers, files: Digest, held: Option<Digest>) -> Candidate {
        let document = layers.document();
        Candidate::made(layers, document, files, held)
    }

    /// `document` is what the layers make.
    fn made(layers: Layers, document: Node, files: Digest, held: Option<Digest>) -> Candidate {
        Candidate {
            layers,
            document,
            files,
            held,
            restores: None,
            same_as: None,
            checked: None,
            revision: None,
        }
    }
}

/// A text still has to be read; a tree is there already.
fn to_load(body: Body) -> Result<Load, Node> {
    match body {
        Body::Text(text, format) => Ok(Load::Text(text, format)),
        Body::Node(node) => Err(node),
    }
}

fn not_a_map(node: &Node) -> Report {
    let mut report = Report::new();
    report.problem("type", &Path::root(), node.place, "a change of the document is a map of sections");
    report
}

#[cfg(test)]
mod tests;
