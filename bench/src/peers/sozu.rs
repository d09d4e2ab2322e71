//! Sōzu: its command line tells the running process what to add and what to remove.

use super::{CORES, Change, File, Job, Peer, Site, Way, names, pinned};

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
            Job::Split(_) => Some("changes come by command"),
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

    /// `sozu reload` adds what is new and refuses what is there already: it cannot send a host elsewhere.
    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Api, "`sozu frontend` `remove` and `add`")]
    }

    /// The command line waits for the answer of all workers. It runs beside the load, not on the proxy's core.
    fn change(&self, site: &Site, _: u32, change: &Change) -> Result<(), String> {
        let (_, host) = names(change);
        let (old, new) = if change.backend == 'a' { ("b", "a") } else { ("a", "b") };
        for (act, cluster) in [("remove", old), ("add", new)] {
            let mut command = pinned(CORES[1], &site.program);
            command.args(["-c", &site.file("sozu.toml"), "-t", "20000", "frontend", "http", act]);
            command.args(["--address", &site.listen.to_string(), "--hostname", &host, "id", cluster]);
            let output = command.output().map_err(|e| e.to_string())?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
                return Err(said.trim().to_owned());
            }
        }
        Ok(())
    }
}
