//! A tree as YAML for people.

use std::fmt::Write;

use super::reads_as_text;
use crate::node::{Node, Value};

/// The tree as YAML, one value per line; reads back as the same tree.
#[must_use]
pub fn to_yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(map) if !map.is_empty() => block(node, 0, &mut out),
        Value::List(list) if !list.is_empty() => block(node, 0, &mut out),
        _ => inline(node, &mut out),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Writes the lines of a map or list that is not empty.
fn block(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(map) => {
            for entry in map.entries() {
                pad(indent, out);
                text(&entry.key, out);
                out.push(':');
                value(&entry.node, indent, out);
            }
        }
        Value::List(list) => {
            for item in list.iter() {
                pad(indent, out);
                out.push('-');
                value(item, indent, out);
            }
        }
        _ => {}
    }
}

fn value(node: &Node, indent: usize, out: &mut String) {
    let has_lines = match &node.value {
        Value::Map(map) => !map.is_empty(),
        Value::List(list) => !list.is_empty(),
        _ => false,
    };
    if has_lines {
        out.push('\n');
        block(node, indent + 2, out);
    } else {
        out.push(' ');
        inline(node, out);
        out.push('\n');
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Writes a scalar, or `{}` or `[]`.
fn inline(node: &Node, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match &node.value {
        Value::Null => write!(out, "null"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Int(i) => write!(out, "{i}"),
        Value::Float(x) => write!(out, "{x:?}"),
        Value::Str(s) => {
            text(s, out);
            Ok(())
        }
        Value::List(_) => write!(out, "[]"),
        Value::Map(_) => write!(out, "{{}}"),
    };
}

/// Writes a text plainly if it cannot be misread, else in double quotes.
fn text(text: &str, out: &mut String) {
    if is_plain(text) && reads_as_text(text) && text != "<<" {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || "\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}".contains(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// True for the texts that need no quotes anywhere; narrower than YAML's own rule.
fn is_plain(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-./:@+=()<>$ ".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.$(+".contains(c))
        && text.chars().all(inside)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.starts_with("...")
}
