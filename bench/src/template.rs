//! Configurations out of the files in `bench/peers`: words between `@` get their values, `@FILE name@` on a line of
//! its own stands for another file, and `@EACH name@` for that file once for each host; `EACH-A` and `EACH-B` take
//! the hosts of one backend.

use std::{collections::BTreeMap, fs, path::Path};

/// Values by word.
pub(crate) type Words = BTreeMap<&'static str, String>;

/// Which hosts there are, and where each one goes after so many changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hosts {
    pub first: usize,
    pub end: usize,
    /// All hosts, of which these may be a part.
    pub count: usize,
    /// Changes up to here. Each sends one host to the other backend, one after the other.
    pub turn: usize,
}

impl Hosts {
    pub(crate) fn all(count: usize, turn: usize) -> Hosts {
        Hosts { first: 0, end: count, count, turn }
    }

    /// The backend that a host goes to.
    pub(crate) fn backend(&self, host: usize) -> char {
        backend(self.count, host, self.turn)
    }
}

/// The name of a host.
pub(crate) fn host(number: usize) -> String {
    format!("h{number}.bench.test")
}

/// The host that a change touches; changes count from 1.
pub(crate) fn touched(count: usize, turn: usize) -> usize {
    (turn - 1) % count
}

/// The backend that a host goes to after so many changes.
pub(crate) fn backend(count: usize, host: usize, turn: usize) -> char {
    let times = (turn + count - 1 - host) / count;
    if times.is_multiple_of(2) { 'a' } else { 'b' }
}

/// A file with everything in its place.
pub(crate) fn fill(folder: &Path, name: &str, words: &Words, hosts: Option<Hosts>) -> String {
    let text = fs::read_to_string(folder.join(name))
        .unwrap_or_else(|e| panic!("{}: {e}", folder.join(name).display()));
    let mut out = String::new();
    for line in text.lines() {
        let asked = line.trim().strip_prefix('@').and_then(|l| l.strip_suffix('@'));
        if let Some(name) = asked.and_then(|l| l.strip_prefix("FILE ")) {
            out.push_str(&fill(folder, name, words, hosts));
        } else if let Some((which, each)) = asked.and_then(|l| l.strip_prefix("EACH")?.split_once(' ')) {
            let (name, between) = each.split_once(' ').unwrap_or((each, ""));
            let hosts = hosts.unwrap_or_else(|| panic!("{name}: no hosts"));
            let text = fill(folder, name, words, None);
            let all: Vec<String> =
                chosen(which, hosts).map(|number| one_host(&text, words, hosts, number)).collect();
            out.push_str(&all.join(&format!("{between}\n")));
            out.push('\n');
        } else {
            out.push_str(&put(line, words));
            out.push('\n');
        }
    }
    out
}

fn put(line: &str, words: &Words) -> String {
    let mut line = line.to_owned();
    if line.contains('@') {
        for (word, value) in words {
            line = line.replace(&format!("@{word}@"), value);
        }
    }
    line
}

fn chosen(which: &str, hosts: Hosts) -> impl Iterator<Item = usize> {
    let only = match which {
        "-A" => Some('a'),
        "-B" => Some('b'),
        _ => None,
    };
    (hosts.first..hosts.end).filter(move |number| only.is_none_or(|only| hosts.backend(*number) == only))
}

fn one_host(text: &str, words: &Words, hosts: Hosts, number: usize) -> String {
    let (name, word) = if hosts.backend(number) == 'a' { ("a", "A") } else { ("b", "B") };
    let address = words.get(word).map_or("", String::as_str);
    let mut one = String::with_capacity(2 * text.len());
    let mut rest = text.trim_end();
    while let Some((before, after)) = rest.split_once('@') {
        one.push_str(before);
        let (word, after) = after.split_once('@').unwrap_or((after, ""));
        match word {
            "HOST" => one.push_str(&host(number)),
            "NAME" => one.push_str(&format!("r{number}")),
            "BACKEND" => one.push_str(name),
            "BACKEND_ADDRESS" => one.push_str(address),
            _ => {
                one.push('@');
                one.push_str(word);
                rest = rest.get(before.len() + 1 + word.len()..).unwrap_or_default();
                continue;
            }
        }
        rest = after;
    }
    one.push_str(rest);
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_touch_one_host_each() {
        for count in [1, 3, 10] {
            let all = |turn: usize| (0..count).map(|h| backend(count, h, turn)).collect::<String>();
            assert_eq!(all(0), "a".repeat(count));
            for turn in 1..=3 * count {
                let (before, after) = (all(turn - 1), all(turn));
                let moved: Vec<usize> =
                    (0..count).filter(|h| before.as_bytes().get(*h) != after.as_bytes().get(*h)).collect();
                assert_eq!(moved, [touched(count, turn)], "{count} hosts, change {turn}");
            }
        }
    }

    #[test]
    fn files_are_filled() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a", "x @A@ @NOT@\n  @FILE b@\n@EACH c ,@\n@EACH-B d@\nend\n");
        write("b", "b @A@\n");
        write("c", "@HOST@=@BACKEND@:@BACKEND_ADDRESS@ @B@\n");
        write("d", "a@b @NAME@");
        let words = Words::from([("A", "1".to_owned()), ("B", "2".to_owned())]);
        let text = fill(folder.path(), "a", &words, Some(Hosts::all(2, 1)));
        assert_eq!(text, "x 1 @NOT@\nb 1\nh0.bench.test=b:2 2,\nh1.bench.test=a:1 2\na@b r0\nend\n");
    }
}
