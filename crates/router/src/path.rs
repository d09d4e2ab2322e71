//! Paths: their normal form, what of one a rule matched, and what becomes of it.
//!
//! Rules and requests are compared in the normal form of RFC 3986 §6.2.2: `%61` is `a`, `%c3` is `%C3`. Nothing is
//! resolved: `//` and `%2F` stay what they are and match only themselves, and dot segments are refused, so that
//! what was matched is what an upstream sees.

use std::borrow::Cow;

use evergate_contract::{config::PathMatch, fault::FaultKind, pattern};
use regex::Regex;

/// What must hold of a path, ready to be asked.
#[derive(Clone, Debug)]
pub enum PathRule {
    /// Any path, `*` of `OPTIONS *` too.
    Any,
    /// The whole path.
    Exact(Box<str>),
    /// The start, on a segment border; without a slash at its end, so that `/` is empty.
    Prefix(Box<str>),
    /// Somewhere in it.
    Regex(Regex),
}

impl PathRule {
    /// Compiles what the document says.
    ///
    /// # Errors
    /// If a regex does not compile.
    pub(crate) fn new(path: Option<&PathMatch>) -> Result<PathRule, String> {
        let normal = |text: &str| normalized(text).map_or(text.to_owned(), Cow::into_owned);
        Ok(match path {
            None => PathRule::Any,
            Some(PathMatch::Exact(path)) => PathRule::Exact(normal(path).into()),
            Some(PathMatch::Prefix(path)) => {
                let path = normal(path);
                PathRule::Prefix(path.strip_suffix('/').unwrap_or(&path).into())
            }
            Some(PathMatch::Regex(text)) => PathRule::Regex(pattern::compile(text)?),
        })
    }

    /// What follows the part that was matched: of a prefix match what comes after it, without a path match the
    /// whole path. Empty, or begins with `/`.
    #[must_use]
    pub fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self {
            PathRule::Any => Some(path),
            PathRule::Prefix(prefix) => strip_prefix(path, prefix),
            PathRule::Exact(_) | PathRule::Regex(_) => None,
        }
    }

    /// The path after `rewrite.path: to`: for a prefix match `to` takes the place of the prefix, for a regex that
    /// of the whole path with its groups filled in, otherwise that of the whole path. Begins with `/`.
    #[must_use]
    pub fn rewrite(&self, to: &str, path: &str) -> String {
        let new = match self {
            PathRule::Prefix(prefix) => match strip_prefix(path, prefix) {
                Some("") | None => to.to_owned(),
                Some(rest) => format!("{}{rest}", to.strip_suffix('/').unwrap_or(to)),
            },
            PathRule::Regex(regex) => expand(regex, to, path),
            PathRule::Any | PathRule::Exact(_) => to.to_owned(),
        };
        if new.starts_with('/') { new } else { format!("/{new}") }
    }

    /// Where `redirect.to: to` sends a request: a `*` at its end stands for [`PathRule::rest`], `$1` and `$name` for a
    /// regex's groups; the query is kept unless `to` has one. A path stays on this host whatever the request says.
    #[must_use]
    pub fn redirect(&self, to: &str, path: &str, query: Option<&str>) -> String {
        let (to, fragment) = to.split_once('#').map_or((to, None), |(to, fragment)| (to, Some(fragment)));
        let mut new = match (self, to.strip_suffix('*'), self.rest(path)) {
            (PathRule::Regex(regex), ..) => expand(regex, to, path),
            (_, Some(base), Some("")) if base.len() > 1 => base.strip_suffix('/').unwrap_or(base).to_owned(),
            (_, Some(base), Some("")) => base.to_owned(),
            (_, Some(base), Some(rest)) => format!("{}{rest}", base.strip_suffix('/').unwrap_or(base)),
            _ => to.to_owned(),
        };
        if to.starts_with('/') {
            // Browsers take `//host` and `/\host` for another host.
            let inner = new.trim_start_matches(['/', '\\']).len();
            new.replace_range(..new.len() - inner, "/");
        }
        if let Some(query) = query.filter(|_| !to.contains('?')) {
            new.push('?');
            new.push_str(query);
        }
        if let Some(fragment) = fragment {
            new.push('#');
            new.push_str(fragment);
        }
        new
    }
}

