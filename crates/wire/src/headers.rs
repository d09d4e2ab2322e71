//! Headers of a message, in the order in which they came (RFC 9110 §5.3).
//!
//! A list and no map: a message has a dozen headers, and each is asked for a few times at most. Making the index
//! of a map costs more than all the looks that a gateway takes.

use std::{borrow::Borrow, fmt};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names and values. Names are compared without case, since [`HeaderName`] is lower case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// None.
    #[must_use]
    pub const fn new() -> Headers {
        Headers(Vec::new())
    }

    /// None, with room for so many.
    #[must_use]
    pub fn with_capacity(n: usize) -> Headers {
        Headers(Vec::with_capacity(n))
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of that name.
    #[must_use]
    pub fn get(&self, name: impl Borrow<HeaderName>) -> Option<&HeaderValue> {
        let name = name.borrow();
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// All values of that name.
    pub fn get_all<'h, 'n>(
        &'h self,
        name: &'n HeaderName,
    ) -> impl Iterator<Item = &'h HeaderValue> + use<'h, 'n> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value)
    }

    /// The value of a name that may stand only once; `Err` if it stands more often.
    pub fn only(&self, name: &HeaderName) -> Result<Option<&HeaderValue>, Repeated> {
        let mut all = self.get_all(name);
        match (all.next(), all.next()) {
            (_, Some(_)) => Err(Repeated),
            (only, None) => Ok(only),
        }
    }

    /// True if there is a value of that name.
    #[must_use]
    pub fn contains(&self, name: impl Borrow<HeaderName>) -> bool {
        self.get(name).is_some()
    }

    /// Sets the value of a name, in the place of all that it had.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        match self.0.iter().position(|(n, _)| *n == name) {
            None => self.0.push((name, value)),
            Some(first) => {
                let mut at = 0;
                self.0.retain(|(n, _)| {
                    at += 1;
                    at <= first + 1 || *n != name
                });
                if let Some(line) = self.0.get_mut(first) {
                    line.1 = value;
                }
            }
        }
    }

    /// Sets the value of a name that has none.
    pub fn insert_missing(&mut self, name: HeaderName, value: impl FnOnce() -> HeaderValue) {
        if !self.contains(&name) {
            self.0.push((name, value()));
        }
    }

    /// Adds a line.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Takes all values of a name out. True if there was one.
    pub fn remove(&mut self, name: impl Borrow<HeaderName>) -> bool {
        let (name, before) = (name.borrow(), self.0.len());
        self.0.retain(|(n, _)| n != name);
        self.0.len() < before
    }

    /// Keeps the lines whose names pass.
    pub fn retain(&mut self, mut keep: impl FnMut(&HeaderName) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// Line by line.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

/// A header that may stand once stands more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: I) -> Headers {
        Headers(lines.into_iter().collect())
    }
}

impl Extend<(HeaderName, HeaderValue)> for Headers {
    fn extend<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, lines: I) {
        self.0.extend(lines);
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Headers {
        // Room for what a gateway adds on the way.
        let mut headers = Headers::with_capacity(map.len() + 8);
        let mut last = None;
        for (name, value) in map {
            // A map names a header once, before the first of its values.
            last = name.or(last);
            if let Some(name) = last.clone() {
                headers.append(name, value);
            }
        }
        headers
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers.0 {
            map.append(name, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn list(lines: &[(&'static str, &'static str)]) -> Headers {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn lines_are_set_added_and_taken_out() {
        let all = [("host", "a"), ("via", "1"), ("x-a", "1"), ("via", "2")];
        type Row<'r> = (&'r str, fn(&mut Headers), &'r [(&'static str, &'static str)]);
        let rows: [Row<'_>; 6] = [
            (
                "new",
                |h| h.insert(header::TE, HeaderValue::from_static("t")),
                &[("host", "a"), ("via", "1"), ("x-a", "1"), ("via", "2"), ("te", "t")],
            ),
            (
                "instead",
                |h| h.insert(header::VIA, HeaderValue::from_static("3")),
                &[("host", "a"), ("via", "3"), ("x-a", "1")],
            ),
            ("there", |h| h.insert_missing(header::VIA, || unreachable!("it is there")), &all),
            (
                "more",
                |h| h.append(header::HOST, HeaderValue::from_static("b")),
                &[("host", "a"), ("via", "1"), ("x-a", "1"), ("via", "2"), ("host", "b")],
            ),
            ("out", |h| assert!(h.remove(header::VIA)), &[("host", "a"), ("x-a", "1")]),
            ("none", |h| assert!(!h.remove(header::TE)), &all),
        ];
        for (name, edit, expected) in rows {
            let mut headers = list(&all);
            edit(&mut headers);
            assert_eq!(headers, list(expected), "{name}");
        }
        let headers = list(&all);
        assert_eq!(headers.get(header::VIA).unwrap(), "1");
        assert_eq!(headers.get_all(&header::VIA).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.only(&header::VIA), Err(Repeated));
        assert_eq!(headers.only(&header::TE), Ok(None));
        assert_eq!(headers.only(&header::HOST).unwrap().unwrap(), "a");
    }

    #[test]
    fn to_a_map_and_back() {
        let map = HeaderMap::from(list(&[("via", "1"), ("x-a", "1"), ("via", "2")]));
        assert_eq!(map.get_all("via").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(Headers::from(map), list(&[("via", "1"), ("via", "2"), ("x-a", "1")]));
    }
}
