//! The calls of the API: one list of routes, and what all handlers share.

mod change;
mod config;
mod events;
mod explain;
mod history;
mod status;
mod upgrade;

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use evergate_contract::status::{Process, Running};
use evergate_reload::{Handle, RevisionId};
use http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::{
    access::Access,
    problem::Problem,
    server::{Admin, Caller, Phase},
};

/// What every handler may use.
pub(crate) type Api = Arc<Shared>;

pub(crate) struct Shared {
    pub(crate) engine: Handle,
    pub(crate) running: Arc<dyn Running>,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) admin: Admin,
    pub(crate) started: Instant,
    access: watch::Receiver<Access>,
    phase: watch::Receiver<Phase>,
    streams: Arc<Semaphore>,
    calls: Value,
}

/// One entry of the list that `/` shows.
struct Call {
    path: &'static str,
    methods: &'static str,
    about: &'static str,
    handler: fn() -> MethodRouter<Api>,
}

const CALLS: &[Call] = &[
    Call { path: "/", methods: "GET", about: "this list", handler: || get(index) },
    Call {
        path: "/healthz",
        methods: "GET",
        about: "200 while the process lives; needs no token",
        handler: || get(status::health),
    },
    Call {
        path: "/readyz",
        methods: "GET",
        about: "200 while it serves, 503 while it drains; needs no token",
        handler: || get(status::ready),
    },
    Call { path: "/metrics", methods: "GET", about: "Prometheus text", handler: || get(status::metrics) },
    Call {
        path: "/api/v1/status",
        methods: "GET",
        about: "what runs, what is pending, what was last refused, who still holds older revisions",
        handler: || get(status::status),
    },
    Call {
        path: "/api/v1/config",
        methods: "GET, PUT, PATCH",
        about: "the running document; PUT sets the overlay (JSON, YAML, TOML), PATCH merges into it (RFC 7396). \
                Writes take If-Match and ?dry_run=true",
        handler: || get(config::show).put(config::replace).patch(config::patch),
    },
    Call {
        path: "/api/v1/reload",
        methods: "POST",
        about: "reads the files again; ?insist=true takes also those that are held or have shrunk",
        handler: || post(change::reload),
    },
    Call {
        path: "/api/v1/rollback",
        methods: "POST",
        about: "goes back to ?to=REVISION, or to the one before",
        handler: || post(change::rollback),
    },
    Call {
        path: "/api/v1/upgrade",
        methods: "POST",
        about: "replaces the running program without a lost connection; ?binary=FILE names another one, over the Unix \
                socket only",
        handler: || post(upgrade::upgrade),
    },
    Call {
        path: "/api/v1/revisions",
        methods: "GET",
        about: "what ran, newest first; ?limit=N",
        handler: || get(history::list),
    },
    Call {
        path: "/api/v1/revisions/{id}",
        methods: "GET",
        about: "one of them with its document",
        handler: || get(history::show),
    },
    Call {
        path: "/api/v1/revisions/{a}/diff/{b}",
        methods: "GET",
        about: "what leads from one to the other",
        handler: || get(history::diff),
    },
    Call {
        path: "/api/v1/upstreams",
        methods: "GET",
        about: "endpoints with health and load",
        handler: || get(status::upstreams),
    },
    Call {
        path: "/api/v1/explain",
        methods: "GET",
        about: "which layer set each value at or below ?path=routes.api",
        handler: || get(explain::explain),
    },
    Call {
        path: "/api/v1/events",
        methods: "GET",
        about: "server-sent events: steps of changes, verdicts, health, freed generations",
        handler: || get(events::events),
    },
];

impl Admin {
    /// Answers calls from now on, for this engine, data plane and process; those that came earlier have waited.
    pub fn serve(&self, engine: Handle, running: Arc<dyn Running>, process: Arc<dyn Process>) {
        let shared = Shared {
            engine,
            running,
            process,
            admin: self.clone(),
            started: self.started(),
            access: self.access(),
            phase: self.phase(),
            streams: Arc::new(Semaphore::new(events::STREAMS_MAX)),
            calls: list(),
        };
        self.answer_by(router(Arc::new(shared)));
    }
}

fn list() -> Value {
    CALLS.iter().map(|c| json!({ "path": c.path, "methods": c.methods, "about": c.about })).collect()
}

fn router(api: Api) -> Router {
    CALLS
        .iter()
        .fold(Router::new(), |router, call| router.route(call.path, (call.handler)()))
        .fallback(nothing_there)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), guard))
        .with_state(api)
}

async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "nobody called").into_response();
    };
    let admitted = api.access.borrow().admit(caller.via, request.method(), request.uri(), request.headers());
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn index(State(api): State<Api>) -> Json<Value> {
    Json(json!({
        "name": "evergate",
        "version": env!("CARGO_PKG_VERSION"),
        "revision": api.engine.running().id,
        "calls": api.calls,
    }))
}

async fn nothing_there(uri: Uri) -> Problem {
    Problem::not_found(format!("there is no call `{}`; `/` lists all", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("`{}` cannot be called by {method}; `/` lists all", uri.path()),
    )
}

/// A query in which every parameter is known: `?dryrun=true` must not be taken for a wish to apply.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Params(params)),
            Err(refused) => Err(Problem::bad_request(refused.body_text())),
        }
    }
}

/// The tag of a revision.
fn etag(revision: RevisionId) -> HeaderValue {
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Adds the tag of a revision.
fn tagged(revision: RevisionId, body: impl IntoResponse) -> Response {
    ([(header::ETAG, etag(revision))], body).into_response()
}

#[cfg(test)]
mod tests;
