//! One line of a text, without secrets.

/// Longest line that is shown, in characters.
const WIDTH: usize = 160;

/// Keys whose values are not shown, whether or not they are spelt and typed as they should be.
const HIDDEN: &[&str] = &["literal", "password", "passwd", "secret", "token", "api_key", "apikey", "private"];

/// How many lines above are looked at for the beginning of a hidden value.
const ABOVE: usize = 200;

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

/// What a line above has opened.
enum Open {
    Nothing,
    /// A key without a value: that is on the next line.
    Key,
    /// A block or a text in quotes: all lines that are indented deeper.
    Block(usize),
    /// TOML's text over several lines.
    Triple(&'static str),
}

/// True if the line continues a value whose key above sounds like a secret.
fn in_hidden_block(text: &str, index: usize) -> bool {
    let from = index.saturating_sub(ABOVE);
    let mut open = Open::Nothing;
    for (at, line) in text.lines().enumerate().skip(from).take(index - from + 1) {
        let indent = line.len() - line.trim_start().len();
        let blank = line.trim().is_empty();
        let inside = match open {
            Open::Nothing => false,
            Open::Key => true,
            Open::Block(outer) => blank || indent > outer,
            Open::Triple(_) => true,
        };
        if at == index {
            return inside;
        }
        open = match open {
            Open::Triple(quote) if line.contains(quote) => Open::Nothing,
            Open::Triple(_) => open,
            Open::Block(_) if inside => open,
            Open::Key if blank => open,
            Open::Key => Open::Block(indent.saturating_sub(1)),
            _ => opens(line, indent),
        };
    }
    false
}

fn opens(line: &str, indent: usize) -> Open {
    let lower = line.to_ascii_lowercase();
    let mut values = HIDDEN.iter().filter_map(|key| lower.get(value_of(&lower, key)?..)).map(str::trim);
    let Some(value) = values.next() else { return Open::Nothing };
    let triple = ["\"\"\"", "'''"].into_iter().find(|quote| value.matches(quote).count() == 1);
    match triple {
        Some(quote) => Open::Triple(quote),
        None if value.is_empty() => Open::Key,
        // A value that begins here may go on below: block text, or a text whose quote is not closed.
        None => Open::Block(indent),
    }
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
