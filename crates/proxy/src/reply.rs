//! Faults become replies here and nowhere else: a small JSON body with a stable code and a sentence.

use bytes::Bytes;
use evergate_contract::Fault;
use evergate_wire::Payload;
use http::{HeaderValue, Response, header};

use crate::worker::Worker;

/// The reply to a fault.
pub(crate) fn fault(fault: &Fault, worker: &Worker) -> Response<Payload> {
    let kind = fault.kind;
    let status = kind.status();
    // Codes and messages are ours and need no escaping.
    let body = format!(
        "{{\"status\":{},\"error\":\"{}\",\"message\":\"{}\"}}\n",
        status.as_u16(),
        kind.code(),
        kind.message()
    );
    let mut response = Response::new(Payload::Full(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::DATE, worker.date());
    if status == http::StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
