//! Documents: three formats, the way from text to a checked configuration, patches, the short texts in values.

use std::{path::Path as FsPath, str::FromStr};

use evergate_conf::{
    ByteSize, FileId, Format, Limits, Loader, Node, Path, Report, Span, amend,
    format::{from_json_value, parse, to_json, to_json_value, to_yaml},
    make_patch, merge, merge_all,
};
use evergate_contract::{check, config::Address};

use crate::halves;

/// Small, so that what they guard against is reached quickly.
const LIMITS: Limits = Limits { depth: 32, bytes: 64 << 10, nodes: 20_000, alias_nodes: 2_000 };

pub(crate) fn yaml(data: &[u8]) {
    text(data, Format::Yaml);
}

pub(crate) fn toml(data: &[u8]) {
    text(data, Format::Toml);
}

pub(crate) fn json(data: &[u8]) {
    text(data, Format::Json);
}

/// What is read is the same after it was written in any format.
fn text(data: &[u8], format: Format) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Format::of_text(text);
    let read = |text: &str, format| parse(text, format, FileId::NONE, &LIMITS);
    let Ok(node) = read(text, format) else { return };
    assert_eq!(read(&to_json(&node), Format::Json).as_ref(), Ok(&node), "as JSON");
    assert_eq!(from_json_value(&to_json_value(&node)).as_ref(), Ok(&node), "as a JSON value");
    let yaml = to_yaml(&node);
    assert_eq!(read(&yaml, Format::Yaml).as_ref(), Ok(&node), "as YAML:\n{yaml}");
}

/// A text is refused with a report that can be shown, or becomes a configuration that can be written and read again.
pub(crate) fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let variable = |name: &str| (name == "SET").then(|| "value".to_owned());
    let mut loader = Loader::new(&[]).with_limits(LIMITS).with_env(variable);
    let node = match loader.parse_str("fuzz", FsPath::new("/"), text, Format::of_text(text)) {
        Ok(node) => node,
        Err(report) => return show(report, &loader),
    };
    let checked = match check(&node, None) {
        Ok(checked) => checked,
        Err(report) => return show(report, &loader),
    };
    let again = check(&node, Some((&node, &checked))).ok();
    assert_eq!(again.as_deref(), Some(&*checked), "checked again, it is another");
}

fn show(mut report: Report, loader: &Loader) {
    assert!(report.has_errors(), "refused without a reason");
    report.locate(loader.files());
    assert!(!report.to_string().is_empty());
    for problem in report.iter() {
        assert!(!problem.message.is_empty(), "a problem without a word");
    }
}

/// Three documents: patches lead from one to the next, and layers merged at once are those merged in turn.
pub(crate) fn merge_patch(data: &[u8]) {
    let Some((a, rest)) = halves(data) else { return };
    let Some((b, c)) = rest.split_once("\n---\n") else { return };
    let read = |text: &str| parse(text, Format::Json, FileId::NONE, &LIMITS).ok();
    let (Some(a), Some(b), Some(c)) = (read(a), read(b), read(c)) else { return };
    let base = evergate_conf::strip_nulls(&a);
    let goal = evergate_conf::strip_nulls(&b);
    assert_eq!(merge(&base, &make_patch(&base, &goal)), goal, "a patch does not lead where it was made for");
    assert_eq!(merge(&merge(&base, &b), &c), merge(&base, &amend(&base, &b, &c)), "amend");
    if [&a, &b, &c].iter().all(|n: &&Node| n.as_map().is_some()) {
        assert_eq!(merge_all(&[&a, &b, &c]), merge(&merge(&merge(&Node::empty_map(), &a), &b), &c), "layers");
    }
    for change in evergate_conf::diff(&a, &b) {
        assert_ne!(change.before, change.after, "{}", change.path);
    }
}

/// Durations, sizes, addresses and paths read as what they are written as.
pub(crate) fn units(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    again::<Span>(text);
    again::<ByteSize>(text);
    again::<Address>(text);
    again::<Path>(text);
}

fn again<T: FromStr + ToString + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        assert!(shown.parse::<T>().is_ok_and(|v| v == value), "{text} is shown as {shown}");
    }
}
