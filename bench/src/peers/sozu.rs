//! Sōzu: its command line tells the running process to read the file again.

use super::{Change, File, Job, Peer, Site, Way, pinned, put};

pub(crate) struct Sozu;

impl Peer for Sozu {
    fn name(&self) -> &'static str {
        "sozu"
    }

    fn title(&self) -> &'static str {
        "Sōzu"
    }

    fn comes_from(&self) -> &'static str {
        "`cargo install sozu`"
    }

    fn version_args(&self) -> &'static [&'static str] {
        &["--version"]
    }

    fn lacks(&self, job: Job) -> Option<&'static str> {
        match job {
            Job::Files => Some("does not serve files"),
            Job::Split(_) => Some("a reload reads the whole file"),
            _ => None,
        }
    }

    fn files(&self, job: Job) -> Vec<File> {
        vec![match job {
            Job::H2 => ("h2.toml", "sozu.toml"),
            Job::Hosts(_) => ("hosts.toml", "sozu.toml"),
            _ => ("plain.toml", "sozu.toml"),
        }]
    }

    fn args(&self, site: &Site, _: Job) -> Vec<String> {
        vec!["start".to_owned(), "-c".to_owned(), site.file("sozu.toml")]
    }

    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Whole, "file and `sozu reload`")]
    }

    /// The command line waits for the answer of all workers. It runs beside the load, not on the proxy's core.
    fn change(&self, site: &Site, _: u32, change: &Change) -> Result<(), String> {
        put(change)?;
        let mut command = pinned(1, &site.program);
        let output = command.args(["reload", "-c", &site.file("sozu.toml")]).output();
        let output = output.map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Err(said.trim().to_owned())
    }
}
