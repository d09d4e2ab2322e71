//! `docs/configuration.md`: every key of the document, written from its schema, so that it cannot be wrong.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

const PATH: &str = "docs/configuration.md";

const HEAD: &str = "\
# Every key of the document

*Written by `cargo xtask docs` from the schema that the program itself uses (`evergate schema`).*

A document is YAML, TOML or JSON. Objects are maps keyed by name: `<name>` below is a name of your choice, `[]` stands for
each item of a list. Where a text and a map are both given as the type, the text is a short form of the map.

| type | written |
|---|---|
| duration | `250ms`, `5s`, `1m30s`, `24h` |
| size | `64KiB`, `10MB`, `0`, or a number of bytes |
| path | relative to the file that names it |
| secret | `{ env: NAME }`, `{ file: path }`, or `{ literal: text }`; never shown |

In any text `${VAR}` is an environment variable, `${VAR:-default}` one with a default, and `$$` is a dollar. An unknown key is an
error. Every key takes effect while the program runs; no change needs a restart.
";

pub(crate) fn write(top: &Path) -> Result<(), String> {
    std::fs::write(top.join(PATH), page(&evergate_contract::schema())).map_err(|why| format!("{PATH}: {why}"))
}

pub(crate) fn check(top: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(top.join(PATH)).map_err(|why| format!("{PATH}: {why}"))?;
    if text == page(&evergate_contract::schema()) {
        Ok(())
    } else {
        Err(format!("{PATH} is not what the schema says: run `cargo xtask docs`"))
    }
}

fn page(schema: &Value) -> String {
    let mut page = Page { schema, out: HEAD.to_owned() };
    let Some(sections) = schema.get("properties").and_then(Value::as_object) else { return page.out };
    for (name, section) in sections {
        page.section(name, section);
    }
    page.out
}

struct Page<'a> {
    schema: &'a Value,
    out: String,
}

impl<'a> Page<'a> {
    fn section(&mut self, name: &str, section: &'a Value) {
        let about = describe(section);
        let _ = write!(self.out, "\n## {name}\n\n{about}\n");
        let (prefix, inner) = match named(section) {
            Some(inner) => (format!("{name}.<name>"), self.follow(inner)),
            None => (name.to_owned(), self.follow(section)),
        };
        let more = describe(inner);
        if !more.is_empty() && more != about {
            let _ = writeln!(self.out, "{more}");
        }
        self.out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
        if self.objects(inner).is_empty() {
            self.row(&prefix, section, false);
        } else {
            self.rows(&prefix, inner);
        }
    }

    /// A row for every property of a schema, and those inside them.
    fn rows(&mut self, prefix: &str, schema: &'a Value) {
        for object in self.objects(schema) {
            let required = object.get("required").and_then(Value::as_array);
            let properties = object.get("properties").and_then(Value::as_object);
            for (key, property) in properties.into_iter().flatten() {
                let needed = required.is_some_and(|r| r.iter().any(|k| k == key));
                self.row(&format!("{prefix}.{key}"), property, needed);
            }
        }
    }

