//! Every target over its corpus and thousands of mutations of it: what `cargo fuzz` does, in a minute and without a
//! nightly compiler. `FUZZ_ROUNDS` sets how many for each target, `FUZZ_SEED` where they begin.
#![allow(clippy::expect_used, reason = "a test ends where it cannot go on")]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use evergate_fuzz::TARGETS;
use evergate_kit::Rng;

fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = here("corpus").join(target);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("a corpus").map(|e| e.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// What has tricked parsers before.
const TRICKS: [&[u8]; 32] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"\xef\xbb\xbf",
    b" ",
    b"\t",
    b":",
    b": ",
    b"-",
    b"0",
    b"18446744073709551616",
    b"-1",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"\\",
    b"&a",
    b"*a",
    b"<<",
    b"${",
    b"%2e%2e/",
    b"../",
    b"//",
    b"chunked",
    b"null",
    b"\n---\n",
];

fn mutate(rng: &Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |n: usize| rng.below(n as u64) as usize;
    let mut data = seeds[pick(seeds.len())].clone();
    for _ in 0..=pick(6) {
        let at = pick(data.len() + 1);
        let end = (at + pick(16)).min(data.len());
        match pick(6) {
            0 => drop(data.drain(at..end)),
            1 => data.insert(at, rng.u64() as u8),
            2 => drop(data.splice(at..at, TRICKS[pick(TRICKS.len())].iter().copied())),
            3 => {
                let piece = data[at..end].to_vec();
                let to = pick(data.len() + 1);
                data.splice(to..to, piece);
            }
            4 => {
                let other = &seeds[pick(seeds.len())];
                let cut = pick(other.len() + 1);
                data.truncate(at);
                data.extend_from_slice(&other[cut..]);
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << pick(8);
                }
            }
        }
    }
    data
}

#[test]
fn no_target_breaks() {
    let rounds = number("FUZZ_ROUNDS", 3000);
    let first = number("FUZZ_SEED", 1);
    let mut broken = Vec::new();
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        let run = |data: &[u8], from: &str| {
            let ended = catch_unwind(AssertUnwindSafe(|| target(data)));
            if ended.is_err() {
                eprintln!("{name} breaks on {from}: {}", data.escape_ascii());
            }
            ended.is_err()
        };
        let rng = Rng::new(first);
        let breaks = seeds.iter().any(|data| run(data, "its corpus"))
            || (0..rounds).any(|_| run(&mutate(&rng, &seeds), "a mutation"));
        if breaks {
            broken.push(name);
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

/// A seed that a target refuses at once would leave most of it untouched.
#[test]
fn every_target_has_a_corpus_and_a_binary() {
    let manifest: toml::Table =
        fs::read_to_string(here("Cargo.toml")).expect("a manifest").parse().expect("TOML");
    let names = |list: &toml::Value| -> BTreeSet<String> {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|bin| bin["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&manifest["bin"]), targets);
    let folders = fs::read_dir(here("corpus")).expect("a corpus");
    let folders: BTreeSet<String> =
        folders.map(|e| e.expect("a folder").file_name().into_string().expect("a name")).collect();
    assert_eq!(folders, targets);
    for (name, _) in TARGETS {
        assert!(!corpus(name).is_empty(), "{name}");
        let binary =
            fs::read_to_string(here("fuzz_targets").join(name).with_extension("rs")).expect("a binary");
        assert!(binary.contains(&format!("run(\"{name}\", data)")), "{name}");
    }
}
