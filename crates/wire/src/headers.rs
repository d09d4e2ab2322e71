//! Headers of a message, in the order in which they came (RFC 9110 §5).
//!
//! A list of places and no map: what was received stays where it is, and what a gateway passes on unchanged is
//! copied once, from there to the wire. A message has a dozen headers, each asked for a few times at most; making
//! the index of a map would cost more than all these looks. Values are bytes that were checked on their way in.

use std::{borrow::Borrow, fmt, ops::Range};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Lines that a gateway adds to most messages, together.
const ADDED: usize = 320;

/// Names and values. Names are compared without case and keep the one that they came in.
#[derive(Clone, Default)]
pub struct Headers {
    /// What was received.
    block: Bytes,
    /// What was added here, as `name: value` lines.
    added: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a line is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Tells most names apart: length, first and last byte.
    tag: u32,
    name: u32,
    value: u32,
    value_end: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In what was received, written just as we would: it can be copied with its neighbours.
    Plain,
    /// In what was received, in another form.
    Received,
    Added,
}

/// A header that may stand once stands more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

/// Names that are looked for together.
pub struct Names<const N: usize> {
    tags: [u32; N],
    names: [&'static str; N],
}

impl<const N: usize> Names<N> {
    /// These, in lower case.
    #[must_use]
    pub const fn of(names: [&'static str; N]) -> Names<N> {
        let mut tags = [0; N];
        let mut i = 0;
        while i < N {
            tags[i] = tag(names[i].as_bytes());
            i += 1;
        }
        Names { tags, names }
    }

    /// True if that name is one of them.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        let tag = tag(name);
        let mut known = self.tags.iter().zip(&self.names);
        known.any(|(own, text)| *own == tag && text.as_bytes().eq_ignore_ascii_case(name))
    }
}

const fn tag(name: &[u8]) -> u32 {
    // With this bit set letters have no case; what it does to other bytes it does to all alike.
    match name {
        [] => 0,
        [first, ..] => {
            let last = name[name.len() - 1];
            name.len() as u32 & 0xffff | ((*first | 0x20) as u32) << 16 | ((last | 0x20) as u32) << 24
        }
    }
}

impl Line {
    /// The line whose name begins at `name` and ends before `name_end`. `end` is behind its CR LF.
    pub(crate) fn received(block: &[u8], name: Range<usize>, value: Range<usize>, end: usize) -> Line {
        let plain =
            value.start == name.end + 2 && value.end + 2 == end && block.get(name.end + 1) == Some(&b' ');
        Line {
            tag: tag(block.get(name.clone()).unwrap_or_default()),
            name: name.start as u32,
            value: value.start as u32,
            value_end: value.end as u32,
            place: if plain { Place::Plain } else { Place::Received },
        }
    }

    /// The line `name: value`, with its CR LF, that begins at `at`.
    pub(crate) fn plain(name: &[u8], at: usize, value: usize) -> Line {
        let value_at = at + name.len() + 2;
        Line {
            tag: tag(name),
            name: at as u32,
            value: value_at as u32,
            value_end: (value_at + value) as u32,
            place: Place::Plain,
        }
    }

    fn name(&self) -> Range<usize> {
        self.name as usize..self.name as usize + (self.tag & 0xffff) as usize
    }

    fn value(&self) -> Range<usize> {
        self.value as usize..self.value_end as usize
    }
}

impl Headers {
    /// None.
    #[must_use]
    pub const fn new() -> Headers {
        Headers { block: Bytes::new(), added: Vec::new(), lines: Vec::new() }
    }

    /// Lines of a block, whose names and values have been checked.
    pub(crate) fn received(block: Bytes, lines: Vec<Line>) -> Headers {
        Headers { block, added: Vec::new(), lines }
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The first value of that name.
    #[must_use]
    pub fn get(&self, name: impl Borrow<HeaderName>) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The first value of that name, if it is visible ASCII with blanks.
    #[must_use]
    pub fn text(&self, name: impl Borrow<HeaderName>) -> Option<&str> {
        as_text(self.get(name)?)
    }

    /// All values of that name.
    pub fn get_all<N: Borrow<HeaderName>>(&self, name: N) -> impl Iterator<Item = &[u8]> + use<'_, N> {
        let tag = tag(name.borrow().as_str().as_bytes());
        self.lines
            .iter()
            .filter(move |line| line.tag == tag && self.is(line, name.borrow()))
            .map(|line| self.slice(line, line.value()))
    }

