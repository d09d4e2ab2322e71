//! Start lines and header lines, read strictly (RFC 9112 §3 to §5, RFC 9110 §5.5 and §5.6.2).
//!
//! Each works on a block whose lines are known to end in CR LF.

use http::{Method, StatusCode, Version};

use super::head::HeadError;
use crate::headers::Line;

/// Headers of most messages, and those that are added to them.
const LINES: usize = 24;

/// Bytes of a token (RFC 9110 §5.6.2): methods and names.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// Length of the token that `text` begins with.
fn token(text: &[u8]) -> usize {
    text.iter().position(|b| !TOKEN[usize::from(*b)]).unwrap_or(text.len())
}

/// True for a whole token.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && token(text) == text.len()
}

/// No control character but the tab; what is beyond ASCII may stand for anything (RFC 9110 §5.5).
pub(crate) fn is_value(text: &[u8]) -> bool {
    // Without a way out in the middle, so that many bytes are looked at at once.
    let bad = text.iter().fold(false, |bad, b| bad | ((*b < 0x20) & (*b != b'\t')) | (*b == 0x7f));
    !bad
}

/// True if there is no control character but CR and LF, and no CR that no LF follows.
fn is_clean(lines: &[u8]) -> bool {
    let pairs = lines.iter().zip(lines.get(1..).unwrap_or_default());
    let bad = pairs.fold(false, |bad, (b, next)| {
        bad | ((*b < 0x20) & (*b != b'\r') & (*b != b'\n'))
            | (*b == 0x7f)
            | ((*b == b'\r') & (*next != b'\n'))
    });
    !bad && lines.last() == Some(&b'\n')
}

/// Method, target and version of a request line; the target as the place of its bytes.
pub(super) fn request_line(line: &[u8]) -> Result<(Method, std::ops::Range<usize>, Version), HeadError> {
    const BAD: HeadError = HeadError::Malformed("bad request line");
    let (method, rest) = line.split_at(token(line));
    let method = Method::from_bytes(method).map_err(|_| BAD)?;
    let rest = rest.strip_prefix(b" ").ok_or(BAD)?;
    let length = memchr::memchr(b' ', rest).ok_or(BAD)?;
    let (target, version) = rest.split_at(length);
    if target.is_empty() || target.iter().any(|b| *b <= 0x20 || *b == 0x7f) {
        return Err(BAD);
    }
    let at = line.len() - rest.len();
    Ok((method, at..at + length, version_of(version.get(1..).unwrap_or_default(), BAD)?))
}

/// Status and version of a status line; the reason is nobody's business (RFC 9112 §4).
pub(super) fn status_line(line: &[u8]) -> Result<(StatusCode, Version), HeadError> {
    const BAD: HeadError = HeadError::Malformed("bad status line");
    let (version, rest) = line.split_at_checked(8).ok_or(BAD)?;
    let version = version_of(version, BAD)?;
    let (code, reason) = rest.strip_prefix(b" ").and_then(|rest| rest.split_at_checked(3)).ok_or(BAD)?;
    if !is_value(reason) || !(reason.is_empty() || reason.starts_with(b" ")) {
        return Err(BAD);
    }
    Ok((StatusCode::from_bytes(code).map_err(|_| HeadError::Malformed("bad status"))?, version))
}

fn version_of(text: &[u8], otherwise: HeadError) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        _ if text.starts_with(b"HTTP/") && !text.contains(&b' ') => Err(HeadError::Version),
        _ => Err(otherwise),
    }
}

/// The lines from `at` to the empty line that `block` must end with, each told to `note` as name and value.
pub(super) fn headers(
    block: &[u8],
    mut at: usize,
    most: usize,
    mut note: impl FnMut(&[u8], &[u8]) -> Result<(), HeadError>,
) -> Result<Vec<Line>, HeadError> {
    let mut lines = Vec::with_capacity(LINES);
    // Mostly none of all lines has a control character: then no value has to be looked at by itself.
    let clean = is_clean(block.get(at..).unwrap_or_default());
    loop {
        let rest = block.get(at..).unwrap_or_default();
        let length = memchr::memchr(b'\n', rest).ok_or(HeadError::Malformed("bad line end"))?;
        let line = rest.get(..length).and_then(|line| line.strip_suffix(b"\r"));
        let line = line.ok_or(HeadError::Malformed("bad line end"))?;
        if line.is_empty() {
            let is_end = rest.len() == 2;
            return if is_end { Ok(lines) } else { Err(HeadError::Malformed("the head ends in its middle")) };
        }
        // Nothing may stand between the name and its colon, and no line may go on from the one before (§5.1, §5.2).
        let (name, rest) = line.split_at(token(line));
        let after = match rest {
            [b':', after @ ..] if !name.is_empty() && name.len() <= usize::from(u16::MAX) => after,
            _ => return Err(HeadError::Malformed("bad header name")),
        };
        let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
        let before = after.iter().position(|b| !is_blank(b)).unwrap_or(after.len());
        let behind = after.iter().rposition(|b| !is_blank(b)).map_or(before, |last| last + 1);
        let value = after.get(before..behind).unwrap_or_default();
        if !clean && !is_value(value) {
            return Err(HeadError::Malformed("bad header value"));
        }
        if lines.len() == most {
            return Err(HeadError::TooLarge);
        }
        note(name, value)?;
        let after_at = at + name.len() + 1;
        let end = at + length + 1;
        lines.push(Line::received(block, at..at + name.len(), after_at + before..after_at + behind, end));
        at = end;
    }
}
