//! Calls that change something: what they share, and how a verdict becomes an answer.
//!
//! | verdict | status |
//! |---|---|
//! | `applied`, `unchanged`, `planned` (of a dry run) | 200 |
//! | `refused` | 422, with `problems` |
//! | `conflict` (`If-Match` named another revision) | 412 |

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use evergate_reload::{Draft, Intent, Origin, Plan, RevisionId, Verdict};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Params, etag, history, tagged};
use crate::{
    problem::{self, Problem},
    server::Caller,
};

/// How long a caller waits for a verdict at most; the change goes on without him.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(300);
/// Changes that an answer spells out for people; the plan has all.
const LINES_MAX: usize = 1000;

/// What every write takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WriteParams {
    dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReloadParams {
    dry_run: bool,
    insist: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RollbackParams {
    dry_run: bool,
    to: Option<String>,
}

/// Who writes, and on which revision he does.
pub(super) struct Writer {
    caller: Caller,
    if_match: IfMatch,
}

/// The revisions that `If-Match` allows.
#[derive(Debug, PartialEq, Eq)]
enum IfMatch {
    /// Any.
    Any,
    /// One.
    One(RevisionId),
    /// None that ever runs.
    Never,
}

impl<S: Send + Sync> FromRequestParts<S> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Writer, Problem> {
        let Extension(caller) = Extension::<Caller>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nobody called"))?;
        Ok(Writer { caller, if_match: if_match(&parts.headers)? })
    }
}

/// RFC 9110 §13.1.1. Forgives missing quotes, which are a nuisance in a shell.
fn if_match(headers: &HeaderMap) -> Result<IfMatch, Problem> {
    let mut tags = headers.get_all(header::IF_MATCH).iter();
    let Some(tag) = tags.next() else { return Ok(IfMatch::Any) };
    let text = tag.to_str().unwrap_or_default().trim();
    if tags.next().is_some() || text.contains(',') {
        return Err(Problem::bad_request("If-Match takes one revision"));
    }
    let bare = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text);
    Ok(match bare.parse() {
        _ if text == "*" => IfMatch::Any,
        Ok(revision) => IfMatch::One(revision),
        // A weak tag or another text is equal to no revision.
        Err(_) => IfMatch::Never,
    })
}

pub(super) async fn reload(
    State(api): State<Api>,
    writer: Writer,
    Params(params): Params<ReloadParams>,
) -> Response {
    submit(&api, writer, Intent::Reload { insist: params.insist }, params.dry_run).await
}

pub(super) async fn rollback(
    State(api): State<Api>,
    writer: Writer,
    Params(params): Params<RollbackParams>,
) -> Response {
    let to = match &params.to {
        Some(text) => match history::find(&api, text).await {
            Ok(revision) => Some(revision.id),
            Err(problem) => return problem.into_response(),
        },
        None => None,
    };
    submit(&api, writer, Intent::Rollback(to), params.dry_run).await
}

impl WriteParams {
    pub(super) async fn submit(self, api: &Api, writer: Writer, intent: Intent) -> Response {
        submit(api, writer, intent, self.dry_run).await
    }
}

async fn submit(api: &Api, writer: Writer, intent: Intent, dry_run: bool) -> Response {
    let if_match = match writer.if_match {
        IfMatch::Any => None,
        IfMatch::One(revision) => Some(revision),
        IfMatch::Never => return answer(&Verdict::Conflict { running: Some(api.engine.running().id) }),
    };
    let author = Some(writer.caller.name);
    let draft = Draft { intent, origin: Origin::Api, author, if_match, dry_run };
    match tokio::time::timeout(VERDICT_TIMEOUT, api.engine.submit(draft)).await {
        Ok(verdict) => answer(&verdict),
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "no_verdict",
            "there is no verdict yet; `/api/v1/status` shows what is pending",
        )
        .into_response(),
    }
}

fn answer(verdict: &Verdict) -> Response {
    match verdict {
        Verdict::Applied { revision, plan, warnings } => {
            let mut body = planned(verdict, plan, warnings);
            put(&mut body, "revision", json!(revision));
            tagged(*revision, Json(body))
        }
        Verdict::Unchanged { revision, held } => {
            tagged(*revision, Json(json!({ "verdict": verdict.word(), "revision": revision, "held": held })))
        }
        Verdict::Planned { running, plan, warnings } => {
            let mut body = planned(verdict, plan, warnings);
            put(&mut body, "running", json!(running));
            tag_if(*running, Json(body).into_response())
        }
        Verdict::Refused { report, .. } if report.iter().any(|d| d.code == "stopped") => {
            let detail = "the gateway is going down";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "going_down", detail).into_response()
        }
        Verdict::Refused { running, stage, report } => {
            let count = report.iter().count();
            let detail = match (report.iter().next(), count) {
                (Some(only), 1) => only.message.clone(),
                _ => format!("{count} problems, nothing was changed"),
            };
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", detail)
                .with("verdict", verdict.word())
                .with("running", running)
                .with("stage", stage)
                .with_report(report);
            tag_if(*running, problem.into_response())
        }
        Verdict::Conflict { running } => {
            let now = running.map_or("another revision".to_owned(), |id| id.to_string());
            let detail = format!("{now} runs, not the revision in If-Match");
            let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "conflict", detail)
                .with("verdict", verdict.word())
                .with("running", running);
            tag_if(*running, problem.into_response())
        }
    }
}

