//! What a file's state is called, and whether a client that names one still has it (RFC 9110 §8.8, §13).

use std::{
    fs::Metadata,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evergate_wire::{Headers, headers::as_text};
use http::{
    HeaderName, HeaderValue,
    header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE},
};

/// An entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// What stands between the quotes.
    opaque: String,
}

/// The state of a file, as its answers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    tag: Tag,
    /// In seconds since 1970.
    modified: u64,
    /// The last second in which it was modified is over, so that the date names one state only.
    settled: bool,
}

/// The condition of a request. What cannot be read counts as not there, but for `If-Match`, which then fails.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    matches: Option<Tags>,
    unmodified_since: Option<u64>,
    none_match: Option<Tags>,
    modified_since: Option<u64>,
    range: Option<IfRange>,
}

#[derive(Debug)]
enum Tags {
    Any,
    These(Vec<Tag>),
}

#[derive(Debug)]
enum IfRange {
    Tag(Tag),
    Date(u64),
    Unreadable,
}

/// What the condition makes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 412: it is not the state that the client thinks.
    Failed,
    /// 304: the client has it.
    NotModified,
    /// To be answered; the `Range` counts only if `range`.
    Proceed {
        /// There is no `If-Range`, or it holds.
        range: bool,
    },
}

/// The last second that an HTTP date can say: the end of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

impl Validators {
    /// Of a file, at that time. The tag is of time, length and inode: a file that is swapped for one of the same length
    /// and age, as build tools make them, has another. It is weak while the clock of the file system may not have
    /// moved since the last change, for then a further change would not show.
    pub(crate) fn of(file: &Metadata, now: SystemTime) -> Validators {
        let mut hasher = DefaultHasher::new();
        (file.ino(), file.len(), file.mtime(), file.mtime_nsec()).hash(&mut hasher);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = u64::try_from(file.mtime()).unwrap_or(0);
        let nanos = u32::try_from(file.mtime_nsec()).unwrap_or(0);
        // Whole seconds hint at a file system that knows no less: two seconds for FAT, a few milliseconds for others.
        let step = if nanos == 0 { Duration::from_secs(2) } else { Duration::from_millis(50) };
        let age = now.checked_sub(Duration::new(seconds, nanos));
        Validators {
            tag: Tag { weak: age.is_some_and(|age| age < step), opaque: format!("{:016x}", hasher.finish()) },
            // A date may not be later than that of the answer (RFC 9110 §8.8.2.1).
            modified: seconds.min(now.as_secs()).min(LAST_SECOND),
            settled: age.is_some_and(|age| age >= Duration::from_secs(2)),
        }
    }

    /// For `ETag`.
    pub(crate) fn tag(&self) -> Option<HeaderValue> {
        let weak = if self.tag.weak { "W/" } else { "" };
        HeaderValue::try_from(format!("{weak}\"{}\"", self.tag.opaque)).ok()
    }

    /// For `Last-Modified`.
    pub(crate) fn modified(&self) -> Option<HeaderValue> {
        let date = UNIX_EPOCH + Duration::from_secs(self.modified);
        HeaderValue::try_from(httpdate::fmt_http_date(date)).ok()
    }
}

impl Condition {
    /// As the headers of a request say it.
    pub(crate) fn of(headers: &Headers) -> Condition {
        Condition {
            matches: tags(headers, &IF_MATCH),
            unmodified_since: only(headers, &IF_UNMODIFIED_SINCE).and_then(date),
            none_match: tags(headers, &IF_NONE_MATCH),
            modified_since: only(headers, &IF_MODIFIED_SINCE).and_then(date),
            range: headers.contains(IF_RANGE).then(|| {
                let value = only(headers, &IF_RANGE).unwrap_or_default();
                let tag = tag(value).filter(|(_, rest)| rest.is_empty()).map(|(tag, _)| IfRange::Tag(tag));
                tag.or_else(|| date(value).map(IfRange::Date)).unwrap_or(IfRange::Unreadable)
            }),
        }
    }

    /// In the order of RFC 9110 §13.2.2, for GET and HEAD.
    pub(crate) fn judge(&self, state: &Validators) -> Verdict {
        let fails = match (&self.matches, self.unmodified_since) {
            (Some(tags), _) => !tags.have(|tag| tag.is_strongly(&state.tag)),
            (None, Some(date)) => state.modified > date,
            (None, None) => false,
        };
        if fails {
            return Verdict::Failed;
        }
        let has_it = match (&self.none_match, self.modified_since) {
            (Some(tags), _) => tags.have(|tag| tag.opaque == state.tag.opaque),
            (None, Some(date)) => state.modified <= date,
            (None, None) => false,
        };
        if has_it {
            return Verdict::NotModified;
        }
        Verdict::Proceed {
            range: match &self.range {
                None => true,
                Some(IfRange::Tag(tag)) => tag.is_strongly(&state.tag),
                Some(IfRange::Date(date)) => state.settled && *date == state.modified,
                Some(IfRange::Unreadable) => false,
            },
        }
    }
}

