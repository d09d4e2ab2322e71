//! Texts, numbers, choices.

use regex::Regex;
use serde_json::Value as Json;

use super::{Check, list};
use crate::{
    format::to_json_value,
    node::{Node, Place, Value},
    schema::{
        say::{self, one_of, shorten, ticked, wants},
        suggest,
    },
    units::{ByteSize, Span},
};

/// Bounds that the number formats stand for.
const RANGES: &[(&str, i64, i64)] = &[
    ("int8", i8::MIN as i64, i8::MAX as i64),
    ("uint8", 0, u8::MAX as i64),
    ("int16", i16::MIN as i64, i16::MAX as i64),
    ("uint16", 0, u16::MAX as i64),
    ("int32", i32::MIN as i64, i32::MAX as i64),
    ("uint32", 0, u32::MAX as i64),
];

/// A pattern that is none matches everything: that is a defect of the type, not of the document.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).map_or(true, |regex| regex.is_match(text))
}

impl<'a> Check<'a, '_> {
    pub(super) fn wrong_kind(&mut self, node: &Node, schema: &'a Json) {
        let wanted = wants(self.root, schema);
        let message = format!("expected {wanted}, found {}", self.found(node));
        let help = if self.sensitive { None } else { mend_kind(node, schema) };
        let found = self.problem("type", node.place, message);
        found.help = help;
    }

    /// `enum` and `const`.
    pub(super) fn choice(&mut self, node: &Node, schema: &'a Json) {
        let choices = say::choices(schema);
        if choices.is_empty() || choices.contains(&&to_json_value(node)) {
            return;
        }
        let words: Vec<String> = choices.into_iter().map(say::plain).collect();
        self.unknown_value(node, &words, &[]);
    }

    /// A value that is none of the words, nor one of the other things that could stand there.
    pub(super) fn unknown_value(&mut self, node: &Node, words: &[String], others: &[String]) {
        let mut all = ticked(words.iter().map(String::as_str));
        all.extend_from_slice(others);
        let message = format!("expected {}, found {}", one_of(&all), self.found(node));
        let word = node.as_str().unwrap_or_default();
        let meant = suggest(word, words.iter().map(String::as_str)).filter(|_| !self.sensitive);
        let found = self.problem("value", node.place, message);
        found.help = meant.map(|m| format!("did you mean `{m}`?"));
    }

    pub(super) fn text(&mut self, text: &str, place: Place, schema: &'a Json) {
        match schema.get("format").and_then(Json::as_str) {
            Some("span") => {
                if let Err(error) = text.parse::<Span>() {
                    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                    let found = self.problem("unit", place, error.to_string());
                    found.help = bare.then(|| format!("did you mean `{text}s`?"));
                }
                return;
            }
            Some("size") => {
                if let Err(error) = text.parse::<ByteSize>() {
                    self.problem("unit", place, error.to_string());
                }
                return;
            }
            _ => {}
        }
        if text.is_empty() && schema.get("minLength").and_then(Json::as_u64).is_some_and(|least| least > 0) {
            let message = format!("expected {}, found an empty text", wants(self.root, schema));
            self.problem("value", place, message);
            return;
        }
        self.count("characters", text.chars().count(), place, schema, ["minLength", "maxLength"]);
        if let Some(pattern) = schema.get("pattern").and_then(Json::as_str)
            && !matches(pattern, text)
        {
            let shown = if self.sensitive { "this".to_owned() } else { format!("`{}`", shorten(text)) };
            // People read examples and descriptions; a pattern only where a type has nothing better.
            let examples: Vec<&str> = list(schema, "examples").iter().filter_map(Json::as_str).collect();
            if examples.is_empty() {
                self.problem("value", place, format!("{shown} does not look like `{pattern}`"));
            } else {
                let message = format!("{shown} does not look like {}", one_of(&ticked(examples)));
                let about = schema.get("description").and_then(Json::as_str);
                self.problem("value", place, message).help = about.map(str::to_owned);
            }
        }
    }

    pub(super) fn number(&mut self, node: &Node, schema: &'a Json) {
        let number = match &node.value {
            Value::Int(i) => *i as f64,
            Value::Float(x) => *x,
            _ => return,
        };
        let format = schema.get("format").and_then(Json::as_str);
        let range = RANGES.iter().find(|(name, ..)| Some(*name) == format);
        let limit = |keyword: &str| schema.get(keyword).and_then(Json::as_f64);
        let least = limit("minimum").or(range.map(|(_, least, _)| *least as f64));
        let most = limit("maximum").or(range.map(|(_, _, most)| *most as f64));
        let above = limit("exclusiveMinimum");
        let below = limit("exclusiveMaximum");
        let bounds = [
            (least, "at least", least.is_some_and(|l| number < l)),
            (most, "at most", most.is_some_and(|m| number > m)),
            (above, "more than", above.is_some_and(|a| number <= a)),
            (below, "less than", below.is_some_and(|b| number >= b)),
        ];
        for (bound, word, broken) in bounds {
            if let Some(bound) = bound.filter(|_| broken) {
                let message = format!("expected {word} {bound}, found {}", self.found(node));
                self.problem("value", node.place, message);
            }
        }
    }
}

/// The usual slips: a unit left out, quotes too few or too many, `yes` for `true`.
fn mend_kind(node: &Node, schema: &Json) -> Option<String> {
    let types = say::types(schema);
    match (&node.value, schema.get("format").and_then(Json::as_str)) {
        (Value::Int(i), Some("span")) => Some(format!("write the unit: `{i}s` or `{i}ms`")),
        (Value::Float(_), Some("span" | "size")) => {
            Some("write whole numbers: `1500ms` rather than `1.5s`".to_owned())
        }
        (Value::Int(_) | Value::Float(_) | Value::Bool(_), _) if types.contains(&"string") => {
            Some(format!("quote it: \"{}\"", say::plain(&to_json_value(node))))
        }
        (Value::Str(text), _) if types.contains(&"boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => Some("write `true`".to_owned()),
            "no" | "off" | "false" => Some("write `false`".to_owned()),
            _ => None,
        },
        (Value::Str(text), _) if types.contains(&"integer") && text.parse::<i64>().is_ok() => {
            Some(format!("write it without quotes: {text}"))
        }
        (Value::Str(_) | Value::Map(_), _) if types.contains(&"array") => {
            Some("write a list: `[ … ]`".to_owned())
        }
        _ => None,
    }
}
