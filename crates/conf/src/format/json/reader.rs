//! The reader.

use super::{FileId, Limits, SyntaxError};
use crate::{
    format::{Builder, finite, text::Lines, too_large},
    node::{Entry, Node, Place, Value},
};

pub(super) fn read(text: &str, file: FileId, limits: &Limits) -> Result<Node, SyntaxError> {
    let lines = Lines::new(text, file);
    let mut reader = Reader { text, at: 0, lines, builder: Builder::new(file, limits), depth: 0 };
    let root = reader.value()?;
    reader.space();
    match reader.peek() {
        None => Ok(root),
        Some(_) => Err(reader.expected("the end of the text")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    lines: Lines<'a>,
    builder: Builder,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn place(&self) -> Place {
        self.lines.place(self.at)
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        let found = match self.rest().chars().next() {
            Some(c) => format!("`{}`", c.escape_debug()),
            None => "the end of the text".to_owned(),
        };
        let error = SyntaxError::new("syntax", self.place(), format!("expected {what}, found {found}"));
        if self.rest().starts_with(['/', '#']) {
            return error.help("JSON has no comments; YAML and TOML have");
        }
        error
    }

    /// Steps over a byte after white space; false if another one is there.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self) -> Result<Node, SyntaxError> {
        self.space();
        let place = self.place();
        self.builder.count(1, place)?;
        let value = match self.peek() {
            Some(b'{') => return self.nested(place, Self::map),
            Some(b'[') => return self.nested(place, Self::list),
            Some(b'"') => {
                let text = self.string()?;
                Value::Str(self.builder.text(&text))
            }
            Some(b'-' | b'0'..=b'9') => self.number(place)?,
            _ => self.word()?,
        };
        Ok(Node { value, place })
    }

    fn nested(
        &mut self,
        place: Place,
        read: fn(&mut Self, Place) -> Result<Node, SyntaxError>,
    ) -> Result<Node, SyntaxError> {
        self.depth += 1;
        self.builder.depth(self.depth, place)?;
        self.at += 1;
        let node = read(self, place);
        self.depth -= 1;
        node
    }

    fn map(&mut self, place: Place) -> Result<Node, SyntaxError> {
        let mut entries = Vec::new();
        if !self.take(b'}') {
            loop {
                self.space();
                if self.peek() != Some(b'"') {
                    let error = self.expected("a key in double quotes");
                    return Err(if self.peek() == Some(b'}') {
                        error.help("remove the last comma")
                    } else {
                        error
                    });
                }
                let key_place = self.place();
                let key = self.string()?;
                if !self.take(b':') {
                    return Err(self.expected("`:`"));
                }
                let node = self.value()?;
                entries.push(Entry { key: self.builder.text(&key), place: key_place, node });
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.expected("`,` or `}`"));
                }
            }
        }
        self.builder.map(entries, place)
    }

    fn list(&mut self, place: Place) -> Result<Node, SyntaxError> {
        let mut items = Vec::new();
        if !self.take(b']') {
            loop {
                items.push(self.value()?);
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.expected("`,` or `]`"));
                }
            }
        }
        Ok(Node { value: Value::List(items.into()), place })
    }

    fn word(&mut self) -> Result<Value, SyntaxError> {
        let words = [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))];
        for (word, value) in words {
            let after = self.rest().strip_prefix(word);
            if after.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric())) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self, place: Place) -> Result<Value, SyntaxError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let zero = self.peek() == Some(b'0');
        let count = self.digits();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        if zero && count > 1 {
            return Err(SyntaxError::new("syntax", place, "a number does not begin with 0"));
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            whole = false;
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            if self.digits() == 0 {
                return Err(self.expected("a digit"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if whole {
            return text.parse().map(Value::Int).map_err(|_| too_large(place));
        }
        text.parse().map_err(|_| too_large(place)).and_then(|number| finite(number, place))
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let opened = self.place();
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find(|c: char| c == '"' || c == '\\' || c < ' ') else {
                return Err(SyntaxError::new("syntax", opened, "the quote that begins here is not closed"));
            };
            out.push_str(rest.get(..end).unwrap_or_default());
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => {
                    return Err(self
                        .expected("a text without control characters")
                        .help("write `\\n` for a line break"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let place = self.place();
        let bad = || SyntaxError::new("syntax", place, "no such escape");
        self.at += 1;
        let kind = self.peek().ok_or_else(bad)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4().ok_or_else(bad)?;
                let code = match first {
                    0xd800..=0xdbff => {
                        self.at += if self.rest().starts_with("\\u") { 2 } else { return Err(bad()) };
                        let second = self.hex4().filter(|s| (0xdc00..=0xdfff).contains(s)).ok_or_else(bad)?;
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    other => other,
                };
                char::from_u32(code).ok_or_else(bad)?
            }
            _ => return Err(bad()),
        })
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits =
            self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}
