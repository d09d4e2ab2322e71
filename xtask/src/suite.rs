//! `cargo xtask test`: everything that can fail, in one command.
//!
//! The house rules and the generated documents have their tests here in `xtask`, the fuzz targets theirs in `fuzz/`,
//! so that `cargo test` alone finds all of it; this adds a look whether the tools are there.

use std::path::Path;

use crate::call;

/// Programs that tests need, and the Debian packages that hold them.
const TOOLS: [(&str, &str); 3] = [("git", "git"), ("systemd-analyze", "systemd"), ("testssl", "testssl.sh")];

pub(crate) fn run(top: &Path, args: &[&str]) -> Result<(), String> {
    let absent = missing(&TOOLS);
    if !absent.is_empty() {
        return Err(format!("missing; install with: apt-get install -y {}", absent.join(" ")));
    }
    let mut command = vec!["cargo", "test", "--workspace"];
    command.extend(args);
    call(top, &command)
}

/// The packages of programs that are not on the path.
pub(crate) fn missing(tools: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root looks.
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into()]).collect();
    let absent = |program: &str| !folders.iter().any(|f| f.join(program).is_file());
    tools.iter().filter(|(program, _)| absent(program)).map(|(_, package)| *package).collect()
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn a_program_that_is_nowhere_is_missing() {
        assert_eq!(missing(&[("sh", "dash"), ("evergate-no-such-program", "nothing")]), ["nothing"]);
    }
}