    /// The value of a name that may stand only once; `Err` if it stands more often.
    pub fn only(&self, name: impl Borrow<HeaderName>) -> Result<Option<&[u8]>, Repeated> {
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
    pub fn insert(&mut self, name: impl Borrow<HeaderName>, value: impl Borrow<HeaderValue>) {
        self.remove(name.borrow());
        self.append(name, value);
    }

    /// Sets the value of a name that has none.
    pub fn insert_missing(&mut self, name: impl Borrow<HeaderName>, value: impl FnOnce() -> HeaderValue) {
        if !self.contains(name.borrow()) {
            self.append(name, value());
        }
    }

    /// Sets the value of a name to the first of another name, if that has one; else takes it out.
    pub fn insert_from(&mut self, name: impl Borrow<HeaderName>, other: impl Borrow<HeaderName>) {
        self.remove(name.borrow());
        let tag = tag(other.borrow().as_str().as_bytes());
        let found = self.lines.iter().find(|line| line.tag == tag && self.is(line, other.borrow()));
        let Some(line) = found.copied() else { return };
        let (at, name) = (self.begin(line.value().len()), name.borrow().as_str().as_bytes());
        self.added.extend_from_slice(name);
        self.added.extend_from_slice(b": ");
        match line.place {
            Place::Added => self.added.extend_from_within(line.value()),
            Place::Plain | Place::Received => {
                self.added.extend_from_slice(self.block.get(line.value()).unwrap_or_default());
            }
        }
        self.end(at, name);
    }

    /// Adds a line.
    pub fn append(&mut self, name: impl Borrow<HeaderName>, value: impl Borrow<HeaderValue>) {
        let (name, value) = (name.borrow().as_str().as_bytes(), value.borrow().as_bytes());
        let at = self.begin(value.len());
        self.added.extend_from_slice(name);
        self.added.extend_from_slice(b": ");
        self.added.extend_from_slice(value);
        self.end(at, name);
    }

    /// Takes all values of a name out. True if there was one.
    pub fn remove(&mut self, name: impl Borrow<HeaderName>) -> bool {
        let tag = tag(name.borrow().as_str().as_bytes());
        // Mostly there is none: then nothing is moved.
        if !self.lines.iter().any(|line| line.tag == tag) {
            return false;
        }
        let before = self.lines.len();
        self.retain(|other| !other.eq_ignore_ascii_case(name.borrow().as_str().as_bytes()));
        self.lines.len() < before
    }

    /// Takes all values of these names out, except for one name.
    pub fn remove_all<const N: usize>(&mut self, names: &Names<N>, but: &str) {
        if !self.lines.iter().any(|line| names.tags.contains(&line.tag)) {
            return;
        }
        let (block, added) = (&self.block, &self.added);
        self.lines.retain(|line| {
            if !names.tags.contains(&line.tag) {
                return true;
            }
            let name = slice(block, added, line, line.name());
            !names.has(name) || name.eq_ignore_ascii_case(but.as_bytes())
        });
    }

    /// Gives back the room for more: for headers that are kept.
    #[must_use]
    pub fn shrunk(mut self) -> Headers {
        self.added.shrink_to_fit();
        self.lines.shrink_to_fit();
        self
    }

    /// Keeps the lines whose names pass.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let (block, added) = (&self.block, &self.added);
        self.lines.retain(|line| keep(slice(block, added, line, line.name())));
    }

    /// Names and values, line by line.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.slice(line, line.name()), self.slice(line, line.value())))
    }

