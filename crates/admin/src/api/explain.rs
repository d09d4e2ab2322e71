//! Which layer set a value.

use axum::{Json, extract::State};
use evergate_conf::Path;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Params};
use crate::problem::Problem;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ExplainParams {
    path: String,
}

pub(super) async fn explain(
    State(api): State<Api>,
    Params(params): Params<ExplainParams>,
) -> Result<Json<Value>, Problem> {
    let path: Path = params
        .path
        .parse()
        .map_err(|e: evergate_conf::path::PathError| Problem::bad_request(e.to_string()))?;
    let values = api.engine.explain(&path);
    if values.is_empty() && !path.segments().is_empty() {
        let document = api.engine.running();
        if document.document.at(path.keys()).is_none() {
            return Err(Problem::not_found(format!(
                "the running document has no `{path}`; it may be a default"
            )));
        }
    }
    Ok(Json(json!({ "revision": api.engine.running().id, "values": values })))
}
