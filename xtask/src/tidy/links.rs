//! Links between the documents lead somewhere.

use std::collections::{HashMap, HashSet};

use super::{File, Problem};

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let texts: HashMap<&str, &str> = files.iter().map(|f| (f.path.as_str(), f.text.as_str())).collect();
    let folders: HashSet<&str> =
        texts.keys().flat_map(|path| path.match_indices('/').filter_map(|(i, _)| path.get(..i))).collect();
    let mut problems = Vec::new();
    for file in files.iter().filter(|f| f.path.ends_with(".md")) {
        for (line, link) in links(&file.text) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if target.is_empty() { file.path.clone() } else { resolve(&file.path, target) };
            let text = texts.get(path.as_str());
            if text.is_none() && !folders.contains(path.as_str()) {
                problems.push(Problem::new(&file.path, line, format!("link leads nowhere: {link}")));
            } else if !anchor.is_empty() && !text.is_some_and(|t| anchors(t).any(|a| a == anchor)) {
                problems.push(Problem::new(&file.path, line, format!("no such heading: {link}")));
            }
        }
    }
    problems
}

/// Relative targets of `[text](target)`, with their lines; code is no text.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (i, line) in prose(text) {
        let mut rest = line;
        while let Some((_, tail)) = rest.split_once("](") {
            let Some((link, after)) = tail.split_once(')') else { break };
            let link = link.split_whitespace().next().unwrap_or_default();
            if !link.contains("://") && !link.starts_with("mailto:") {
                found.push((i, link));
            }
            rest = after;
        }
    }
    found
}

/// Lines outside of fenced code, from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((i + 1, line))
    })
}

/// Anchors as GitHub makes them of headings.
fn anchors(text: &str) -> impl Iterator<Item = String> + '_ {
    let headings =
        prose(text).filter_map(|(_, l)| l.strip_prefix('#').map(|l| l.trim_start_matches('#').trim()));
    headings.map(|heading| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    })
}

fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." if !parts.is_empty() => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: usize) {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files =
            [file("docs/a.md", text), file("docs/x/b.md", "# Big `news`, here\n"), file("top.rs", "")];
        assert_eq!(super::check(&files).len(), expected, "{text}");
    }

    #[test]
    fn links_lead_somewhere() {
        check("[a](x/b.md) and [b](../top.rs), [c](https://example.com/x), [d](x)", 0);
        check("[a](b.md) and [b](../../top.rs)", 2);
        check("[a](x/b.md#big-news-here), [b](x/b.md#small)", 1);
        check("```\n[a](nowhere)\n```\n# Here\n[b](#here) [c](#there)", 1);
    }
}