    /// All lines as HTTP/1.1 has them, each with its CR LF.
    pub fn write(&self, out: &mut BytesMut) {
        out.reserve(self.block.len() + self.added.len());
        let mut run = 0..0;
        let mut run_place = Place::Plain;
        for line in &self.lines {
            let whole = line.name as usize..line.value_end as usize + 2;
            if line.place == run_place && run.end == whole.start && line.place != Place::Received {
                run.end = whole.end;
                continue;
            }
            self.write_run(run_place, std::mem::replace(&mut run, whole), out);
            run_place = line.place;
            if line.place == Place::Received {
                out.put_slice(self.slice(line, line.name()));
                out.put_slice(b": ");
                out.put_slice(self.slice(line, line.value()));
                out.put_slice(b"\r\n");
                run = 0..0;
            }
        }
        self.write_run(run_place, run, out);
    }

    fn write_run(&self, place: Place, run: Range<usize>, out: &mut BytesMut) {
        let from: &[u8] = if place == Place::Added { &self.added } else { &self.block };
        out.put_slice(from.get(run).unwrap_or_default());
    }

    fn is(&self, line: &Line, name: &HeaderName) -> bool {
        self.slice(line, line.name()).eq_ignore_ascii_case(name.as_str().as_bytes())
    }

    fn slice(&self, line: &Line, range: Range<usize>) -> &[u8] {
        slice(&self.block, &self.added, line, range)
    }

    fn begin(&mut self, value: usize) -> usize {
        if self.added.capacity() == 0 {
            self.added.reserve(ADDED + value);
        }
        self.added.len()
    }

    fn end(&mut self, at: usize, name: &[u8]) {
        let value_end = self.added.len() as u32;
        self.added.extend_from_slice(b"\r\n");
        let value = (at + name.len() + 2) as u32;
        self.lines.push(Line { tag: tag(name), name: at as u32, value, value_end, place: Place::Added });
    }
}

fn slice<'h>(block: &'h [u8], added: &'h [u8], line: &Line, range: Range<usize>) -> &'h [u8] {
    let from = if line.place == Place::Added { added } else { block };
    from.get(range).unwrap_or_default()
}

/// A value as text, if it is visible ASCII with blanks and tabs.
#[must_use]
pub fn as_text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    if is_text { std::str::from_utf8(value).ok() } else { None }
}

impl PartialEq for Headers {
    /// The same lines in the same order.
    fn eq(&self, other: &Headers) -> bool {
        let mut pairs = self.iter().zip(other.iter());
        self.len() == other.len()
            && pairs
                .all(|((name, value), (other, theirs))| name.eq_ignore_ascii_case(other) && value == theirs)
    }
}

impl Eq for Headers {}

impl FromIterator<(HeaderName, HeaderValue)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: I) -> Headers {
        let mut headers = Headers::new();
        lines.into_iter().for_each(|(name, value)| headers.append(name, value));
        headers
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value): (&[u8], &[u8])| {
            (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned())
        };
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}

impl From<HeaderMap> for Headers {
    fn from(map: HeaderMap) -> Headers {
        let mut headers = Headers::new();
        headers.lines.reserve(map.len() + 8);
        map.iter().for_each(|(name, value)| headers.append(name, value));
        headers
    }
}

