//! Changes to headers that the document asks for.

use evergate_contract::config::HeaderEdit;
use evergate_wire::Headers;
use http::{HeaderName, HeaderValue};

/// Changes that a route makes, ready to be made. Most make none, and there may be 100,000 of them.
#[derive(Debug, Default)]
pub(crate) struct Edits(Option<Box<Lists>>);

#[derive(Debug)]
struct Lists {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Edits {
    /// Out of the document. Names and values that are no headers have been refused before, by the check.
    #[must_use]
    pub(crate) fn new(edit: &HeaderEdit) -> Edits {
        if *edit == HeaderEdit::default() {
            return Edits(None);
        }
        let pair = |(name, value): (&String, &String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        };
        Edits(Some(Box::new(Lists {
            remove: edit
                .remove
                .iter()
                .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
                .collect(),
            set: edit.set.iter().filter_map(pair).collect(),
            add: edit.add.iter().filter_map(pair).collect(),
        })))
    }

    /// True if nothing is changed.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// First what is removed, then what is set, then what is added.
    pub(crate) fn apply(&self, headers: &mut Headers) {
        let Some(edits) = &self.0 else { return };
        for name in &edits.remove {
            headers.remove(name);
        }
        for (name, value) in &edits.set {
            headers.insert(name, value);
        }
        for (name, value) in &edits.add {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn edits_are_made_in_order() {
        let edit = HeaderEdit {
            set: [("x-a".to_owned(), "2".to_owned())].into(),
            add: [("x-b".to_owned(), "3".to_owned())].into(),
            remove: vec!["X-C".to_owned(), "x-b".to_owned()],
        };
        let mut headers = map(&[("x-a", "1"), ("x-b", "1"), ("x-c", "1")]);
        Edits::new(&edit).apply(&mut headers);
        assert_eq!(headers, map(&[("x-a", "2"), ("x-b", "3")]));
    }
}
