//! Reads what [`super::Exposition`] wrote, as strictly as `promtool check metrics`.

use std::collections::BTreeMap;

/// A family as read.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// A sample as read.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Families by name, or the first thing that is wrong.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in text.split_terminator('\n') {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or("HELP without text")?;
            check_name(name)?;
            let family = Family { help: help.to_owned(), ..Family::default() };
            if families.insert(name.to_owned(), family).is_some() {
                return Err(format!("two families {name}"));
            }
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or("TYPE without kind")?;
            let family = families.get_mut(name).filter(|_| name == current).ok_or("TYPE before HELP")?;
            if !["counter", "gauge", "histogram"].contains(&kind) || !family.kind.is_empty() {
                return Err(format!("TYPE of {name}"));
            }
            family.kind = kind.to_owned();
        } else {
            let sample = read_sample(line)?;
            let family = families.get_mut(&current).ok_or("a sample before its family")?;
            check_sample(&current, family, &sample)?;
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        check_family(name, family)?;
    }
    Ok(families)
}

fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    good.then_some(()).ok_or_else(|| format!("bad name {name:?}"))
}

fn read_sample(line: &str) -> Result<Sample, String> {
    let bad = || format!("bad sample {line:?}");
    let end = line.find(['{', ' ']).ok_or_else(bad)?;
    let (name, mut rest) = line.split_at(end);
    check_name(name)?;
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or_else(bad)?;
            check_name(label)?;
            let (value, after) = read_value(after).ok_or_else(bad)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(format!("label {label} twice"));
            }
            match after.split_at(1) {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => return Err(bad()),
            }
        }
    }
    let value = match rest.strip_prefix(' ').ok_or_else(bad)? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            number.parse().map_err(|_| bad())?
        }
        _ => return Err(bad()),
    };
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn read_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

fn check_sample(name: &str, family: &Family, sample: &Sample) -> Result<(), String> {
    let suffix = sample.name.strip_prefix(name).ok_or_else(|| format!("{} in family {name}", sample.name))?;
    let fits = match (family.kind.as_str(), suffix) {
        ("histogram", "_bucket") => sample.labels.contains_key("le"),
        ("histogram", "_sum" | "_count") | ("counter" | "gauge", "") => !sample.labels.contains_key("le"),
        _ => false,
    };
    let again = family.samples.iter().any(|s| s.name == sample.name && s.labels == sample.labels);
    if !fits || again {
        return Err(format!("{sample:?} does not fit or is there twice"));
    }
    Ok(())
}

fn check_family(name: &str, family: &Family) -> Result<(), String> {
    let counts_up = family.kind != "gauge";
    if family.kind.is_empty() || family.help.is_empty() {
        return Err(format!("{name} has no TYPE or HELP"));
    }
    if (family.kind == "counter") != name.ends_with("_total") {
        return Err(format!("{name}: counters, and they alone, end in _total"));
    }
    if counts_up && family.samples.iter().any(|s| s.value.is_nan() || s.value < 0.0) {
        return Err(format!("{name} counts below zero"));
    }
    let buckets: Vec<&Sample> = family.samples.iter().filter(|s| s.name.ends_with("_bucket")).collect();
    for pair in buckets.windows(2) {
        if pair[1].labels["le"] != "+Inf" && pair[0].labels["le"] == "+Inf" {
            continue;
        }
        if pair[0].labels["le"] != "+Inf" && pair[0].value > pair[1].value {
            return Err(format!("{name}: buckets are not cumulative"));
        }
    }
    if family.kind == "histogram" && buckets.last().is_none_or(|b| b.labels["le"] != "+Inf") {
        return Err(format!("{name}: no infinite bucket"));
    }
    Ok(())
}
