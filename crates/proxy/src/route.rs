//! A route, compiled: what becomes of a request that matches it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use evergate_contract::config;
use evergate_kit::{Keep, Rng};
use evergate_site::Site;
use evergate_wire::Headers;
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::{edits::Edits, share::Share};

/// One route of a snapshot. It lies beside the name of its host, so it is small.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Its number in the metrics, which belongs to the name for as long as the program runs. 0 is "no route".
    pub number: u32,
    /// What becomes of requests. Made anew only when that part of the document changes.
    pub does: Arc<Does>,
}

/// By what is held, not by what it says: another `Does` that says the same is another change's.
impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.does, &other.does)
    }
}

/// What a route does. Where that is little, routes that do the same share it.
#[derive(Debug)]
pub(crate) struct Does {
    /// Changes to requests.
    pub request: Edits,
    /// Changes to responses.
    pub response: Edits,
    /// The whole time for an answer.
    pub timeout: Option<Duration>,
    body_max: Option<u64>,
    /// What is done.
    pub action: Action,
}

/// All that a route does which only forwards to one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Little {
    to: usize,
    timeout: Option<Duration>,
    body_max: Option<u64>,
}

impl Little {
    /// Two that are the same have the same, and no others.
    fn key(&self) -> String {
        let Little { to, timeout, body_max } = self;
        let nanos = timeout.map(|timeout| timeout.as_nanos());
        format!("{to} {nanos:?} {body_max:?}")
    }
}

/// What is done with a request.
#[derive(Debug)]
pub(crate) enum Action {
    /// Sent to an upstream.
    Forward(Forward),
    /// Answered with these.
    Respond(Box<Respond>),
    /// Sent elsewhere, with this status.
    Redirect(String, StatusCode),
    /// Answered with a file.
    Files(Site),
}

/// Where requests are sent.
#[derive(Debug)]
pub(crate) struct Forward {
    to: Share<usize>,
    /// The new path, as [`evergate_router::PathRule::rewrite`] reads it.
    pub path: Option<Box<str>>,
    /// The new `Host`.
    pub host: Option<Box<HeaderValue>>,
}

/// A fixed response.
#[derive(Debug)]
pub(crate) struct Respond {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
}

impl Does {
    /// Compiles a route that the check has passed; `number_of` gives the number of an upstream.
    #[must_use]
    pub(crate) fn new(source: &config::Route, number_of: &dyn Fn(&str) -> usize) -> Does {
        Does {
            request: Edits::new(&source.headers.request),
            response: Edits::new(&source.headers.response),
            timeout: source.timeout.map(|t| *t),
            body_max: source.limits.body.map(|size| size.0),
            action: action(source, number_of),
        }
    }

    /// All of it, where it is so little that other routes may do the same.
    #[must_use]
    fn little(&self) -> Option<Little> {
        let Does { request, response, timeout, body_max, action } = self;
        match action {
            Action::Forward(Forward { to: Share::All(to), path: None, host: None })
                if request.is_empty() && response.is_empty() =>
            {
                Some(Little { to: *to, timeout: *timeout, body_max: *body_max })
            }
            _ => None,
        }
    }

    /// The same; where other routes do it too, theirs. `alike` are those that were looked for already.
    #[must_use]
    pub(crate) fn held_once(self, keep: &Keep, alike: &mut HashMap<Little, Arc<Does>>) -> Arc<Does> {
        let Some(little) = self.little() else { return Arc::new(self) };
        let known = || keep.get("route", &little.key(), || self);
        Arc::clone(alike.entry(little).or_insert_with(known))
    }

    /// Bytes of a request's body at most; `listener` is what the listener says.
    #[must_use]
    pub(crate) fn body_max(&self, listener: Option<u64>) -> Option<u64> {
        self.body_max.or(listener)
    }
}

fn action(source: &config::Route, number_of: &dyn Fn(&str) -> usize) -> Action {
    if let Some(forward) = &source.forward {
        let to = Share::new(forward, |name| number_of(name));
        let rewrite = source.rewrite.as_deref();
        let path = rewrite.and_then(|r| r.path.as_deref()).map(Into::into);
        let host = rewrite.and_then(|r| HeaderValue::from_str(r.host.as_ref()?).ok()).map(Box::new);
        return Action::Forward(Forward { to, path, host });
    }
    if let Some(redirect) = &source.redirect {
        return Action::Redirect(
            redirect.to.clone(),
            StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND),
        );
    }
    if let Some(files) = &source.files {
        return Action::Files(Site::new(files));
    }
    let nothing = config::Respond::default();
    Action::Respond(Box::new(Respond::new(source.respond.as_deref().unwrap_or(&nothing))))
}

impl Forward {
    /// Number of the upstream for one request.
    #[must_use]
    pub(crate) fn choose(&self, rng: &Rng) -> Option<usize> {
        self.to.choose(rng).copied()
    }
}

impl Respond {
    fn new(respond: &config::Respond) -> Respond {
        let mut headers = Headers::new();
        if !respond.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        for (name, value) in &respond.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                headers.insert(name, value);
            }
        }
        if !respond.body.is_empty() {
            // Where there is a body its own length is sent; this is for HEAD (RFC 9110 §8.6).
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(respond.body.len()));
        }
        Respond {
            status: StatusCode::from_u16(respond.status).unwrap_or(StatusCode::OK),
            headers: headers.shrunk(),
            body: Bytes::from(respond.body.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_little_is_told_apart_by_all_of_it() {
        let little = |route: &str| {
            let source: config::Route = serde_json::from_str(route).unwrap();
            Does::new(&source, &|name| name.len()).little().map(|little| little.key())
        };
        let plain = little(r#"{"forward":"a"}"#);
        assert!(plain.is_some());
        assert_eq!(little(r#"{"match":{"hosts":["x"]},"forward":"b"}"#), plain, "its number is the same");
        for other in [
            r#"{"forward":"ab"}"#,
            r#"{"forward":"a","timeout":"5s"}"#,
            r#"{"forward":"a","limits":{"body":5}}"#,
            r#"{"forward":"a","rewrite":{"path":"/x"}}"#,
            r#"{"forward":"a","rewrite":{"host":"x"}}"#,
            r#"{"forward":"a","headers":{"request":{"set":{"x":"y"}}}}"#,
            r#"{"forward":"a","headers":{"response":{"remove":["x"]}}}"#,
            r#"{"forward":{"to":[{"upstream":"a","weight":1},{"upstream":"b","weight":1}]}}"#,
            r#"{"respond":{}}"#,
        ] {
            assert_ne!(little(other), plain, "{other}");
        }
        let keep = Keep::new();
        let held = |route: &str| {
            let source: config::Route = serde_json::from_str(route).unwrap();
            Does::new(&source, &|name| name.len()).held_once(&keep, &mut HashMap::new())
        };
        let first = held(r#"{"forward":"a"}"#);
        assert!(Arc::ptr_eq(&first, &held(r#"{"forward":"b"}"#)), "also from change to change");
        assert!(!Arc::ptr_eq(&first, &held(r#"{"forward":"ab"}"#)));
        assert_eq!(size_of::<Route>(), 16, "it lies beside the name of its host");
    }
}
