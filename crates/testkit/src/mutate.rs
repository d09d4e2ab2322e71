//! Good documents made bad in the ways that people and machines do it.

use crate::rng::Rng;

/// A change to a text, with a word for what was done.
type Mutation = (&'static str, fn(&str, &mut Rng) -> String);

const MUTATIONS: &[Mutation] = &[
    ("cut off", cut_off),
    ("line lost", line_lost),
    ("line twice", line_twice),
    ("letter lost", letter_lost),
    ("letters swapped", letters_swapped),
    ("stray sign", stray_sign),
    ("bytes lost", bytes_lost),
    ("value replaced", value_replaced),
    ("indented", indented),
    ("word changed", word_changed),
];

/// The text with one to three mutations, and what they were. It may still be a good document.
#[must_use]
pub fn mutate(text: &str, rng: &mut Rng) -> (String, Vec<&'static str>) {
    let mut text = text.to_owned();
    let mut done = Vec::new();
    for _ in 0..1 + rng.below(3) {
        let (word, mutation) = rng.pick(MUTATIONS);
        text = mutation(&text, rng);
        done.push(*word);
    }
    (text, done)
}

/// Half-written: everything from somewhere on is missing.
fn cut_off(text: &str, rng: &mut Rng) -> String {
    text[..border(text, rng)].to_owned()
}

fn line_lost(text: &str, rng: &mut Rng) -> String {
    edit_line(text, rng, |_, _| String::new())
}

fn line_twice(text: &str, rng: &mut Rng) -> String {
    edit_line(text, rng, |line, _| format!("{line}{line}"))
}

fn letter_lost(text: &str, rng: &mut Rng) -> String {
    let at = border(text, rng);
    text.char_indices().filter(|(i, _)| *i != at).map(|(_, c)| c).collect()
}

fn letters_swapped(text: &str, rng: &mut Rng) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if letters.len() > 1 {
        let at = rng.below(letters.len() - 1);
        letters.swap(at, at + 1);
    }
    letters.into_iter().collect()
}

fn stray_sign(text: &str, rng: &mut Rng) -> String {
    const SIGNS: &[&str] = &[
        "{", "}", "[", "]", ":", ",", "\"", "'", "\t", "&a ", "*a", "!", "|", "%", "@", "`", "#", "\u{0}",
        "é", "-",
    ];
    let at = border(text, rng);
    format!("{}{}{}", &text[..at], rng.pick(SIGNS), &text[at..])
}

fn bytes_lost(text: &str, rng: &mut Rng) -> String {
    let (a, b) = (border(text, rng), border(text, rng));
    format!("{}{}", &text[..a.min(b)], &text[a.max(b)..])
}

/// What follows the last colon or equals sign of a line becomes something else.
fn value_replaced(text: &str, rng: &mut Rng) -> String {
    const VALUES: &[&str] = &[
        "-1",
        "99999999999999999999",
        "null",
        "[]",
        "{}",
        "yes",
        "10 parsecs",
        "\"\"",
        "[1, 2]",
        "nowhere",
        "1e309",
    ];
    edit_line(text, rng, |line, rng| match line.rfind([':', '=']) {
        Some(at) => format!("{} {}\n", &line[..=at], rng.pick(VALUES)),
        None => line.to_owned(),
    })
}

fn indented(text: &str, rng: &mut Rng) -> String {
    edit_line(text, rng, |line, rng| format!("{}{line}", rng.pick(&[" ", "   ", "\t"])))
}

/// A misspelt key, a missing reference.
fn word_changed(text: &str, rng: &mut Rng) -> String {
    let starts: Vec<usize> = text
        .char_indices()
        .filter(|(i, c)| c.is_ascii_lowercase() && !text[..*i].ends_with(|p: char| p.is_ascii_alphanumeric()))
        .map(|(i, _)| i)
        .collect();
    if starts.is_empty() {
        return text.to_owned();
    }
    let at = *rng.pick(&starts);
    format!("{}{}{}", &text[..at], rng.pick(&["x", "un", "re"]), &text[at..])
}

fn edit_line(text: &str, rng: &mut Rng, edit: impl FnOnce(&str, &mut Rng) -> String) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let chosen = rng.below(lines.len());
    let mut edit = Some(edit);
    let mut out = String::new();
    for (n, line) in lines.iter().enumerate() {
        match edit.take_if(|_| n == chosen) {
            Some(edit) => out.push_str(&edit(line, rng)),
            None => out.push_str(line),
        }
    }
    out
}

/// A place between two characters.
fn border(text: &str, rng: &mut Rng) -> usize {
    let mut at = rng.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_changes_something_and_the_same_seed_the_same() {
        let good = "routes:\n  a: { respond: { body: \"é\" } }\n  b:\n    forward: there\n";
        for (word, mutation) in MUTATIONS {
            let changed = |seed| mutation(good, &mut Rng::new(seed)) != good;
            assert!((0..20).any(changed), "{word}");
        }
        assert_eq!(mutate(good, &mut Rng::new(7)), mutate(good, &mut Rng::new(7)));
        for (_, mutation) in MUTATIONS {
            mutation("", &mut Rng::new(1));
        }
    }
}
