//! Evergate itself.

use std::collections::BTreeMap;

use super::{Change, File, Job, Peer, Site, Way, names, put, told};

pub(crate) struct Evergate;

/// Names of its ways.
pub(crate) const PATCH: &str = "`PATCH` of one route";
/// See [`PATCH`].
pub(crate) const PART: &str = "one file of a hundred";
/// See [`PATCH`].
pub(crate) const WHOLE: &str = "whole YAML file";

impl Peer for Evergate {
    fn name(&self) -> &'static str {
        "evergate"
    }

    fn title(&self) -> &'static str {
        "Evergate"
    }

    fn comes_from(&self) -> &'static str {
        "this repository"
    }

    fn version_args(&self) -> &'static [&'static str] {
        &["--version"]
    }

    fn lacks(&self, _: Job) -> Option<&'static str> {
        None
    }

    fn files(&self, job: Job) -> Vec<File> {
        match job {
            Job::Plain => vec![("plain.yaml", "gate.yaml")],
            Job::H2 => vec![("h2.yaml", "gate.yaml")],
            Job::Files => vec![("files.yaml", "gate.yaml")],
            Job::Hosts(_) => vec![("hosts.yaml", "gate.yaml")],
            Job::Split(_) => vec![("split.yaml", "gate.yaml"), ("part.yaml", "conf.d/*.yaml")],
        }
    }

    fn args(&self, site: &Site, _: Job) -> Vec<String> {
        vec!["run".to_owned(), site.file("gate.yaml"), "--data-dir".to_owned(), site.file("data")]
    }

    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Api, PATCH), (Way::Part, PART), (Way::Whole, WHOLE)]
    }

    fn change(&self, site: &Site, _: u32, change: &Change) -> Result<(), String> {
        if change.file.is_some() {
            return put(change);
        }
        let (name, host) = names(change);
        let patch = format!(
            r#"{{"routes":{{"{name}":{{"match":{{"hosts":["{host}"]}},"forward":"{}"}}}}}}"#,
            change.backend
        );
        let fields = BTreeMap::from([("Content-Type", "application/merge-patch+json")]);
        let verdict = told(site.admin, "PATCH /api/v1/config", &fields, patch.as_bytes())?;
        if verdict.contains("\"applied\"") { Ok(()) } else { Err(verdict) }
    }
}
