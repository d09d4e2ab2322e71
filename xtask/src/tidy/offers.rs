//! What the program offers to the outside stands in its document: every metric, every call of the API.

use super::{File, Problem};

/// Texts in a source that a document must name.
struct Offer {
    source: &'static str,
    /// How such a text begins in the source, quote included.
    starts: &'static [&'static str],
    document: &'static str,
}

const OFFERS: [Offer; 2] = [
    Offer {
        source: "crates/admin/src/metrics.rs",
        starts: &["\"gateway_", "\"process_"],
        document: "docs/metrics.md",
    },
    Offer {
        source: "crates/admin/src/api.rs",
        starts: &["path: \"/healthz", "path: \"/readyz", "path: \"/metrics", "path: \"/api/"],
        document: "docs/admin-api.md",
    },
];

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    OFFERS.iter().flat_map(|offer| missing(files, offer)).collect()
}

fn missing(files: &[File], offer: &Offer) -> Vec<Problem> {
    let text = |path: &str| files.iter().find(|f| f.path == path).map(|f| f.text.as_str());
    let Some(source) = text(offer.source) else {
        let text =
            format!("xtask/src/tidy/offers.rs looks for {} here, which is gone", offer.starts.join(", "));
        return vec![Problem::new(offer.source, 0, text)];
    };
    let document = text(offer.document).unwrap_or_default();
    let named = |name: &str| {
        ["`", " "]
            .iter()
            .any(|before| ["`", "?"].iter().any(|after| document.contains(&format!("{before}{name}{after}"))))
    };
    let mut problems = Vec::new();
    for (i, line) in source.lines().enumerate() {
        for start in offer.starts {
            let Some((_, rest)) = line.split_once(start) else { continue };
            let begin = start.rsplit('"').next().unwrap_or_default();
            let name = format!("{begin}{}", rest.split('"').next().unwrap_or_default());
            if !named(&name) {
                let text = format!("`{name}` is not in {}", offer.document);
                problems.push(Problem::new(offer.source, i + 1, text));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_documented() {
        let offer = Offer { source: "a.rs", starts: &["\"gateway_", "path: \"/api/"], document: "a.md" };
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let check = |source: &str, document: &str| {
            let found = missing(&[file("a.rs", source), file("a.md", document)], &offer);
            found.into_iter().map(|p| p.text).collect::<Vec<_>>()
        };
        assert!(check("f(\"gateway_x\")", "| `gateway_x` | y |").is_empty());
        assert_eq!(check("f(\"gateway_x\")", "`gateway_xy`"), ["`gateway_x` is not in a.md"]);
        assert!(check("path: \"/api/v1/x\",", "| `GET /api/v1/x` |").is_empty());
        assert_eq!(check("path: \"/api/v1/x\",", ""), ["`/api/v1/x` is not in a.md"]);
        assert_eq!(missing(&[], &offer).len(), 1);
    }
}