impl Tag {
    /// Strong comparison (RFC 9110 §8.8.3.2): the same bytes, for certain.
    fn is_strongly(&self, other: &Tag) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

impl Tags {
    fn have(&self, fits: impl Fn(&Tag) -> bool) -> bool {
        match self {
            Tags::Any => true,
            Tags::These(tags) => tags.iter().any(fits),
        }
    }
}

/// The tags of all lines with that name; `None` if there is no such line.
fn tags(headers: &Headers, name: &HeaderName) -> Option<Tags> {
    let mut found = None;
    for line in headers.get_all(name) {
        let list = found.get_or_insert_with(Vec::new);
        let mut rest = as_text(line).unwrap_or_default();
        if rest.trim() == "*" {
            return Some(Tags::Any);
        }
        while let Some((tag, after)) = tag(rest) {
            list.push(tag);
            rest = after;
        }
    }
    found.map(Tags::These)
}

/// The first tag of a list, and what follows it. Tags may hold commas, so the list cannot just be split.
fn tag(list: &str) -> Option<(Tag, &str)> {
    let list = list.trim_start_matches([' ', '\t', ',']);
    let (weak, quoted) = list.strip_prefix("W/").map_or((false, list), |rest| (true, rest));
    let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    Some((Tag { weak, opaque: opaque.to_owned() }, rest.trim_start()))
}

/// The value of a header that may stand only once.
fn only<'a>(headers: &'a Headers, name: &HeaderName) -> Option<&'a str> {
    headers.only(name).ok().flatten().and_then(as_text).map(str::trim)
}

