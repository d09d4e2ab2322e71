//! Conditions past host and path: listener, method, headers, query.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use evergate_contract::{
    config::{Match, Route, TextMatch},
    pattern,
};
use evergate_wire::Headers;
use http::{HeaderName, Method};
use percent_encoding::percent_decode;
use regex::Regex;

use crate::{head::Head, path::PathRule};

/// Everything that must hold of a request, its host aside.
#[derive(Debug)]
pub(crate) struct When {
    pub(crate) path: PathRule,
    methods: Box<[Method]>,
    headers: Box<[(HeaderName, Text)]>,
    query: Box<[(Box<str>, Text)]>,
}

#[derive(Debug)]
enum Text {
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Regex),
    Present(bool),
}

impl When {
    /// Most of 100,000 rules ask for a host alone: these share one.
    pub(crate) fn shared(matches: &Match) -> Result<Arc<When>, String> {
        static ALWAYS: LazyLock<Arc<When>> = LazyLock::new(|| {
            let (path, methods) = (PathRule::Any, Box::default());
            Arc::new(When { path, methods, headers: Box::default(), query: Box::default() })
        });
        let Match { hosts: _, path, methods, headers, query } = matches;
        if path.is_none() && methods.is_empty() && headers.is_empty() && query.is_empty() {
            return Ok(Arc::clone(&ALWAYS));
        }
        When::new(matches).map(Arc::new)
    }

    fn new(matches: &Match) -> Result<When, String> {
        let header = |(name, text): (&String, &TextMatch)| {
            let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
            Ok((name, Text::new(text)?))
        };
        let method = |text: &String| Method::try_from(text.as_str()).map_err(|error| error.to_string());
        let parameter = |(name, text): (&String, &TextMatch)| Ok((name.as_str().into(), Text::new(text)?));
        Ok(When {
            path: PathRule::new(matches.path.as_ref())?,
            methods: matches.methods.iter().map(method).collect::<Result<_, String>>()?,
            headers: matches.headers.iter().map(header).collect::<Result<_, String>>()?,
            query: matches.query.iter().map(parameter).collect::<Result<_, String>>()?,
        })
    }

    /// All but host and path, which the table has looked up.
    pub(crate) fn holds(&self, head: &Head<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(head.method))
            && self.headers.iter().all(|(name, text)| text.holds_in(head.headers, name))
            && self.query.iter().all(|(name, text)| text.holds_of(parameter(head.query, name).as_deref()))
    }
}

/// True if the route serves on that listener.
pub(crate) fn serves_on(route: &Route, listener: &str) -> bool {
    route.listeners.as_ref().is_none_or(|names| names.iter().any(|name| **name == *listener))
}

impl Text {
    fn new(text: &TextMatch) -> Result<Text, String> {
        Ok(match text {
            TextMatch::Exact(value) => Text::Exact(value.as_str().into()),
            TextMatch::Prefix(value) => Text::Prefix(value.as_str().into()),
            TextMatch::Regex(value) => Text::Regex(pattern::compile(value)?),
            TextMatch::Present(there) => Text::Present(*there),
        })
    }

    /// Any of repeated headers may match.
    fn holds_in(&self, headers: &Headers, name: &HeaderName) -> bool {
        match self {
            Text::Present(there) => headers.contains(name) == *there,
            _ => headers.get_all(name).any(|value| self.holds_of_bytes(value)),
        }
    }

    fn holds_of_bytes(&self, value: &[u8]) -> bool {
        match self {
            Text::Exact(text) => value == text.as_bytes(),
            Text::Prefix(text) => value.starts_with(text.as_bytes()),
            // A value that is no text matches no regex.
            Text::Regex(regex) => std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value)),
            Text::Present(there) => *there,
        }
    }

    fn holds_of(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Text::Present(there), _) => value.is_some() == *there,
            (_, None) => false,
            (Text::Exact(text), Some(value)) => value == &**text,
            (Text::Prefix(text), Some(value)) => value.starts_with(&**text),
            (Text::Regex(regex), Some(value)) => regex.is_match(value),
        }
    }
}

/// The first value of a query parameter, decoded as forms write it (`+` and `%20` are blanks).
fn parameter<'q>(query: Option<&'q str>, wanted: &str) -> Option<Cow<'q, str>> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(name, _)| decoded(name) == wanted).map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let blanks = text.replace('+', " ");
    Cow::Owned(percent_decode(blanks.as_bytes()).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn parameters() {
        for (query, name, expected) in [
            ("a=1&b=2", "b", Some("2")),
            ("a=1&a=2", "a", Some("1")),
            ("a", "a", Some("")),
            ("a&b", "c", None),
            ("", "a", None),
            ("a=b=c", "a", Some("b=c")),
            ("%61+x=%26+%2B", "a x", Some("& +")),
            ("A=1", "a", None),
        ] {
            assert_eq!(parameter(Some(query), name).as_deref(), expected, "{query} {name}");
        }
        assert_eq!(parameter(None, "a"), None);
    }

    fn holds(matches: &str, method: &str, headers: &[(&str, &[u8])], query: Option<&str>) -> bool {
        let matches = serde_json::from_str(matches).unwrap();
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap())
        });
        let headers: Headers = headers.collect();
        let method = Method::try_from(method).unwrap();
        let head = Head { method: &method, host: None, path: "/", query, headers: &headers };
        When::new(&matches).unwrap().holds(&head)
    }

    #[test]
    fn methods() {
        let m = r#"{"methods":["GET","PURGE"]}"#;
        assert!(holds(m, "GET", &[], None) && holds(m, "PURGE", &[], None));
        assert!(!holds(m, "HEAD", &[], None) && !holds(m, "get", &[], None));
    }

    #[test]
    fn headers() {
        for (text, value, expected) in [
            (r#""v1""#, &b"v1"[..], true),
            (r#""v1""#, b"v10", false),
            (r#"{"prefix":"v"}"#, b"v1", true),
            (r#"{"prefix":"v"}"#, b"xv", false),
            (r#"{"regex":"[0-9]"}"#, b"a7", true),
            (r#"{"regex":"^[0-9]"}"#, b"a7", false),
            (r#"{"regex":"."}"#, b"\xff", false),
            (r#"{"prefix":""}"#, b"\xff", true),
            (r#"{"present":true}"#, b"", true),
            (r#"{"present":false}"#, b"", false),
        ] {
            let matches = format!(r#"{{"headers":{{"X-A":{text}}}}}"#);
            assert_eq!(holds(&matches, "GET", &[("x-a", value)], None), expected, "{text}");
            let absent = text.contains("false");
            assert_eq!(holds(&matches, "GET", &[("x-b", value)], None), absent, "{text}");
        }
        assert!(holds(r#"{"headers":{"a":"2"}}"#, "GET", &[("a", b"1"), ("a", b"2")], None));
    }

    #[test]
    fn query() {
        assert!(holds(r#"{"query":{"a":"1","b":{"present":false}}}"#, "GET", &[], Some("a=1")));
        assert!(!holds(r#"{"query":{"a":"1","b":{"present":false}}}"#, "GET", &[], Some("a=1&b")));
        assert!(!holds(r#"{"query":{"a":{"regex":""}}}"#, "GET", &[], None));
        assert!(holds(r#"{"query":{"a":{"prefix":"é"}}}"#, "GET", &[], Some("a=%C3%A9t%C3%A9")));
    }
}
