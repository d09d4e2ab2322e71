//! The running document, and edits of the overlay on top of the files.

use std::{error::Error as _, time::Duration};

use axum::{
    Json,
    body::{self, Body},
    extract::State,
    response::{IntoResponse, Response},
};
use evergate_conf::Format;
use evergate_reload::{Body as Content, Intent};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::LengthLimitError;

use super::{
    Api, Params,
    change::{WriteParams, Writer},
    etag, tagged,
};
use crate::problem::Problem;

/// Largest document that is taken.
const BODY_MAX: usize = 64 << 20;
/// For a body to arrive whole.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

const PUT_TYPES: &[(&str, Format)] = &[
    ("application/json", Format::Json),
    ("application/yaml", Format::Yaml),
    ("application/toml", Format::Toml),
    ("application/x-yaml", Format::Yaml),
    ("text/yaml", Format::Yaml),
    ("text/x-yaml", Format::Yaml),
    ("text/toml", Format::Toml),
];
const PATCH_TYPES: &[(&str, Format)] =
    &[("application/merge-patch+json", Format::Json), ("application/json", Format::Json)];

pub(super) async fn show(State(api): State<Api>, headers: HeaderMap) -> Response {
    let running = api.engine.running();
    let tag = etag(running.id);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    tagged(running.id, Json(api.engine.redacted(&running.document)))
}

pub(super) async fn replace(
    State(api): State<Api>,
    writer: Writer,
    Params(params): Params<WriteParams>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match content(&headers, PUT_TYPES, body).await {
        Ok(content) => params.submit(&api, writer, Intent::Replace(content)).await,
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn patch(
    State(api): State<Api>,
    writer: Writer,
    Params(params): Params<WriteParams>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match content(&headers, PATCH_TYPES, body).await {
        Ok(content) => params.submit(&api, writer, Intent::Patch(content)).await,
        Err(problem) => problem.into_response(),
    }
}

async fn content(
    headers: &HeaderMap,
    types: &[(&'static str, Format)],
    body: Body,
) -> Result<Content, Problem> {
    let format = format_of(headers, types)?;
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if error.source().is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("a document has at most {} MiB", BODY_MAX >> 20),
            ));
        }
        Ok(Err(error)) => {
            return Err(Problem::bad_request(format!("the body did not arrive whole: {error}")));
        }
        Err(_) => {
            let detail = "the body did not arrive in time";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail));
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Content::Text(text.into(), format)),
        Err(_) => Err(Problem::bad_request("the body is not UTF-8")),
    }
}

fn format_of(headers: &HeaderMap, types: &[(&'static str, Format)]) -> Result<Format, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if let Some((_, format)) = types.iter().find(|(name, _)| name.eq_ignore_ascii_case(essence)) {
        return Ok(*format);
    }
    let list = types.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let detail = if essence.is_empty() {
        format!("Content-Type is missing: say one of {list}")
    } else {
        format!("`{essence}` is not taken here: send one of {list}")
    };
    let accept = HeaderValue::try_from(list).unwrap_or(HeaderValue::from_static("application/json"));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
        .header(header::ACCEPT, accept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))])
    }

    #[test]
    fn the_media_type_says_the_format() {
        for (value, put, patch) in [
            ("application/json", Some(Format::Json), Some(Format::Json)),
            ("Application/JSON; charset=utf-8", Some(Format::Json), Some(Format::Json)),
            ("application/merge-patch+json", None, Some(Format::Json)),
            ("application/yaml", Some(Format::Yaml), None),
            ("text/x-yaml;charset=utf-8", Some(Format::Yaml), None),
            ("application/toml", Some(Format::Toml), None),
            ("application/x-www-form-urlencoded", None, None),
            ("", None, None),
        ] {
            assert_eq!(format_of(&typed(value), PUT_TYPES).ok(), put, "{value}");
            assert_eq!(format_of(&typed(value), PATCH_TYPES).ok(), patch, "{value}");
        }
        assert!(format_of(&HeaderMap::new(), PUT_TYPES).is_err());
    }

    #[tokio::test]
    async fn bodies_are_text_of_a_bounded_length() {
        let headers = typed("application/json");
        let read = async |body: Body| match content(&headers, PUT_TYPES, body).await {
            Ok(Content::Text(text, _)) => Ok(text.len()),
            Ok(Content::Node(_)) => Ok(0),
            Err(problem) => Err(problem.into_response().status().as_u16()),
        };
        assert_eq!(read(Body::from("{}")).await, Ok(2));
        assert_eq!(read(Body::from(vec![0xff])).await, Err(400));
        assert_eq!(read(Body::from(vec![b' '; BODY_MAX])).await, Ok(BODY_MAX));
        assert_eq!(read(Body::from(vec![b' '; BODY_MAX + 1])).await, Err(413));
    }
}
