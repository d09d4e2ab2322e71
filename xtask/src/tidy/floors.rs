//! Which crate may know which: edges point down only, never sideways. The table is the architecture.

use super::{File, Problem};

/// A crate and all of ours that it may depend on.
struct Crate {
    folder: &'static str,
    /// Our own crates, without `evergate-`.
    may_use: &'static [&'static str],
}

/// From the top floor to the lowest; a crate may only use what stands further down.
const CRATES: [Crate; 17] = [
    Crate { folder: "bench", may_use: &["testkit"] },
    Crate { folder: "xtask", may_use: &["contract"] },
    Crate { folder: "fuzz", may_use: &["conf", "contract", "kit", "reload", "router", "site", "wire"] },
    Crate {
        folder: "crates/evergate",
        may_use: &["admin", "conf", "contract", "kit", "proxy", "reload", "supervisor", "upstream"],
    },
    Crate { folder: "crates/admin", may_use: &["conf", "contract", "kit", "reload"] },
    Crate {
        folder: "crates/proxy",
        may_use: &["conf", "contract", "kit", "reload", "router", "site", "tls", "upstream", "wire"],
    },
    Crate { folder: "crates/router", may_use: &["conf", "contract", "kit", "wire"] },
    // The one step sideways: who reaches endpoints shakes hands with them.
    Crate { folder: "crates/upstream", may_use: &["conf", "contract", "kit", "tls", "wire"] },
    Crate { folder: "crates/site", may_use: &["conf", "contract", "kit", "wire"] },
    Crate { folder: "crates/tls", may_use: &["conf", "contract", "kit"] },
    Crate { folder: "crates/contract", may_use: &["conf"] },
    Crate { folder: "crates/reload", may_use: &["conf", "kit"] },
    Crate { folder: "crates/supervisor", may_use: &["kit"] },
    // Beside the floors. It shares no protocol code with what it tests.
    Crate { folder: "crates/testkit", may_use: &["conf"] },
    Crate { folder: "crates/conf", may_use: &[] },
    Crate { folder: "crates/kit", may_use: &[] },
    Crate { folder: "crates/wire", may_use: &[] },
];

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let manifests = files.iter().filter(|f| f.path.ends_with("/Cargo.toml"));
    manifests.flat_map(|file| manifest(&file.path, &file.text)).collect()
}

fn manifest(path: &str, text: &str) -> Vec<Problem> {
    let at = |what: &str| text.lines().position(|l| l.contains(what)).map_or(0, |i| i + 1);
    let Ok(table) = text.parse::<toml::Table>() else { return vec![Problem::new(path, 0, "no TOML")] };
    let folder = path.trim_end_matches("/Cargo.toml");
    let Some(known) = CRATES.iter().find(|c| c.folder == folder) else {
        let text = "this crate has no floor: give it a line in xtask/src/tidy/floors.rs";
        return vec![Problem::new(path, 0, text)];
    };
    let mut problems = Vec::new();
    for (name, dependency) in section(&table, "dependencies") {
        if let Some(own) = name.strip_prefix("evergate-").filter(|own| !known.may_use.contains(own)) {
            let text =
                format!("{folder} may not know `{own}`: edges point down, as xtask/src/tidy/floors.rs says");
            problems.push(Problem::new(path, at(name), text));
        }
        if dependency.get("workspace").is_none() {
            let text = format!("`{name}` has its version here: it belongs into the workspace's table");
            problems.push(Problem::new(path, at(name), text));
        }
    }
    if table.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool) != Some(true) {
        problems.push(Problem::new(
            path,
            0,
            "does not take the workspace's lints: `[lints]` `workspace = true`",
        ));
    }
    problems
}

fn section<'a>(table: &'a toml::Table, name: &str) -> impl Iterator<Item = (&'a String, &'a toml::Value)> {
    table.get(name).and_then(toml::Value::as_table).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, dependencies: &str, expected: &[&str]) {
        let text = format!("[lints]\nworkspace = true\n[dependencies]\n{dependencies}");
        let found: Vec<String> = manifest(path, &text).into_iter().map(|p| p.text).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(f, e)| f.contains(e)), "{found:?}");
    }

    #[test]
    fn edges_point_down() {
        check("crates/proxy/Cargo.toml", "evergate-router.workspace = true\nhttp.workspace = true", &[]);
        check("crates/router/Cargo.toml", "evergate-site.workspace = true", &["may not know `site`"]);
        check("crates/conf/Cargo.toml", "evergate-kit.workspace = true", &["may not know `kit`"]);
        check("crates/wire/Cargo.toml", "http = \"1\"", &["workspace's table"]);
        check("crates/novel/Cargo.toml", "", &["no floor"]);
    }

    #[test]
    fn lints_are_taken() {
        let found = manifest("crates/kit/Cargo.toml", "[dependencies]");
        assert!(found.iter().any(|p| p.text.contains("lints")));
    }

    #[test]
    fn the_table_leads_down_only() {
        let place = |own: &str| CRATES.iter().position(|c| c.folder == format!("crates/{own}"));
        for (i, known) in CRATES.iter().enumerate() {
            for own in known.may_use {
                assert!(place(own).unwrap() > i, "{} → {own}", known.folder);
            }
        }
    }
}