fn expand(regex: &Regex, to: &str, path: &str) -> String {
    let mut new = String::with_capacity(to.len() + path.len());
    match regex.captures(path) {
        Some(captures) => captures.expand(to, &mut new),
        None => new.push_str(to),
    }
    new
}

/// What follows a prefix that ends on a segment border.
pub(crate) fn strip_prefix<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() && !prefix.is_empty() || rest.starts_with('/'))
}

/// The path as rules see it. Borrowed unless something had to be written otherwise.
///
/// Escapes of letters, digits and `-._~` are undone, other escapes are upper-case, what is not ASCII is escaped.
/// A path that begins with `/` stays one.
///
/// # Errors
/// A path that is neither `*` nor begins with `/`, that has `.` or `..` segments however written (also between
/// backslashes or escaped slashes, or before a `;`, since some servers resolve those), `%00`, a bad escape, `#`, or a
/// control character.
pub fn normalized(path: &str) -> Result<Cow<'_, str>, FaultKind> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(FaultKind::BadRequest("the path does not begin with a slash"));
    }
    let bytes = path.as_bytes();
    let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'%' | b'#' | b'\\');
    let dotted = bytes.windows(2).any(|pair| pair == b"/.");
    if !dotted && bytes.iter().all(plain) {
        return Ok(Cow::Borrowed(path));
    }
    let normal = if bytes.iter().all(plain) { Cow::Borrowed(path) } else { Cow::Owned(unescape(path)?) };
    if has_dot_segment(&normal) {
        return Err(FaultKind::BadRequest("the path has dot segments"));
    }
    Ok(normal)
}

fn unescape(path: &str) -> Result<String, FaultKind> {
    const BAD: FaultKind = FaultKind::BadRequest("the path has a bad escape");
    let mut new = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex)) else {
                    return Err(BAD);
                };
                match high << 4 | low {
                    0 => return Err(FaultKind::BadRequest("the path has an escaped zero byte")),
                    b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => new.push(char::from(b)),
                    b => escape(b, &mut new),
                }
            }
            b'#' | 0..=b' ' | 0x7f => {
                return Err(FaultKind::BadRequest("the path has characters that no path has"));
            }
            0x80.. => escape(byte, &mut new),
            _ => new.push(char::from(byte)),
        }
    }
    Ok(new)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn escape(byte: u8, into: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    into.push('%');
    into.extend([byte >> 4, byte & 15].iter().filter_map(|digit| DIGITS.get(usize::from(*digit))));
}