impl From<Headers> for HeaderMap {
    fn from(headers: Headers) -> HeaderMap {
        let Headers { block, added, lines } = headers;
        let added = Bytes::from(added);
        let mut map = HeaderMap::with_capacity(lines.len());
        for line in lines {
            let from = if line.place == Place::Added { &added } else { &block };
            let name = HeaderName::from_bytes(from.get(line.name()).unwrap_or_default());
            // Both were checked when they came; a map takes no other.
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(from.slice(line.value()))) {
                map.append(name, value);
            }
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    type Pairs<'r> = &'r [(&'static str, &'static str)];

    fn added(lines: Pairs<'_>) -> Headers {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    /// The same lines, but received: every other one in a form that is not ours.
    fn received(pairs: Pairs<'_>) -> Headers {
        let (mut block, mut lines) = (Vec::new(), Vec::new());
        for (i, (name, value)) in pairs.iter().enumerate() {
            let at = block.len();
            let blank = if i % 2 == 0 { " " } else { "\t " };
            block.extend_from_slice(format!("{}:{blank}{value}\r\n", name.to_uppercase()).as_bytes());
            let value_at = at + name.len() + 1 + blank.len();
            let (name, value) = (at..at + name.len(), value_at..value_at + value.len());
            lines.push(Line::received(&block, name, value, block.len()));
        }
        Headers::received(Bytes::from(block), lines)
    }

    #[test]
    fn lines_are_set_added_and_taken_out() {
        let all = [("host", "a"), ("via", "1"), ("x-a", "1"), ("via", "2")];
        type Row<'r> = (&'r str, fn(&mut Headers), Pairs<'r>);
        let rows: [Row<'_>; 8] = [
            (
                "new",
                |h| h.insert(header::TE, HeaderValue::from_static("t")),
                &[("host", "a"), ("via", "1"), ("x-a", "1"), ("via", "2"), ("te", "t")],
            ),
            (
                "instead",
                |h| h.insert(header::VIA, HeaderValue::from_static("3")),
                &[("host", "a"), ("x-a", "1"), ("via", "3")],
            ),
            ("there", |h| h.insert_missing(header::VIA, || unreachable!("it is there")), &all),
            (
                "more",
                |h| h.append(header::HOST, HeaderValue::from_static("b")),
                &[("host", "a"), ("via", "1"), ("x-a", "1"), ("via", "2"), ("host", "b")],
            ),
            ("out", |h| assert!(h.remove(header::VIA)), &[("host", "a"), ("x-a", "1")]),
            ("none", |h| assert!(!h.remove(header::TE)), &all),
            (
                "from",
                |h| h.insert_from(HeaderName::from_static("x-a"), header::VIA),
                &[("host", "a"), ("via", "1"), ("via", "2"), ("x-a", "1")],
            ),
            (
                "from nothing",
                |h| h.insert_from(HeaderName::from_static("x-a"), header::TE),
                &[("host", "a"), ("via", "1"), ("via", "2")],
            ),
        ];
        for (name, edit, expected) in rows {
            for mut headers in [added(&all), received(&all)] {
                edit(&mut headers);
                assert_eq!(headers, added(expected), "{name}");
            }
        }
        for headers in [added(&all), received(&all)] {
            assert_eq!(headers.get(header::VIA).unwrap(), b"1");
            assert_eq!(headers.get_all(&header::VIA).collect::<Vec<_>>(), [b"1", b"2"]);
            assert_eq!(headers.only(&header::VIA), Err(Repeated));
            assert_eq!(headers.only(&header::TE), Ok(None));
            assert_eq!(headers.only(&header::HOST).unwrap().unwrap(), b"a");
            assert!(headers.contains(header::HOST) && !headers.contains(header::TE));
        }
    }

    #[test]
    fn lines_are_written_one_after_the_other() {
        let all = [("host", "a"), ("via", "1"), ("x-a", "b"), ("x-c", "d"), ("x-e", "")];
        let written = |headers: &Headers| {
            let mut out = BytesMut::new();
            headers.write(&mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert_eq!(written(&added(&all)), "host: a\r\nvia: 1\r\nx-a: b\r\nx-c: d\r\nx-e: \r\n");
        let mut headers = received(&all);
        assert_eq!(written(&headers), "HOST: a\r\nVIA: 1\r\nX-A: b\r\nX-C: d\r\nX-E: \r\n");
        headers.remove(HeaderName::from_static("x-a"));
        headers.append(header::TE, HeaderValue::from_static("t"));
        headers.insert(header::HOST, HeaderValue::from_static("b"));
        assert_eq!(written(&headers), "VIA: 1\r\nX-C: d\r\nX-E: \r\nte: t\r\nhost: b\r\n");
        headers.remove(header::TE);
        assert_eq!(written(&headers), "VIA: 1\r\nX-C: d\r\nX-E: \r\nhost: b\r\n");
        assert_eq!(written(&Headers::new()), "");
    }

    #[test]
    fn to_a_map_and_back() {
        for headers in [
            added(&[("via", "1"), ("x-a", "1"), ("via", "2")]),
            received(&[("via", "1"), ("x-a", "1"), ("via", "2")]),
        ] {
            let map = HeaderMap::from(headers);
            assert_eq!(map.get_all("via").iter().collect::<Vec<_>>(), ["1", "2"]);
            assert_eq!(Headers::from(map), added(&[("via", "1"), ("via", "2"), ("x-a", "1")]));
        }
    }
}
