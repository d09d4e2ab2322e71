//! What a file is, by its name.

use std::path::Path;

use http::HeaderValue;

/// Where the table of `mime_guess` is behind its standard or not what the web serves under that name.
const BETTER: &[(&str, &str)] = &[
    ("map", "application/json"),
    ("mjs", "text/javascript"), // RFC 9239
    ("ts", "video/mp2t"),       // RFC 8216 §3.2
];

/// The `Content-Type` of a file. Text is said to be UTF-8, but for XML, which says it itself.
pub(crate) fn content_type(path: &Path) -> HeaderValue {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let better = BETTER.iter().find(|(name, _)| extension.eq_ignore_ascii_case(name)).map(|(_, kind)| *kind);
    let kind = better.or_else(|| mime_guess::from_ext(extension).first_raw());
    match kind {
        Some("text/html") => HeaderValue::from_static("text/html; charset=utf-8"),
        Some(kind) if kind.starts_with("text/") && kind != "text/xml" => {
            let text = format!("{kind}; charset=utf-8");
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"))
        }
        Some(kind) => HeaderValue::from_static(kind),
        None => HeaderValue::from_static("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_extension() {
        let rows = [
            ("a.html", "text/html; charset=utf-8"),
            ("a/B.HTML", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.min.js.map", "application/json"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("a.xml", "text/xml"),
            ("a.wasm", "application/wasm"),
            ("a.woff2", "font/woff2"),
            ("a.webp", "image/webp"),
            ("a.ts", "video/mp2t"),
            ("a.tar.gz", "application/gzip"),
            ("a.unheard-of", "application/octet-stream"),
            ("a", "application/octet-stream"),
            ("html", "application/octet-stream"),
        ];
        for (name, expected) in rows {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
    }
}
