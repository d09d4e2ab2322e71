//! Measurements: hands over to `bench/`, after a look whether its tools are there.

use std::path::Path;

use crate::{call, suite::missing};

/// Debian packages that hold the backend and the load. Other proxies that are not there, the suite names as missing.
const TOOLS: [(&str, &str); 4] =
    [("nginx", "nginx-light"), ("wrk", "wrk"), ("h2load", "nghttp2-client"), ("taskset", "util-linux")];

pub(crate) fn run(top: &Path, names: &[&str]) -> Result<(), String> {
    let absent = missing(&TOOLS);
    if !absent.is_empty() {
        return Err(format!("missing; install with: apt-get install -y {}", absent.join(" ")));
    }
    let names = if names.is_empty() { &["all"] } else { names };
    let mut command = vec!["cargo", "run", "--release", "-p", "bench", "--"];
    command.extend(names);
    call(top, &command)
}
