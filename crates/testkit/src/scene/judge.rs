//! Whether an answer is what a scene expects.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Exchange, Texts};
use crate::client::Answer;

/// Everything that is wrong with an answer; nothing if it is as expected.
#[must_use]
pub fn judge(exchange: &Exchange, answer: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    if answer.status != exchange.status {
        wrong.push(format!("status {} is not {}", answer.status, exchange.status));
    }
    if let Some(says) = &exchange.says
        && answer.body != says.bytes()
    {
        wrong.push(format!("body {:?} is not {says:?}", clip(answer)));
    }
    if let Some(part) = &exchange.contains
        && !answer.text().contains(part.as_str())
    {
        wrong.push(format!("body {:?} does not contain {part:?}", clip(answer)));
    }
    for (name, want) in &exchange.has {
        let got: Vec<&str> = answer.fields.all(name).collect();
        if !fits(&got, want.as_ref()) {
            wrong.push(format!("header {name} {got:?} is not {want:?}"));
        }
    }
    let body = answer.json();
    for (path, want) in &exchange.json {
        let got = at(&body, path);
        if got != want {
            wrong.push(format!("{path} {got} is not {want}, in {:?}", clip(answer)));
        }
    }
    wrong
}

fn fits(got: &[&str], want: Option<&Texts>) -> bool {
    match want {
        None => got.is_empty(),
        Some(Texts::One(any)) if any == "*" => !got.is_empty(),
        Some(want) => got == want.all(),
    }
}

/// What stands at a path; null if there is nothing.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    const NOTHING: &Value = &Value::Null;
    path.split('.').fold(value, |value, key| match value {
        Value::Array(items) => key.parse().ok().and_then(|i: usize| items.get(i)).unwrap_or(NOTHING),
        other => other.get(key).unwrap_or(NOTHING),
    })
}

fn clip(answer: &Answer) -> String {
    answer.text().chars().take(300).collect()
}

/// What must be the same however a scene is reached: without what differs between any two requests.
#[must_use]
pub fn essence(answer: &Answer) -> (u16, BTreeMap<String, Vec<String>>, String) {
    const OWN: &[&str] = &["date", "x-request-id", "last-modified", "etag", "alt-svc"];
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &answer.fields.0 {
        let name = name.to_ascii_lowercase();
        if !OWN.contains(&name.as_str()) {
            fields.entry(name).or_default().push(value.clone());
        }
    }
    let mut body = answer.json();
    let text = match body.get_mut("fields").and_then(Value::as_object_mut) {
        // An echo shows the request's id, and which process asked.
        Some(echoed) => {
            echoed.retain(|name, _| name != "x-request-id" && name != "via");
            body.to_string()
        }
        None => crate::rng::hash(&answer.body).to_string(),
    };
    (answer.status, fields, text)
}
