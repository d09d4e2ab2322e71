//! YAML 1.2 with the core schema: `no` and `on` are texts, `0o17` is 15.
//!
//! Anchors and aliases share subtrees and have a budget; `<<` merges maps, what stands beside it wins.
//! Several documents in one text, tags beyond the core schema and keys that are no texts are refused.

mod was;
mod write;

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{Builder, Limits, SyntaxError, finite, map_of, sorted, too_large};
use crate::node::{Entry, FileId, Map, Node, Place, Value};

use was::{Was, shallow};
pub use write::to_yaml;

/// Reads a text. What stands in `before` where it stands now, and says the same, is not made anew: a file that is written
/// anew for one value leaves no second tree behind.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn parse(
    text: &str,
    file: FileId,
    limits: &Limits,
    before: Option<&Node>,
) -> Result<Node, SyntaxError> {
    let parser = Parser::new_from_str(text);
    let builder = Builder::new(file, limits);
    let (open, anchors) = (Vec::new(), HashMap::new());
    Reader { text, parser, builder, before, open, anchors, aliased: 0 }.document()
}

struct Reader<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    builder: Builder,
    before: Option<&'a Node>,
    open: Vec<Open<'a>>,
    /// Finished values by anchor, with how many values they are.
    anchors: HashMap<usize, (Node, usize)>,
    aliased: usize,
}

/// A map or list whose end has not come yet.
struct Open<'a> {
    place: Place,
    anchor: usize,
    /// How many values were counted before it.
    counted: usize,
    items: Items<'a>,
    was: Was<'a>,
}

enum Items<'a> {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<Key<'a>>, merged: Vec<Node> },
}

