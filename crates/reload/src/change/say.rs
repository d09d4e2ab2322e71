//! What the engine says in the log: one line for a transaction, a span for each step.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use evergate_conf::{Diagnostic, Entry, Node, Path, Report, node::Place};
use tracing::Span;

use crate::{
    engine::Head,
    revision::{Origin, Revision},
    source::Notice,
    status::Refusal,
    verdict::{Stage, Verdict},
};

/// Changes that are named in one line.
pub(super) const CHANGES_MAX: usize = 20;

pub(super) fn transaction_span(head: &Head) -> Span {
    tracing::info_span!("change", transaction = head.transaction, origin = %head.origin)
}

/// Names of spans are fixed, so each step has its own.
pub(super) fn step_span(parent: &Span, transaction: u64, stage: Stage) -> Span {
    match stage {
        Stage::Queue => tracing::debug_span!(parent: parent, "queue", transaction),
        Stage::Load => tracing::debug_span!(parent: parent, "load", transaction),
        Stage::Check => tracing::debug_span!(parent: parent, "check", transaction),
        Stage::Plan => tracing::debug_span!(parent: parent, "plan", transaction),
        Stage::Build => tracing::debug_span!(parent: parent, "build", transaction),
        Stage::Record => tracing::debug_span!(parent: parent, "record", transaction),
        Stage::Publish => tracing::debug_span!(parent: parent, "publish", transaction),
    }
}

pub(super) fn problem(code: &'static str, text: String) -> Report {
    let mut report = Report::new();
    report.problem(code, &Path::root(), Place::default(), text);
    report
}

/// What became of the revision before one that a start went back to.
pub(super) fn taken_back(running: &Revision) -> Refusal {
    let it = running.parent.map_or_else(|| "what ran last".to_owned(), |id| format!("revision {id}"));
    let text = format!("{it} ended its process again and again; what ran before it runs instead");
    tracing::error!(revision = %running.id, "{text}");
    let report = Arc::new(problem("crash_loop", text));
    Refusal { time: SystemTime::now(), origin: Origin::Start, author: None, stage: Stage::Publish, report }
}

/// What a first revision has, in a line: how many objects of each kind, and its settings.
pub(super) fn contents(document: &Node) -> String {
    let sections = document.as_map().into_iter().flat_map(|map| map.entries());
    let say = |e: &Entry| match e.node.as_map() {
        Some(objects) => format!("{} {}", e.key, objects.len()),
        None => e.key.to_string(),
    };
    let said: Vec<String> = sections.map(say).collect();
    if said.is_empty() { "nothing".to_owned() } else { format!("all: {}", said.join(", ")) }
}

/// How a transaction ended, in one line; its steps, and what it changes.
pub(super) fn ended(
    head: &Head,
    verdict: &Verdict,
    (steps, changes): (&[(Stage, Duration)], &str),
    took: Duration,
) {
    let took = millis(took);
    let of = |stage| {
        let all = steps.iter().filter(|(s, _)| *s == stage).map(|(_, took)| *took);
        millis(all.sum())
    };
    let (transaction, origin) = (head.transaction, head.origin);
    let author = head.author.as_deref();
    match verdict {
        Verdict::Applied { revision, warnings, .. } => tracing::info!(
            transaction,
            %origin,
            author,
            %revision,
            changes,
            warnings = warnings.len(),
            load_ms = of(Stage::Load),
            check_ms = of(Stage::Check),
            plan_ms = of(Stage::Plan),
            build_ms = of(Stage::Build),
            record_ms = of(Stage::Record),
            publish_ms = of(Stage::Publish),
            total_ms = took,
            "applied"
        ),
        Verdict::Unchanged { revision, held } => {
            tracing::info!(transaction, %origin, author, %revision, held, total_ms = took, "unchanged");
        }
        Verdict::Planned { .. } => tracing::info!(
            transaction,
            %origin,
            author,
            changes,
            total_ms = took,
            "planned only"
        ),
        Verdict::Conflict { .. } => {
            tracing::info!(transaction, %origin, author, total_ms = took, "meant for another revision");
        }
        Verdict::Refused { stage, report, .. } if head.dry_run => {
            let problems = report.len();
            tracing::info!(transaction, %origin, author, %stage, problems, total_ms = took, "would be refused");
        }
        Verdict::Refused { stage, report, .. } => tracing::warn!(
            transaction,
            %origin,
            author,
            %stage,
            problems = report.len(),
            reason = first_of(report),
            total_ms = took,
            "refused"
        ),
    }
}

pub(super) fn fell_back(stage: Stage, report: &Report) {
    tracing::error!(
        %stage,
        problems = report.len(),
        reason = first_of(report),
        "the files are refused; starting from the last good revision"
    );
}

pub(super) fn noticed(notice: &Notice) {
    match notice {
        Notice::HistoryDegraded { reason } => {
            tracing::error!(reason, "what runs could not be written down; a restart would not find it");
        }
        Notice::HistorySkipped { file, reason } => {
            tracing::warn!(file = %file.display(), reason, "a revision is damaged and was skipped");
        }
        Notice::SourceDown { origin, reason } => tracing::warn!(%origin, reason, "changes are noticed late"),
        Notice::Draining { revisions } => {
            tracing::warn!(oldest = revisions.len(), "too many generations live; the oldest should end");
        }
        Notice::GenerationFreed { revision, age } => {
            tracing::debug!(%revision, age_ms = millis(*age), "generation freed");
        }
        _ => {}
    }
}

/// The first problem in a line.
fn first_of(report: &Report) -> String {
    let line = |d: &Diagnostic| match (&d.at, d.path.is_empty()) {
        (Some(at), _) => format!("{at}: {}", d.message),
        (None, false) => format!("{}: {}", d.path, d.message),
        (None, true) => d.message.clone(),
    };
    report.iter().next().map(line).unwrap_or_default()
}

/// Milliseconds with two decimals.
fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e5).round() / 1e2
}
