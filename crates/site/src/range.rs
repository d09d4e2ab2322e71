//! The part of a file that is asked for (RFC 9110 §14).
//!
//! One range is answered by that part. Several at once are answered by the whole file, as §14.2 allows: clients
//! that resume or seek ask for one, and many small ones are a way to make a server work.

use std::ops::Range;

use evergate_wire::{Headers, headers::as_text};
use http::header::RANGE;

/// A range as it is asked for, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    /// From the first to the last byte, inclusive; to the end if there is no last.
    From(u64, Option<u64>),
    /// So many bytes at the end.
    Last(u64),
}

/// No byte of the range exists: 416.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsatisfiable;

impl Spec {
    /// `None` if there is no `Range`, or one that is to be ignored: malformed, several ranges, another unit.
    pub(crate) fn of(headers: &Headers) -> Option<Spec> {
        let line = headers.only(&RANGE).ok()??;
        let (unit, range) = as_text(line)?.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match range.trim().split_once('-')? {
            ("", suffix) => Some(Spec::Last(number(suffix)?)),
            (first, "") => Some(Spec::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Spec::From(first, Some(last)))
            }
        }
    }

    /// The bytes meant of a file of this length. `None` if the range is to be ignored: an empty file is sent
    /// whole, since clients that ask for its first bytes mean all there are.
    pub(crate) fn within(self, length: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
        if length == 0 {
            return Ok(None);
        }
        match self {
            Spec::From(first, _) if first >= length => Err(Unsatisfiable),
            Spec::From(first, None) => Ok(Some(first..length)),
            Spec::From(first, Some(last)) => Ok(Some(first..length.min(last.saturating_add(1)))),
            Spec::Last(0) => Err(Unsatisfiable),
            Spec::Last(count) => Ok(Some(length.saturating_sub(count)..length)),
        }
    }
}

/// Digits only. What is too large for any file is as good as the largest number.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(lines: &[&str]) -> Option<Spec> {
        let mut headers = Headers::new();
        for line in lines {
            headers.append(RANGE, line.parse::<http::HeaderValue>().unwrap());
        }
        Spec::of(&headers)
    }

    #[test]
    fn one_range_is_read() {
        let rows = [
            ("bytes=0-0", Spec::From(0, Some(0))),
            ("bytes=5-", Spec::From(5, None)),
            ("bytes=-5", Spec::Last(5)),
            ("Bytes = 5-9 ", Spec::From(5, Some(9))),
            ("bytes=0-99999999999999999999", Spec::From(0, Some(u64::MAX))),
        ];
        for (line, expected) in rows {
            assert_eq!(of(&[line]), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_is_not_one_range_is_ignored() {
        let rows: [&[&str]; 14] = [
            &[],
            &["bytes=0-1,3-4"],
            &["bytes=0-1", "bytes=3-4"],
            &["bytes=,0-1"],
            &["bytes=1-0"],
            &["bytes=-"],
            &["bytes="],
            &["bytes"],
            &["bytes=a-b"],
            &["bytes=+1-2"],
            &["bytes=0-1-2"],
            &["bytes=--5"],
            &["bytes=0x1-2"],
            &["lines=0-1"],
        ];
        for lines in rows {
            assert_eq!(of(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn within_a_length() {
        let rows = [
            (Spec::From(0, None), 10, Ok(Some(0..10))),
            (Spec::From(0, Some(0)), 10, Ok(Some(0..1))),
            (Spec::From(9, Some(9)), 10, Ok(Some(9..10))),
            (Spec::From(3, Some(u64::MAX)), 10, Ok(Some(3..10))),
            (Spec::From(10, None), 10, Err(Unsatisfiable)),
            (Spec::From(u64::MAX, Some(u64::MAX)), 10, Err(Unsatisfiable)),
            (Spec::Last(3), 10, Ok(Some(7..10))),
            (Spec::Last(11), 10, Ok(Some(0..10))),
            (Spec::Last(0), 10, Err(Unsatisfiable)),
            (Spec::From(0, None), 0, Ok(None)),
            (Spec::Last(0), 0, Ok(None)),
        ];
        for (spec, length, expected) in rows {
            assert_eq!(spec.within(length), expected, "{spec:?} of {length}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_part_of_the_file(text in "[0-9]{0,21}-[0-9]{0,21}", length: u64) {
            let spec = of(&[&format!("bytes={text}")]);
            if let Some(Ok(Some(part))) = spec.map(|spec| spec.within(length)) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
