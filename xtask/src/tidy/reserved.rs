//! Words that may not stand in some places: locks on the request path, the clock in what is pure, the environment
//! outside of the loader.

use super::{Problem, Source, source::words};

/// Words, where they may not stand, where they may all the same, and why.
struct Rule {
    words: &'static [&'static str],
    /// Beginnings of paths.
    inside: &'static [&'static str],
    except: &'static [&'static str],
    why: &'static str,
}

const RULES: [Rule; 3] = [
    Rule {
        words: &["Mutex", "RwLock", "Condvar", "DashMap", "block_on"],
        inside: &[
            "crates/proxy/src/conn",
            "crates/proxy/src/doors",
            "crates/proxy/src/edits",
            "crates/proxy/src/exchange",
            "crates/proxy/src/headers",
            "crates/proxy/src/reply",
            "crates/proxy/src/route",
            "crates/proxy/src/serve",
            "crates/proxy/src/view",
            "crates/proxy/src/worker",
            "crates/router/src/",
            "crates/site/src/",
            "crates/upstream/src/",
            "crates/wire/src/",
        ],
        except: &["crates/upstream/src/health"],
        why: "nothing on the request path takes a lock or blocks (design law 5)",
    },
    Rule {
        words: &["Instant::now", "SystemTime::now"],
        inside: &[
            "crates/conf/src/",
            "crates/contract/src/",
            "crates/reload/src/engine",
            "crates/reload/src/plan",
            "crates/router/src/",
            "crates/upstream/src/balance",
            "crates/upstream/src/ejection",
            "crates/wire/src/h1/",
        ],
        except: &[],
        why: "what decides or reads is pure: the time is handed in",
    },
    Rule {
        words: &["env::var", "env::var_os", "env::vars"],
        inside: &["crates/"],
        except: &[
            "crates/conf/src/load",
            "crates/conf/src/secret",
            // The command line's own: where the gateway is, and whether to use colours.
            "crates/evergate/",
            "crates/testkit/",
        ],
        why: "only the loader and secrets read the environment, so that a revision pins what it used",
    },
];

pub(super) fn check(sources: &[Source]) -> Vec<Problem> {
    sources.iter().flat_map(|s| RULES.iter().flat_map(|rule| broken(s, rule))).collect()
}

fn broken(source: &Source, rule: &Rule) -> Vec<Problem> {
    let begins = |list: &[&str]| list.iter().any(|start| source.path.starts_with(start));
    if !begins(rule.inside) || begins(rule.except) {
        return Vec::new();
    }
    let found = |(line, text): (usize, &str)| {
        let word = rule.words.iter().find(|w| words(text, w).next().is_some())?;
        Some(Problem::new(&source.path, line, format!("`{word}` may not stand here: {}", rule.why)))
    };
    source.code_lines().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: usize) {
        assert_eq!(super::check(&[Source::new(path, text)]).len(), expected, "{path}: {text}");
    }

    #[test]
    fn reserved_words_are_found() {
        check("crates/proxy/src/serve/h1.rs", "use std::sync::Mutex;", 1);
        check("crates/proxy/src/serve/h1.rs", "// no Mutex here", 0);
        check("crates/proxy/src/plane.rs", "use std::sync::Mutex;", 0);
        check("crates/proxy/src/conn.rs", "#[cfg(test)]\nmod tests { use std::sync::Mutex; }", 0);
        check("crates/reload/src/engine.rs", "let t = Instant::now();", 1);
        check("crates/reload/src/drive/run.rs", "let t = Instant::now();", 0);
        check("crates/tls/src/lib.rs", "std::env::var(\"X\")", 1);
        check("crates/conf/src/load.rs", "std::env::var(name)", 0);
    }
}