/// `path` is in its normal form, so that dots are dots.
fn has_dot_segment(path: &str) -> bool {
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.split(['/', '\\']).any(|part| {
        // `%2F` and `%5C` hide a segment border from us, not from everybody.
        part.split("%2F").flat_map(|part| part.split("%5C")).any(dots)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(path: &str) -> PathRule {
        PathRule::new(Some(&PathMatch::Exact(path.into()))).unwrap()
    }

    fn prefix(path: &str) -> PathRule {
        PathRule::new(Some(&PathMatch::Prefix(path.into()))).unwrap()
    }

    fn regex(path: &str) -> PathRule {
        PathRule::new(Some(&PathMatch::Regex(path.into()))).unwrap()
    }

    #[test]
    fn normal_forms() {
        for (path, expected) in [
            ("/", "/"),
            ("*", "*"),
            ("/a//b/", "/a//b/"),
            ("/%61%2d%7E", "/a-~"),
            ("/%c3%a9", "/%C3%A9"),
            ("/é", "/%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/.well-known/..x/x../...", "/.well-known/..x/x../..."),
            ("/a\\b", "/a\\b"),
            ("/a;b=c", "/a;b=c"),
        ] {
            assert_eq!(normalized(path).as_deref(), Ok(expected), "{path}");
            assert_eq!(normalized(expected).as_deref(), Ok(expected), "{path}");
        }
        assert!(matches!(normalized("/a/.b"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn refused_paths() {
        for path in [
            "",
            "a",
            "**",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/%00",
            "/%",
            "/%4",
            "/%zz",
            "/%é",
            "/a#b",
            "/a b",
            "/a\u{7f}",
            "/a/..\\b",
            "/a/..%2fb",
            "/a/%2e%2e%5Cb",
            "/a%2F..",
            "/a/..;x/b",
            "/\t",
        ] {
            assert!(matches!(normalized(path), Err(FaultKind::BadRequest(_))), "{path}");
        }
    }

    #[test]
    fn prefixes_end_on_segment_borders() {
        for (text, path, rest) in [
            ("/api", "/api", Some("")),
            ("/api", "/api/", Some("/")),
            ("/api", "/api/x", Some("/x")),
            ("/api", "/apix", None),
            ("/api/", "/api", Some("")),
            ("/api/", "/api/x", Some("/x")),
            ("/", "/", Some("/")),
            ("/", "/x", Some("/x")),
            ("/", "*", None),
            ("/%61", "/a/b", Some("/b")),
        ] {
            assert_eq!(prefix(text).rest(path), rest, "{text} {path}");
        }
    }

    #[test]
    fn rewrites() {
        for (rule, to, path, expected) in [
            (prefix("/api"), "/", "/api/x/", "/x/"),
            (prefix("/api"), "/", "/api", "/"),
            (prefix("/api"), "/v2", "/api/x", "/v2/x"),
            (prefix("/api"), "/v2/", "/api/x", "/v2/x"),
            (prefix("/api"), "/v2/", "/api", "/v2/"),
            (prefix("/"), "/v2", "/x", "/v2/x"),
            (prefix("/api"), "/", "/api//x", "//x"),
            (PathRule::Any, "/v2", "/x", "/v2"),
            (exact("/a"), "/b", "/a", "/b"),
            (regex("^/user/(?<id>[0-9]+)/(.*)$"), "/u/$2/$id", "/user/7/x/y", "/u/x/y/7"),
            (regex("^(.*)$"), "$1", "/x", "/x"),
        ] {
            assert_eq!(rule.rewrite(to, path), expected, "{rule:?} {to} {path}");
        }
    }

    #[test]
    fn redirects() {
        for (rule, to, path, query, expected) in [
            (prefix("/old"), "/new", "/old/x", None, "/new"),
            (prefix("/old"), "/new/*", "/old/x", Some("q=1"), "/new/x?q=1"),
            (prefix("/old"), "/new/*", "/old", None, "/new"),
            (prefix("/old"), "/new*", "/old/x", None, "/new/x"),
            (prefix("/old"), "/*", "/old", None, "/"),
            (prefix("/old"), "/new?a=b", "/old", Some("q=1"), "/new?a=b"),
            (prefix("/old"), "/new#top", "/old", Some("q=1"), "/new?q=1#top"),
            (prefix("/old"), "https://h/*", "/old/x", None, "https://h/x"),
            (PathRule::Any, "https://h/*", "/x/y", None, "https://h/x/y"),
            (PathRule::Any, "https://h/*", "/", None, "https://h/"),
            (regex("^/u/([0-9]+)"), "/user/$1", "/u/7", None, "/user/7"),
            (exact("/a"), "/b", "/a", None, "/b"),
            // Never another host.
            (prefix("/old"), "/*", "/old//evil.example", None, "/evil.example"),
            (prefix("/old"), "/*", "/old/\\evil.example", None, "/evil.example"),
            (regex("^/old/(.*)"), "/$1", "/old//evil.example", None, "/evil.example"),
        ] {
            assert_eq!(rule.redirect(to, path, query), expected, "{rule:?} {to} {path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_normal_form_is_its_own(path in "/([a.%/\\\\;é#]|%2[ef5F]|%5c|%61){0,12}") {
            if let Ok(normal) = normalized(&path) {
                proptest::prop_assert!(normalized(&normal).is_ok_and(|again| again == normal));
                proptest::prop_assert!(normal.starts_with('/') && normal.is_ascii());
                proptest::prop_assert!(!normal.split('/').any(|s| s == "." || s == ".."));
                // As another host it would be read by its start.
                let place = prefix("/").redirect("/*", &normal, None);
                proptest::prop_assert!(place.starts_with('/') && !place[1..].starts_with(['/', '\\']), "{}", place);
            }
        }
    }
}
