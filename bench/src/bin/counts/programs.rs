//! The programs that are counted, built here so that they are built alike everywhere.

use std::{path::PathBuf, process::Command};

use crate::top;

const PROFILE: &str = "quick";

pub(crate) struct Programs {
    /// The gateway.
    pub(crate) gateway: PathBuf,
    /// Makes changes by the real way.
    pub(crate) change_cost: PathBuf,
}

/// Builds both in one go, so that they share their libraries.
pub(crate) fn build() -> Programs {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--locked", "--profile", PROFILE])
        .args(["-p", "evergate", "--bin", "evergate", "-p", "evergate-proxy", "--example", "change_cost"])
        // Incremental builds cut crates into other pieces, and inline less across them.
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(top());
    assert!(command.status().expect("cargo").success(), "the programs do not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from);
    let folder = target.join(PROFILE);
    Programs { gateway: folder.join("evergate"), change_cost: folder.join("examples/change_cost") }
}
