//! What ran, and how one revision differs from another.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use evergate_reload::{ReadError, Revision, RevisionId};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Params, tagged};
use crate::problem::Problem;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListParams {
    limit: Option<usize>,
}

pub(super) async fn list(State(api): State<Api>, Params(params): Params<ListParams>) -> Json<Value> {
    let running = api.engine.running().id;
    let kept = api.engine.history().await;
    let shown = kept.get(..params.limit.unwrap_or(kept.len())).unwrap_or(&kept);
    Json(json!({ "running": running, "kept": kept.len(), "revisions": shown }))
}

pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let revision = find(&api, &id).await?;
    let files: Vec<String> = revision.pins.iter().map(|p| p.path.display().to_string()).collect();
    let since = revision.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let body = json!({
        "id": revision.id,
        "digest": revision.digest.hex(),
        "running": revision.id == api.engine.running().id,
        "time_ms": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        "origin": revision.origin,
        "author": revision.author,
        "parent": revision.parent,
        "restores": revision.restores,
        "holds_files": revision.held.is_some(),
        "files": files,
        "overlay": api.engine.redacted(&revision.layers.overlay),
        "document": api.engine.redacted(&revision.document),
    });
    Ok(tagged(revision.id, Json(body)))
}

pub(super) async fn diff(
    State(api): State<Api>,
    Path((a, b)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (a, b) = (find(&api, &a).await?.id, find(&api, &b).await?.id);
    let plan = api.engine.diff(a, b).await.map_err(|e| problem_of(&e))?;
    let changes: Vec<String> = plan.lines().collect();
    Ok(Json(json!({ "from": a, "to": b, "changes": changes, "plan": plan })).into_response())
}

/// A revision by its id, by its number alone, or as `running`.
pub(super) async fn find(api: &Api, text: &str) -> Result<Arc<Revision>, Problem> {
    if text == "running" {
        return Ok(api.engine.running());
    }
    let id = match (text.parse::<RevisionId>(), text.parse::<u64>()) {
        (Ok(id), _) => id,
        (_, Ok(number)) => match api.engine.history().await.iter().find(|r| r.id.seq == number) {
            Some(record) => record.id,
            None => return Err(problem_of(&ReadError::NotKept(text.to_owned()))),
        },
        (Err(error), Err(_)) => return Err(Problem::bad_request(error.to_string())),
    };
    api.engine.revision(id).await.map_err(|e| problem_of(&e))
}

fn problem_of(error: &ReadError) -> Problem {
    match error {
        ReadError::NotKept(_) => Problem::not_found(error.to_string()),
        _ => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "history_damaged", error.to_string()),
    }
}
