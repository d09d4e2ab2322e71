//! TOML to tree. Dates and times are texts, as they are in JSON and YAML.

use toml::de::{DeArray, DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use super::{Builder, Limits, SyntaxError, finite, text::Lines, too_large};
use crate::node::{Entry, FileId, Node, Place, Value};

/// Reads a text.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str, file: FileId, limits: &Limits) -> Result<Node, SyntaxError> {
    let lines = Lines::new(text, file);
    check_depth(text, &lines, limits)?;
    let table = DeTable::parse(text).map_err(|e| {
        let place = lines.place(e.span().map_or(0, |s| s.start));
        let code = if e.message().contains("duplicate key") { "duplicate_key" } else { "syntax" };
        SyntaxError::new(code, place, e.message())
    })?;
    let mut reader = Reader { lines, builder: Builder::new(file, limits) };
    reader.builder.count(1, reader.lines.place(0))?;
    reader.table(table.get_ref(), Place { file, line: 1, column: 1 }, 1)
}

/// Long dotted keys nest as deep as brackets do, and the TOML reader has no limit for them.
fn check_depth(text: &str, lines: &Lines<'_>, limits: &Limits) -> Result<(), SyntaxError> {
    let (mut open, mut dots) = (0usize, 0usize);
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => open += 1,
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => open = open.saturating_sub(1),
            TokenKind::Dot => dots += 1,
            TokenKind::Newline | TokenKind::Comma | TokenKind::Equals => dots = 0,
            _ => {}
        }
        if open + dots > limits.depth {
            let message = format!("nested deeper than {} levels", limits.depth);
            return Err(SyntaxError::new("limit", lines.place(token.span().start()), message));
        }
    }
    Ok(())
}

struct Reader<'a> {
    lines: Lines<'a>,
    builder: Builder,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, place: Place, depth: usize) -> Result<Node, SyntaxError> {
        self.builder.depth(depth, place)?;
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let place = self.lines.place(key.span().start);
            // A table that only dotted keys made has no text of its own.
            let own = value.span();
            let at = if own.is_empty() { place } else { self.lines.place(own.start) };
            let node = self.value(value.get_ref(), at, depth)?;
            entries.push(Entry { key: self.builder.text(key.get_ref()), place, node });
        }
        self.builder.map(entries, place)
    }

    fn list(&mut self, list: &DeArray<'_>, place: Place, depth: usize) -> Result<Node, SyntaxError> {
        self.builder.depth(depth, place)?;
        let mut items = Vec::with_capacity(list.len());
        for value in list.iter() {
            let at = self.lines.place(value.span().start);
            items.push(self.value(value.get_ref(), at, depth)?);
        }
        Ok(Node { value: Value::List(items.into()), place })
    }

    fn value(&mut self, value: &DeValue<'_>, place: Place, depth: usize) -> Result<Node, SyntaxError> {
        self.builder.count(1, place)?;
        let value = match value {
            DeValue::String(text) => Value::Str(self.builder.text(text)),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map(Value::Int)
                .map_err(|_| too_large(place))?,
            DeValue::Float(number) => {
                let parsed = number.as_str().parse().unwrap_or(f64::NAN);
                finite(parsed, place)?
            }
            DeValue::Boolean(b) => Value::Bool(*b),
            DeValue::Datetime(time) => Value::Str(time.to_string().into()),
            DeValue::Array(list) => return self.list(list, place, depth + 1),
            DeValue::Table(table) => return self.table(table, place, depth + 1),
        };
        Ok(Node { value, place })
    }
}
