//! Refusals as problem documents (RFC 9457): one shape for every error of the API.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use evergate_conf::{Diagnostic, Report, Severity};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

/// Why a call was not answered as asked.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: String,
    /// Extension members, such as the verdict.
    #[serde(flatten)]
    more: Map<String, Value>,
    #[serde(skip)]
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// One thing that is wrong with a document, as programs read it.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    code: &'a str,
    severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u16>,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<&'a str>,
}

impl Problem {
    /// A problem whose type is `urn:evergate:problem:<word>`; the word is stable.
    pub(crate) fn new(status: StatusCode, word: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("urn:evergate:problem:{word}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            more: Map::new(),
            header: None,
        }
    }

    /// Adds an extension member.
    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Problem {
        if let Ok(value) = serde_json::to_value(value) {
            self.more.insert(name.to_owned(), value);
        }
        self
    }

    /// Adds everything that was found, as `problems`.
    pub(crate) fn with_report(self, report: &Report) -> Problem {
        self.with("problems", findings(report))
    }

    /// Adds a header to the response.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.header = Some(Box::new((name, value)));
        self
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    }
}

/// Everything that was found, as programs read it: a list of `{ code, severity, file, line, column, path, message,
/// help, snippet }`, of which those that are not known are left out.
#[must_use]
pub fn findings(report: &Report) -> Value {
    let findings: Vec<Finding<'_>> = report.iter().map(finding).collect();
    serde_json::to_value(findings).unwrap_or_default()
}

fn finding(d: &Diagnostic) -> Finding<'_> {
    let at = d.at.as_ref();
    Finding {
        code: &d.code,
        severity: d.severity,
        file: at.map(|at| at.file.display().to_string()),
        line: at.map(|at| at.line).filter(|line| *line > 0),
        column: at.map(|at| at.column).filter(|column| *column > 0),
        path: &d.path,
        message: &d.message,
        help: d.help.as_deref(),
        snippet: d.snippet.as_deref(),
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let header = self.header.take();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = header.map(|h| *h) {
            headers.insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use evergate_conf::{Path, Place, report::Position};
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn is_a_problem_document_with_findings() {
        let mut report = Report::new();
        let path = Path::from(["routes", "api", "timeot"]);
        report.problem("unknown_key", &path, Place::default(), "unknown key `timeot`").help("`timeout`").at =
            Some(Position { file: "gw.yaml".into(), line: 3, column: 5 });
        report.file_problem("unreadable", "b.yaml".as_ref(), "no such file");
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", "2 problems")
            .with("verdict", "refused")
            .with_report(&report);
        let response = problem.into_response();
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            serde_json::json!({
                "type": "urn:evergate:problem:refused",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "2 problems",
                "verdict": "refused",
                "problems": [
                    {
                        "code": "unknown_key", "severity": "error", "file": "gw.yaml", "line": 3, "column": 5,
                        "path": "routes.api.timeot", "message": "unknown key `timeot`", "help": "`timeout`",
                    },
                    { "code": "unreadable", "severity": "error", "file": "b.yaml", "message": "no such file" },
                ],
            })
        );
    }

    #[test]
    fn carries_a_header() {
        let problem =
            Problem::not_found("no such revision").header(header::ALLOW, HeaderValue::from_static("GET"));
        assert_eq!(problem.into_response().headers()["allow"], "GET");
    }
}
