//! nginx: a reload starts new workers, old ones stay until their last connection ends.

use rustix::process::Signal;

use super::{Change, File, Job, Peer, Site, Way, put, signal};

pub(crate) struct Nginx;

const HEAD: File = ("head.conf", "head.conf");
const HTTP: File = ("http.conf", "http.conf");
const FORWARD: File = ("forward.conf", "forward.conf");

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn title(&self) -> &'static str {
        "nginx"
    }

    fn comes_from(&self) -> &'static str {
        "Debian: nginx"
    }

    fn version_args(&self) -> &'static [&'static str] {
        &["-v"]
    }

    fn lacks(&self, job: Job) -> Option<&'static str> {
        matches!(job, Job::Split(_)).then_some("a reload reads all files")
    }

    fn files(&self, job: Job) -> Vec<File> {
        let main = match job {
            Job::Plain => "plain.conf",
            Job::H2 => "h2.conf",
            Job::Files => "files.conf",
            Job::Hosts(_) | Job::Split(_) => "hosts.conf",
        };
        vec![HEAD, HTTP, FORWARD, (main, "nginx.conf")]
    }

    fn args(&self, site: &Site, _: Job) -> Vec<String> {
        let folder = site.folder.display().to_string();
        ["-p", &folder, "-e", "stderr", "-c", &site.file("nginx.conf")].map(str::to_owned).to_vec()
    }

    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Whole, "file and `SIGHUP`")]
    }

    fn change(&self, _: &Site, pid: u32, change: &Change) -> Result<(), String> {
        put(change)?;
        signal(pid, Signal::HUP)
    }
}
