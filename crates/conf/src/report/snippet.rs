//! One line of a text, without secrets.

/// Longest line that is shown, in characters.
const WIDTH: usize = 160;

/// Keys whose values are not shown, whether or not they are spelt and typed as they should be.
const HIDDEN: &[&str] = &["literal", "password", "passwd", "secret", "token", "api_key", "apikey", "private"];

/// The line with that number. A value that may be a secret is shown as `***`: all values if `sensitive`,
/// and those of keys that sound like secrets.
pub(super) fn line(text: &str, number: u32, sensitive: bool) -> Option<String> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let line = text.lines().nth(index)?;
    if sensitive {
        return Some(hide_from(line, 0));
    }
    if in_hidden_block(text, index) {
        return Some(hide_from(line, line.len() - line.trim_start().len()));
    }
    let lower = line.to_ascii_lowercase();
    let at = HIDDEN.iter().filter_map(|key| value_of(&lower, key)).min();
    Some(match at {
        Some(at) => hide_from(line, at),
        None => line.to_owned(),
    })
}

/// Where the value begins, if the line holds that word as (part of) a key.
fn value_of(lower: &str, word: &str) -> Option<usize> {
    let key = lower.find(word)?;
    let sign = lower.get(key..)?.find([':', '='])?;
    Some(key + sign + 1)
}

/// Keeps what stands before `from`; if that is 0, the first key.
fn hide_from(line: &str, from: usize) -> String {
    let from = if from > 0 { from } else { line.find([':', '=']).map_or(0, |i| i + 1) };
    let kept = line.get(..from).unwrap_or_default();
    if line.get(from..).is_none_or(|rest| rest.trim().is_empty()) {
        return line.to_owned();
    }
    let space = if kept.is_empty() || kept.ends_with(' ') { "" } else { " " };
    format!("{kept}{space}***")
}

/// True if the line continues a value whose key above sounds like a secret: block text, or the lines of
/// a text in quotes.
fn in_hidden_block(text: &str, index: usize) -> bool {
    let indent = |l: &str| l.len() - l.trim_start().len();
    let lines: Vec<&str> = text.lines().take(index + 1).collect();
    let Some((own, above)) = lines.split_last() else { return false };
    let mut least = indent(own);
    for line in above.iter().rev().filter(|l| !l.trim().is_empty()) {
        let lower = line.to_ascii_lowercase();
        let opens = HIDDEN.iter().any(|key| {
            value_of(&lower, key).and_then(|at| lower.get(at..)).is_some_and(|v| {
                let v = v.trim();
                v.is_empty() || v.starts_with(['|', '>']) || opens_text(v)
            })
        });
        let quoted = opens && lower.contains("\"\"\"") || lower.contains("'''");
        if opens && (indent(line) < least || quoted) {
            return true;
        }
        least = least.min(indent(line));
        if least == 0 && !quoted && !opens {
            return false;
        }
    }
    false
}

/// True for a value whose quote is not closed on its line.
fn opens_text(value: &str) -> bool {
    ['"', '\''].into_iter().any(|quote| value.starts_with(quote) && value.matches(quote).count() % 2 == 1)
}

/// The line cut to a readable width, and a caret below its column.
pub(super) fn caret(line: &str, column: u16) -> (String, String) {
    let column = usize::from(column).saturating_sub(1);
    let length = line.chars().count();
    let start = if column < WIDTH { 0 } else { column - WIDTH / 2 };
    let shown: String =
        line.chars().skip(start).take(WIDTH).map(|c| if c == '\t' { ' ' } else { c }).collect();
    let at = column.min(length).saturating_sub(start);
    (shown.trim_end().to_owned(), format!("{:at$}^", ""))
}
