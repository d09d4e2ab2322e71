//! From a request's target to a relative path, or to nothing: whatever two parsers could take for different files
//! is no file.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// What a target names below the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Relative, of plain names only; empty for the root.
    pub(crate) path: PathBuf,
    /// It ends with a slash, and so can only be a folder.
    pub(crate) slash: bool,
}

/// The one folder with a dot that the web knows (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// Decodes each segment of a path once. `None` for what is never served: `.` and `..`, names with a dot in front
/// other than `/.well-known/`, empty segments, NUL, backslash, an encoded slash, and broken percent signs.
///
/// An empty segment is not passed over, and an encoded slash is no slash, because the route was chosen by the path
/// as it stands: `//private` or `%2Fprivate` must not reach what the route of `/private` guards.
pub(crate) fn target(path: &str) -> Option<Target> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (path, slash) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, false),
    };
    let mut bytes = Vec::with_capacity(path.len());
    if !path.is_empty() {
        for (i, segment) in path.split('/').enumerate() {
            if i > 0 {
                bytes.push(b'/');
            }
            let start = bytes.len();
            decode(segment, &mut bytes)?;
            let name = bytes.get(start..)?;
            let hidden = name.first()? == &b'.' && !(i == 0 && name == WELL_KNOWN);
            if hidden || name.iter().any(|byte| matches!(byte, 0 | b'/' | b'\\')) {
                return None;
            }
        }
    } else if slash {
        // `//`, whose two slashes were both taken off.
        return None;
    }
    Some(Target { path: PathBuf::from(OsString::from_vec(bytes)), slash })
}

fn decode(segment: &str, out: &mut Vec<u8>) -> Option<()> {
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        out.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            _ => byte,
        });
    }
    Some(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    fn read(path: &str) -> Option<(String, bool)> {
        target(path).map(|target| (target.path.to_string_lossy().into_owned(), target.slash))
    }

    #[test]
    fn served() {
        let rows = [
            ("", "", false),
            ("/", "", false),
            ("a", "a", false),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b.html", "a/b.html", false),
            ("/a%20b%C3%A4", "a bä", false),
            ("/a+b", "a+b", false),
            ("/%252e", "%2e", false),
            ("/a..b/c.", "a..b/c.", false),
            ("/.well-known/acme", ".well-known/acme", false),
            ("/%2ewell-known/acme", ".well-known/acme", false),
            ("/a:b;c=d", "a:b;c=d", false),
        ];
        for (path, expected, slash) in rows {
            // A lone slash is the leading one.
            assert_eq!(read(path), Some((expected.to_owned(), slash)), "{path:?}");
        }
    }

    #[test]
    fn not_served() {
        let rows = [
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/../a",
            "/a/..",
            "/a/../b",
            "/%2e%2e/a",
            "/.%2E/a",
            "/a/.",
            "/.git",
            "/.git/config",
            "/a/.env",
            "/%2eenv",
            "/a/.well-known/b",
            "/.well-known/.env",
            "/.well-knownx",
            "/a%2Fb",
            "/a%2fb",
            "/%2F",
            "/a%00",
            "/a\0",
            "/a\\b",
            "/a%5Cb",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%+1",
        ];
        for path in rows {
            assert_eq!(read(path), None, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn only_plain_names(path in r"(/|\.|%2e|%2F|%5c|%00|%25|%|\\|a|[\x00-\x7f]|ä){0,12}") {
            if let Some(target) = target(&path) {
                prop_assert!(target.path.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(!target.path.to_string_lossy().contains(['\0', '\\']));
            }
        }
    }
}
