//! Regular expressions of the document, made in one way by who checks and who matches.

use regex::{Regex, RegexBuilder};

/// What a compiled expression may cost, so that no document can fill the memory.
const BYTES_MAX: usize = 1 << 20;

/// Compiles an expression: Unicode classes, no look-around, no back-references, linear in the length of the text.
///
/// # Errors
/// Says what is wrong with it in one line.
pub fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(BYTES_MAX).dfa_size_limit(BYTES_MAX).build().map_err(|error| {
        match error {
            regex::Error::CompiledTooBig(_) => "the expression is too large".to_owned(),
            error => {
                // The crate draws the expression over several lines; the reason is on the last.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.strip_prefix("error: ").unwrap_or(last).to_owned()
            }
        }
    })
}

/// The groups that a replacement such as `/$1/$name` asks for, as the `regex` crate reads it: the longest name of letters,
/// digits and `_`, or any in braces; `$$` is a dollar.
pub fn groups(replacement: &str) -> impl Iterator<Item = &str> {
    let mut rest = replacement;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('$')?;
            if let Some(after) = after.strip_prefix('$') {
                rest = after;
                continue;
            }
            if let Some((name, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
                rest = after;
                return Some(name);
            }
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            rest = after;
            if !name.is_empty() {
                return Some(name);
            }
        }
    })
}

/// True if the expression has that group, by number or by name.
#[must_use]
pub fn has_group(regex: &Regex, name: &str) -> bool {
    match name.parse::<usize>() {
        Ok(number) => number < regex.captures_len(),
        Err(_) => regex.capture_names().flatten().any(|n| n == name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_in_one_line() {
        for (text, why) in [
            ("(", "unclosed group"),
            ("a**{", "repetition"),
            (r"(?=a)", "look-around"),
            (r"\p{L}{9000}", "too large"),
        ] {
            let error = compile(text).unwrap_err();
            assert!(error.contains(why) && !error.contains('\n'), "{text}: {error}");
        }
        assert!(compile("^/user/[0-9]+$").unwrap().is_match("/user/7"));
    }

    #[test]
    fn finds_the_groups_of_a_replacement() {
        let regex = compile("(?<id>a)(b)").unwrap();
        for (text, names, all) in [
            ("/x", vec![], true),
            ("/$1/$id", vec!["1", "id"], true),
            ("/${id}x$2", vec!["id", "2"], true),
            ("/$$1", vec![], true),
            ("/$1x", vec!["1x"], false),
            ("/$3", vec!["3"], false),
            ("/$", vec![], true),
        ] {
            assert_eq!(groups(text).collect::<Vec<_>>(), names, "{text}");
            assert_eq!(groups(text).all(|name| has_group(&regex, name)), all, "{text}");
        }
    }
}