struct Key<'a> {
    text: Arc<str>,
    place: Place,
    merges: bool,
    /// What the map had there before.
    was: Option<&'a Entry>,
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Result<Node, SyntaxError> {
        let mut root = None;
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event.map_err(|e| self.scan_error(&e))?;
            let place = self.place(&span.start);
            match event {
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(SyntaxError::new("syntax", place, "a second document begins here")
                        .help("write one document per file; use several files instead"));
                }
                Event::StreamEnd => break,
                event => {
                    if let Some(node) = self.event(event, &span, place)? {
                        root = Some(node);
                    }
                }
            }
        }
        root.ok_or_else(|| SyntaxError::new("empty", self.place(&Marker::default()), "empty; half-written?"))
    }

    /// Takes one event; the root when it is complete.
    fn event(&mut self, event: Event<'_>, span: &Span, place: Place) -> Result<Option<Node>, SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), place)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(anchor, tag.as_deref(), "seq", place, Items::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let items = Items::Map { entries: Vec::new(), key: None, merged: Vec::new() };
                self.open(anchor, tag.as_deref(), "map", place, items)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                if self.wants_key() {
                    return Err(bad_key(place, "an alias"));
                }
                let node = self.alias(anchor, place)?;
                self.add(node)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {
                debug_assert!(span.start.line() > 0 || span.is_empty());
                Ok(None)
            }
        }
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        kind: &str,
        place: Place,
        items: Items<'a>,
    ) -> Result<Option<Node>, SyntaxError> {
        if self.wants_key() {
            return Err(bad_key(place, if kind == "seq" { "a list" } else { "a map" }));
        }
        if let Some(tag) = tag.filter(|t| !(t.is_yaml_core_schema() && t.suffix == kind)) {
            return Err(bad_tag(tag, place));
        }
        let counted = self.builder.nodes;
        self.builder.count(1, place)?;
        self.builder.depth(self.open.len() + 1, place)?;
        let was = Was::new(self.was());
        self.open.push(Open { place, anchor, counted, items, was });
        Ok(None)
    }

    fn close(&mut self) -> Result<Option<Node>, SyntaxError> {
        let Some(open) = self.open.pop() else { return Ok(None) };
        let node = match open.items {
            Items::List(items) => match open.was.list(&items, open.place) {
                Some(same) => same,
                None => Node { value: Value::List(items.into()), place: open.place },
            },
            Items::Map { entries, merged, .. } => {
                let entries = sorted(entries)?;
                let own = match open.was.map(&entries, open.place) {
                    Some(same) => same,
                    None => map_of(entries, open.place),
                };
                merged.iter().fold(own, below)
            }
        };
        if open.anchor > 0 {
            self.anchors.insert(open.anchor, (node.clone(), self.builder.nodes - open.counted));
        }
        self.add(node)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, SyntaxError> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(SyntaxError::new("syntax", place, "an alias inside of what it stands for"));
        };
        let (node, size) = (Node { place, ..node.clone() }, *size);
        self.aliased = self.aliased.saturating_add(size);
        if self.aliased > self.builder.limits.alias_nodes {
            let message = format!("aliases repeat more than {} values", self.builder.limits.alias_nodes);
            return Err(SyntaxError::new("limit", place, message));
        }
        self.builder.count(size, place)?;
        Ok(node)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        place: Place,
    ) -> Result<Option<Node>, SyntaxError> {
        let plain = style == ScalarStyle::Plain;
        let value = match tag {
            None if plain => match resolve(text, place)? {
                Some(value) => value,
                None => self.text(text),
            },
            None => self.text(text),
            Some(tag) => tagged(text, tag, place)?,
        };
        if self.wants_key() {
            return self.key(value, text, plain, place);
        }
        self.builder.count(1, place)?;
        let node = Node { value, place };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), 1));
        }
        self.add(node)
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { items: Items::Map { key: None, .. }, .. }))
    }

    /// What stood before where the next value will stand.
    fn was(&self) -> Option<&'a Node> {
        match self.open.last() {
            None => self.before,
            Some(Open { items: Items::List(items), was, .. }) => was.item(items.len()),
            Some(Open { items: Items::Map { key, .. }, .. }) => Some(&key.as_ref()?.was?.node),
        }
    }

    /// A text: a key, if one is due.
    fn text(&mut self, text: &str) -> Value {
        let was = match self.open.last_mut() {
            Some(Open { items: Items::Map { key: None, .. }, was, .. }) => was.entry(text).map(|e| &e.key),
            _ => match self.was() {
                Some(Node { value: Value::Str(was), .. }) if was.as_ref() == text => Some(was),
                _ => None,
            },
        };
        Value::Str(match was {
            Some(was) => Arc::clone(was),
            None => self.builder.text(text),
        })
    }

    fn key(
        &mut self,
        value: Value,
        text: &str,
        plain: bool,
        place: Place,
    ) -> Result<Option<Node>, SyntaxError> {
        let Value::Str(key_text) = value else {
            return Err(bad_key(place, &format!("`{text}`")).help(format!("quote it: \"{text}\"")));
        };
        if let Some(Open { items: Items::Map { key, .. }, was, .. }) = self.open.last_mut() {
            *key = Some(Key { was: was.take(text), text: key_text, place, merges: plain && text == "<<" });
        }
        Ok(None)
    }

    /// Puts a finished value where it belongs; gives it back if it is the root.
    fn add(&mut self, mut node: Node) -> Result<Option<Node>, SyntaxError> {
        let was = self.was();
        match self.open.last_mut().map(|open| &mut open.items) {
            None => return Ok(Some(node)),
            Some(Items::List(items)) => {
                let same = was.filter(|was| shallow(was, &node));
                items.push(same.cloned().unwrap_or(node));
            }
            Some(Items::Map { entries, key, merged }) => match key.take() {
                Some(key) if key.merges => merged.extend(maps_to_merge(node)?),
                Some(key) => {
                    if node.is_null() {
                        node.place = key.place;
                    }
                    let same = key.was.filter(|was| was.place == key.place && shallow(&was.node, &node));
                    let new = || Entry { key: key.text, place: key.place, node };
                    entries.push(same.cloned().unwrap_or_else(new));
                }
                None => return Err(bad_key(node.place, "this")),
            },
        }
        Ok(None)
    }

    fn place(&self, mark: &Marker) -> Place {
        Place {
            line: u32::try_from(mark.line()).unwrap_or(u32::MAX),
            column: u16::try_from(mark.col() + 1).unwrap_or(u16::MAX),
            file: self.builder.file,
        }
    }

    fn scan_error(&self, error: &ScanError) -> SyntaxError {
        let mut place = self.place(error.marker());
        // What is missing at the end is reported behind the last line: nobody looks there.
        if let Some((last, line)) = self.text.lines().enumerate().filter(|(_, l)| !l.is_empty()).last()
            && usize::try_from(place.line).is_ok_and(|line| line > last + 1)
        {
            place.line = u32::try_from(last + 1).unwrap_or(u32::MAX);
            place.column = u16::try_from(line.chars().count() + 1).unwrap_or(u16::MAX);
        }
        let found = SyntaxError::new("syntax", place, error.info());
        if error.info().contains("tab") {
            return found.help("indent with spaces");
        }
        found
    }
}

