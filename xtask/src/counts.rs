//! Counted work: hands over to `bench/`, after a look whether its tools are there.

use std::path::Path;

use crate::{call, suite::missing};

const TOOLS: [(&str, &str); 1] = [("valgrind", "valgrind")];

pub(crate) fn run(top: &Path, args: &[&str]) -> Result<(), String> {
    let absent = missing(&TOOLS);
    if !absent.is_empty() {
        return Err(format!("missing; install with: apt-get install -y {}", absent.join(" ")));
    }
    let mut command = vec!["cargo", "run", "--quiet", "-p", "bench", "--bin", "counts", "--"];
    command.extend(args);
    call(top, &command)
}
