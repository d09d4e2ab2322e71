//! Where a gateway keeps its state, and so where the command line finds it.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A variable of the environment, if it is text.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// `EVERGATE_DATA_DIR`; else `/var/lib/evergate` for root; else `evergate` in `XDG_STATE_HOME` or `~/.local/state`.
/// `None` if there is no home either.
pub(crate) fn data_dir() -> Option<PathBuf> {
    choose(|name| env::var_os(name).map(PathBuf::from).filter(|p| !p.as_os_str().is_empty()), is_root())
}

fn choose(var: impl Fn(&str) -> Option<PathBuf>, root: bool) -> Option<PathBuf> {
    var("EVERGATE_DATA_DIR")
        .or_else(|| root.then(|| PathBuf::from("/var/lib/evergate")))
        // The XDG specification wants relative paths passed over.
        .or_else(|| Some(var("XDG_STATE_HOME").filter(|p| p.is_absolute())?.join("evergate")))
        .or_else(|| Some(var("HOME")?.join(".local/state/evergate")))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A path as it should be shown: without the working directory.
pub(crate) fn shown(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(rest) if !here.as_os_str().is_empty() && !rest.as_os_str().is_empty() => {
            rest.display().to_string()
        }
        _ => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_by_environment() {
        type Row<'a> = (&'a [(&'a str, &'a str)], bool, Option<&'a str>);
        let rows: [Row<'_>; 7] = [
            (&[("EVERGATE_DATA_DIR", "/d"), ("HOME", "/h")], true, Some("/d")),
            (&[("EVERGATE_DATA_DIR", "rel")], false, Some("rel")),
            (&[("HOME", "/root")], true, Some("/var/lib/evergate")),
            (&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], false, Some("/x/evergate")),
            (&[("XDG_STATE_HOME", "x"), ("HOME", "/h")], false, Some("/h/.local/state/evergate")),
            (&[("HOME", "/h")], false, Some("/h/.local/state/evergate")),
            (&[], false, None),
        ];
        for (vars, root, expected) in rows {
            let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v));
            assert_eq!(choose(var, root), expected.map(PathBuf::from), "{vars:?}");
        }
    }
}