    fn row(&mut self, path: &str, property: &'a Value, needed: bool) {
        let schema = self.follow(property);
        let default = match property.get("default").or_else(|| schema.get("default")) {
            _ if needed => "needed".to_owned(),
            Some(Value::Object(_)) | None => String::new(),
            Some(Value::Array(list)) if list.is_empty() => String::new(),
            Some(Value::String(text)) if text.is_empty() => String::new(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
        };
        let mut about = describe(property).to_owned();
        let of_items = schema.get("items").map(|items| self.follow(items));
        for (word, meaning) in choices(schema).chain(of_items.into_iter().flat_map(choices)) {
            let _ = write!(about, "<br>`{word}`: {meaning}");
        }
        let about = about.replace('|', "\\|").replace('\n', " ");
        let kind = self.kind(schema).replace('|', "\\|");
        let _ = writeln!(self.out, "| `{path}` | {kind} | {default} | {about} |");
        if schema.get("format").and_then(Value::as_str) == Some("secret") {
            return;
        }
        match (schema.get("items"), named(schema)) {
            (Some(items), _) => self.rows(&format!("{path}[]"), self.follow(items)),
            (_, Some(inner)) => self.rows(&format!("{path}.<name>"), self.follow(inner)),
            _ => self.rows(path, schema),
        }
    }

    /// What is really meant: references followed, "or nothing" left out.
    fn follow(&self, mut schema: &'a Value) -> &'a Value {
        loop {
            let alternatives = schema.get("anyOf").and_then(Value::as_array);
            let mut real =
                alternatives.into_iter().flatten().filter(|s| s.get("type") != Some(&"null".into()));
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
            schema = match (target.and_then(|t| self.schema.pointer(t)), real.next(), real.next()) {
                (Some(next), ..) | (None, Some(next), None) => next,
                _ => return schema,
            };
        }
    }

    /// The schema itself or those of its forms that have keys.
    fn objects(&self, schema: &'a Value) -> Vec<&'a Value> {
        let forms = schema.get("anyOf").and_then(Value::as_array);
        let forms = forms.into_iter().flatten().map(|form| self.follow(form));
        std::iter::once(schema).chain(forms).filter(|s| s.get("properties").is_some()).collect()
    }

    fn kind(&self, schema: &'a Value) -> String {
        if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
            let forms: Vec<String> = forms.iter().map(|form| self.kind(self.follow(form))).collect();
            return forms.join(" or ");
        }
        if let Some(word) = schema.get("const") {
            return format!("`{}`", word.as_str().map_or_else(|| word.to_string(), str::to_owned));
        }
        if schema.get("oneOf").is_some() {
            return "word".to_owned();
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("span") => return "duration".to_owned(),
            Some("size") => return "size".to_owned(),
            Some("file" | "location") => return "path".to_owned(),
            Some("secret") => return "secret".to_owned(),
            _ => {}
        }
        if let Some(items) = schema.get("items") {
            return format!("list of {}", self.kind(self.follow(items)));
        }
        match (named(schema), plain_type(schema)) {
            (Some(inner), _) => format!("map of {} by name", self.kind(self.follow(inner))),
            (_, "object") => "map".to_owned(),
            (_, "string") => "text".to_owned(),
            (_, "integer") => range(schema),
            (_, other) => other.to_owned(),
        }
    }
}

/// The schema of each value of a map whose keys are names.
fn named(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|s| s.is_object())
}

fn describe(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// The words that may be written, with what they mean.
fn choices(schema: &Value) -> impl Iterator<Item = (&str, &str)> {
    let words = schema.get("oneOf").and_then(Value::as_array);
    words.into_iter().flatten().filter_map(|s| Some((s.get("const")?.as_str()?, describe(s))))
}

fn plain_type(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or_default()
        }
        _ => "",
    }
}

fn range(schema: &Value) -> String {
    let bound = |key: &str| schema.get(key).and_then(Value::as_i64);
    match (bound("minimum"), bound("maximum")) {
        // The bounds of the machine are not worth a word.
        (Some(min), Some(max)) if max != i64::from(u16::MAX) => format!("number, {min} to {max}"),
        _ => "number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        assert_eq!(check(&crate::top()), Ok(()));
    }

    #[test]
    fn every_key_has_a_row_with_a_meaning() {
        let schema = evergate_contract::schema();
        let page = page(&schema);
        let rows: Vec<&str> = page.lines().filter(|l| l.starts_with("| `")).collect();
        for row in &rows {
            assert!(!row.ends_with("|  |"), "no meaning: {row}");
        }
        let keys = |s: &Value| -> Vec<String> {
            let properties = s.get("properties").and_then(Value::as_object).cloned();
            properties.unwrap_or_default().keys().cloned().collect()
        };
        let types = schema["$defs"].as_object().unwrap();
        for key in types.iter().filter(|(name, _)| *name != "Secret").flat_map(|(_, s)| keys(s)) {
            assert!(rows.iter().any(|r| r.contains(&format!(".{key}`"))), "no row for {key}");
        }
    }
}
