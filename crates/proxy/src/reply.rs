//! Faults become replies here and nowhere else: a small JSON body with a stable code and a sentence.

use bytes::Bytes;
use evergate_contract::Fault;
use evergate_wire::{Payload, ResponseParts};
use http::{HeaderValue, header};

use crate::worker::Worker;

/// The reply to a fault.
pub(crate) fn fault(fault: &Fault, worker: &Worker) -> (ResponseParts, Payload) {
    let kind = fault.kind;
    let status = kind.status();
    // Codes and messages are ours and need no escaping.
    let body = format!(
        "{{\"status\":{},\"error\":\"{}\",\"message\":\"{}\"}}\n",
        status.as_u16(),
        kind.code(),
        kind.message()
    );
    let mut parts = ResponseParts::new(status);
    let headers = &mut parts.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::DATE, worker.date());
    if status == http::StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    (parts, Payload::Full(Bytes::from(body)))
}