fn bad_key(place: Place, what: &str) -> SyntaxError {
    SyntaxError::new("key", place, format!("{what} cannot be a key: keys are texts"))
}

fn bad_tag(tag: &Tag, place: Place) -> SyntaxError {
    SyntaxError::new("syntax", place, format!("tag `{tag}` has no meaning here"))
        .help("only `!!str`, `!!int`, `!!float`, `!!bool`, `!!null`, `!!map` and `!!seq` are known")
}

/// `<<: *a` or `<<: [*a, *b]`.
fn maps_to_merge(node: Node) -> Result<Vec<Node>, SyntaxError> {
    let maps = match &node.value {
        Value::List(items) => items.to_vec(),
        _ => vec![node],
    };
    match maps.iter().find(|n| n.as_map().is_none()) {
        Some(other) => Err(SyntaxError::new("syntax", other.place, "`<<` merges maps, and this is none")),
        None => Ok(maps),
    }
}

/// `own` with those keys of `other` that it has not.
fn below(own: Node, other: &Node) -> Node {
    let (Some(mine), Some(theirs)) = (own.as_map(), other.as_map()) else { return own };
    let missing = theirs.entries().filter(|e| mine.get(&e.key).is_none());
    let entries = mine.entries().chain(missing).cloned().collect();
    Node { value: Value::Map(Arc::new(Map::new(entries))), place: own.place }
}

/// A plain scalar by the core schema (YAML 1.2.2, section 10.3.2); `None` for a text.
fn resolve(text: &str, place: Place) -> Result<Option<Value>, SyntaxError> {
    Ok(Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => return number(text, place),
    }))
}

/// The number that a plain scalar is, if it is one.
fn number(text: &str, place: Place) -> Result<Option<Value>, SyntaxError> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Ok(None);
    }
    let radix = [("0o", 8), ("0x", 16)].into_iter().find_map(|(p, r)| Some((text.strip_prefix(p)?, r)));
    if let Some((digits, radix)) = radix {
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Ok(None);
        }
        return match i64::from_str_radix(digits, radix) {
            Ok(number) => Ok(Some(Value::Int(number))),
            Err(_) => Err(too_large(place)),
        };
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return finite(f64::INFINITY, place).map(Some);
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(|n| Some(Value::Int(n))).map_err(|_| too_large(place));
    }
    if !is_float(unsigned) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) => finite(number, place).map(Some),
        Err(_) => Ok(None),
    }
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(unsigned: &str) -> bool {
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => {
            let (mantissa, exponent) = unsigned.split_at(at);
            (mantissa, exponent.get(1..))
        }
        None => (unsigned, None),
    };
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_fits && digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

fn tagged(text: &str, tag: &Tag, place: Place) -> Result<Value, SyntaxError> {
    // `! text` says: take it as it stands.
    if tag.suffix == "!" && tag.handle.is_empty() {
        return Ok(Value::Str(text.into()));
    }
    if !tag.is_yaml_core_schema() {
        return Err(bad_tag(tag, place));
    }
    let value = match tag.suffix.as_str() {
        "str" => return Ok(Value::Str(text.into())),
        "int" | "float" | "bool" | "null" => resolve(text, place)?,
        _ => return Err(bad_tag(tag, place)),
    };
    match (tag.suffix.as_str(), value) {
        ("float", Some(Value::Int(number))) => Ok(Value::Float(number as f64)),
        ("int", Some(value @ Value::Int(_)))
        | ("float", Some(value @ Value::Float(_)))
        | ("bool", Some(value @ Value::Bool(_)))
        | ("null", Some(value @ Value::Null)) => Ok(value),
        (suffix, _) => Err(SyntaxError::new("syntax", place, format!("this is no `!!{suffix}`"))),
    }
}

/// True if a plain scalar with that text would be read as itself.
fn reads_as_text(text: &str) -> bool {
    matches!(resolve(text, Place::default()), Ok(None))
}
