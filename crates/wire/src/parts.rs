//! What a message says before its body.

use http::{Method, StatusCode, Uri, Version};

use crate::headers::Headers;

/// A request without its body.
#[derive(Clone, Debug, Default)]
pub struct RequestParts {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The version it came by.
    pub version: Version,
    /// The headers.
    pub headers: Headers,
}

/// A response without its body.
#[derive(Clone, Debug, Default)]
pub struct ResponseParts {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: Headers,
}

impl ResponseParts {
    /// One of that status, without headers.
    #[must_use]
    pub fn new(status: StatusCode) -> ResponseParts {
        ResponseParts { status, headers: Headers::new() }
    }
}

impl From<http::request::Parts> for RequestParts {
    fn from(parts: http::request::Parts) -> RequestParts {
        let http::request::Parts { method, uri, version, headers, .. } = parts;
        RequestParts { method, uri, version, headers: headers.into() }
    }
}

impl From<http::response::Parts> for ResponseParts {
    fn from(parts: http::response::Parts) -> ResponseParts {
        ResponseParts { status: parts.status, headers: parts.headers.into() }
    }
}

impl From<ResponseParts> for http::Response<()> {
    fn from(parts: ResponseParts) -> http::Response<()> {
        let mut response = http::Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (parts.status, parts.headers.into());
        response
    }
}
