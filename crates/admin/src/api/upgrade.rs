//! The call that has the program itself replaced.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Api, Params};
use crate::{access::Via, problem::Problem, server::Caller};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UpgradeParams {
    binary: Option<String>,
}

/// Answers when another process serves, or when it is known that none will.
pub(super) async fn upgrade(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Params(params): Params<UpgradeParams>,
) -> Response {
    // Over TCP there may be no token, and a path would let anybody on the machine run a program as this user.
    if params.binary.is_some() && caller.via != Via::Unix {
        let why = "only who calls over the Unix socket may name a program file";
        return Problem::new(StatusCode::FORBIDDEN, "forbidden", why).into_response();
    }
    match api.process.upgrade(params.binary).await {
        Ok(version) => Json(json!({ "verdict": "upgraded", "version": version })).into_response(),
        Err(why) => {
            let problem = Problem::new(StatusCode::CONFLICT, "not_upgraded", format!("not upgraded: {why}"));
            problem.with("verdict", "refused").into_response()
        }
    }
}