fn planned(verdict: &Verdict, plan: &Plan, warnings: &evergate_conf::Report) -> Value {
    let lines: Vec<String> = plan.lines().take(LINES_MAX).collect();
    let mut body = json!({ "verdict": verdict.word(), "changes": lines, "plan": plan });
    if !warnings.is_empty() {
        put(&mut body, "warnings", problem::findings(warnings));
    }
    body
}

fn put(body: &mut Value, name: &str, value: Value) {
    if let Value::Object(map) = body {
        map.insert(name.to_owned(), value);
    }
}

fn tag_if(revision: Option<RevisionId>, mut response: Response) -> Response {
    let tag: Option<HeaderValue> = revision.map(etag);
    response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
    response
}

#[cfg(test)]
mod tests {
    use evergate_conf::{Node, Path, Place, Report};
    use evergate_reload::Stage;
    use http_body_util::BodyExt;

    use super::*;

    fn id(text: &str) -> RevisionId {
        text.parse().unwrap()
    }

    #[test]
    fn reads_if_match() {
        let read = |value: &'static str| {
            if_match(&HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(value))]))
        };
        assert_eq!(if_match(&HeaderMap::new()).unwrap(), IfMatch::Any);
        for (value, expected) in [
            ("*", IfMatch::Any),
            ("\"42-9f3a1c\"", IfMatch::One(id("42-9f3a1c"))),
            ("42-9f3a1c", IfMatch::One(id("42-9f3a1c"))),
            ("W/\"42-9f3a1c\"", IfMatch::Never),
            ("\"other\"", IfMatch::Never),
            ("\"*\"", IfMatch::Never),
        ] {
            assert_eq!(read(value).unwrap(), expected, "{value}");
        }
        assert!(read("\"1-000000\", \"2-000000\"").is_err());
    }

    async fn check(verdict: Verdict, status: u16, tag: Option<&str>, expected: Value) {
        let response = answer(&verdict);
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get(header::ETAG).map(|v| v.to_str().unwrap()), tag);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&body[name], value, "{name} in {body}");
        }
    }

    #[tokio::test]
    async fn every_verdict_has_its_answer() {
        let (old, new) = (id("41-000000"), id("42-9f3a1c"));
        let side = |level: &str| {
            let text = Node::made(evergate_conf::Value::Str(level.into()));
            let map = |key: &str, node| {
                let entry = evergate_conf::Entry { key: key.into(), place: Place::default(), node };
                Node::made(evergate_conf::Value::Map(evergate_conf::Map::new(vec![entry]).into()))
            };
            map("log", map("level", text))
        };
        let (a, b) = (side("info"), side("debug"));
        let plan = Plan::between(
            evergate_reload::plan::Side { document: &a, pins: &[] },
            evergate_reload::plan::Side { document: &b, pins: &[] },
            &evergate_reload::plan::hide_literals(),
        );
        let changes = json!(["log.level info → debug"]);
        let mut warnings = Report::new();
        warnings.warning("w", &Path::root(), Place::default(), "careful");
        let applied = Verdict::Applied { revision: new, plan: plan.clone().into(), warnings };
        let expected = json!({ "verdict": "applied", "revision": "42-9f3a1c", "changes": changes,
            "warnings": [{ "code": "w", "severity": "warning", "message": "careful" }] });
        check(applied, 200, Some("\"42-9f3a1c\""), expected).await;

        let unchanged = Verdict::Unchanged { revision: new, held: true };
        let expected = json!({ "verdict": "unchanged", "revision": "42-9f3a1c", "held": true });
        check(unchanged, 200, Some("\"42-9f3a1c\""), expected).await;

        let planned = Verdict::Planned { running: Some(old), plan: plan.into(), warnings: Report::new() };
        let expected =
            json!({ "verdict": "planned", "running": "41-000000", "changes": changes, "warnings": null });
        check(planned, 200, Some("\"41-000000\""), expected).await;

        let mut report = Report::new();
        report.problem("unknown_key", &Path::from(["a"]), Place::default(), "unknown key `a`");
        let refused = Verdict::Refused { running: Some(old), stage: Stage::Check, report: report.into() };
        let expected = json!({ "verdict": "refused", "running": "41-000000", "stage": "check",
            "detail": "unknown key `a`", "type": "urn:evergate:problem:refused" });
        check(refused, 422, Some("\"41-000000\""), expected).await;

        let conflict = Verdict::Conflict { running: Some(old) };
        let expected = json!({ "verdict": "conflict", "running": "41-000000", "status": 412 });
        check(conflict, 412, Some("\"41-000000\""), expected).await;
    }
}