/// An HTTP date in seconds since 1970.
fn date(text: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Failed, NotModified};

    const WHOLE: Verdict = Verdict::Proceed { range: true };
    const NO_RANGE: Verdict = Verdict::Proceed { range: false };
    /// 1994-11-15 12:45:26.
    const MODIFIED: u64 = 784_903_526;
    const BEFORE: &str = "Tue, 15 Nov 1994 12:45:25 GMT";
    const SAME: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
    const AFTER: &str = "Tue, 15 Nov 1994 12:45:27 GMT";

    fn state(weak: bool, settled: bool) -> Validators {
        Validators { tag: Tag { weak, opaque: "a,b".to_owned() }, modified: MODIFIED, settled }
    }

    fn judge(headers: &[(&'static str, &str)], state: &Validators) -> Verdict {
        let mut map = Headers::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse::<HeaderValue>().unwrap());
        }
        Condition::of(&map).judge(state)
    }

    #[test]
    fn one_condition() {
        let rows = [
            ("if-match", "\"a,b\"", WHOLE),
            ("if-match", "\"x\", \"a,b\"", WHOLE),
            ("if-match", "*", WHOLE),
            ("if-match", "\"x\"", Failed),
            ("if-match", "W/\"a,b\"", Failed),
            ("if-match", "a,b", Failed),
            ("if-match", "", Failed),
            ("if-unmodified-since", BEFORE, Failed),
            ("if-unmodified-since", SAME, WHOLE),
            ("if-unmodified-since", AFTER, WHOLE),
            ("if-unmodified-since", "yesterday", WHOLE),
            ("if-none-match", "\"a,b\"", NotModified),
            ("if-none-match", "W/\"a,b\"", NotModified),
            ("if-none-match", "\"x\",W/\"y\" ,, \"a,b\"", NotModified),
            ("if-none-match", "*", NotModified),
            ("if-none-match", "\"x\"", WHOLE),
            ("if-none-match", "a,b", WHOLE),
            ("if-none-match", "\"a,b", WHOLE),
            ("if-modified-since", BEFORE, WHOLE),
            ("if-modified-since", SAME, NotModified),
            ("if-modified-since", AFTER, NotModified),
            ("if-modified-since", "Tuesday, 15-Nov-94 12:45:26 GMT", NotModified),
            ("if-modified-since", "Tue Nov 15 12:45:26 1994", NotModified),
            ("if-modified-since", "now", WHOLE),
            ("if-range", "\"a,b\"", WHOLE),
            ("if-range", "\"x\"", NO_RANGE),
            ("if-range", "W/\"a,b\"", NO_RANGE),
            ("if-range", SAME, WHOLE),
            ("if-range", BEFORE, NO_RANGE),
            ("if-range", AFTER, NO_RANGE),
            ("if-range", "\"a,b\", \"x\"", NO_RANGE),
            ("if-range", "what", NO_RANGE),
        ];
        for (name, value, expected) in rows {
            assert_eq!(judge(&[(name, value)], &state(false, true)), expected, "{name}: {value}");
        }
    }

    #[test]
    fn several_conditions_in_their_order() {
        let rows: [(&[(&str, &str)], Verdict); 9] = [
            (&[], WHOLE),
            (&[("if-match", "\"a,b\""), ("if-unmodified-since", BEFORE)], WHOLE),
            (&[("if-match", "\"x\""), ("if-none-match", "\"a,b\"")], Failed),
            (&[("if-match", "\"a,b\""), ("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-none-match", "\"x\""), ("if-modified-since", SAME)], WHOLE),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-unmodified-since", SAME), ("if-modified-since", SAME)], NotModified),
            (&[("if-none-match", "\"a,b\""), ("if-range", "\"x\"")], NotModified),
            (&[("if-modified-since", SAME), ("if-modified-since", SAME)], WHOLE),
        ];
        for (headers, expected) in rows {
            assert_eq!(judge(headers, &state(false, true)), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_state_that_may_still_move_is_only_weakly_known() {
        let rows = [
            (("if-match", "\"a,b\""), Failed),
            (("if-none-match", "\"a,b\""), NotModified),
            (("if-range", "\"a,b\""), NO_RANGE),
            (("if-range", SAME), NO_RANGE),
        ];
        for (header, expected) in rows {
            assert_eq!(judge(&[header], &state(true, false)), expected, "{header:?}");
        }
    }

    /// `ETag`, `Last-Modified` and whether the date is settled, of a file of that time, asked so much later.
    fn said(modified: SystemTime, later: Duration) -> (String, String, bool) {
        let file = tempfile::tempfile().unwrap();
        file.set_modified(modified).unwrap();
        let validators = Validators::of(&file.metadata().unwrap(), modified + later);
        let text = |value: Option<HeaderValue>| value.unwrap().to_str().unwrap().to_owned();
        (text(validators.tag()), text(validators.modified()), validators.settled)
    }

    #[test]
    fn validators_of_a_file() {
        let whole = UNIX_EPOCH + Duration::from_secs(MODIFIED);
        let fine = whole + Duration::from_millis(1);
        let rows = [
            (whole, 0, true, false),
            (whole, 1999, true, false),
            (whole, 2000, false, true),
            (fine, 0, true, false),
            (fine, 49, true, false),
            (fine, 50, false, false),
            (fine, 2000, false, true),
        ];
        for (modified, later, weak, settled) in rows {
            let said = said(modified, Duration::from_millis(later));
            assert_eq!((said.0.starts_with("W/\""), &*said.1, said.2), (weak, SAME, settled), "{later}");
        }
    }

    #[test]
    fn odd_times_are_told_as_dates_can() {
        let file = tempfile::tempfile().unwrap();
        let rows = [
            // From before 1970, and from a future that is not to be told.
            (UNIX_EPOCH - Duration::from_secs(5), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (UNIX_EPOCH + Duration::from_secs(2 * MODIFIED), SAME),
        ];
        for (modified, expected) in rows {
            file.set_modified(modified).unwrap();
            let now = UNIX_EPOCH + Duration::from_secs(MODIFIED);
            let validators = Validators::of(&file.metadata().unwrap(), now);
            assert_eq!(validators.modified().unwrap(), expected);
        }
        let far = UNIX_EPOCH + Duration::from_secs(2 * LAST_SECOND);
        assert!(Validators::of(&file.metadata().unwrap(), far).modified().is_some());
    }

    #[test]
    fn the_tag_tells_files_apart() {
        let folder = tempfile::tempdir().unwrap();
        let modified = UNIX_EPOCH + Duration::from_secs(1);
        let tag = |name: &str, content: &str, modified: SystemTime| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let file = std::fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
            Validators::of(&file.metadata().unwrap(), SystemTime::now()).tag
        };
        let first = tag("a", "one", modified);
        assert_eq!(tag("a", "one", modified), first);
        assert_ne!(tag("b", "two", modified), first, "inode");
        assert_ne!(tag("a", "three", modified), first, "length");
        assert_ne!(tag("a", "one", modified + Duration::from_nanos(1)), first, "time");
    }
}
