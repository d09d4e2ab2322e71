//! HAProxy: a reload starts a new process, the old one stays until its last connection ends. One entry of a map can
//! be changed by the runtime API, which does not write the file.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use rustix::process::Signal;

use super::{Change, File, Job, Peer, Site, Way, names, put, signal};

pub(crate) struct Haproxy;

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn title(&self) -> &'static str {
        "HAProxy"
    }

    fn comes_from(&self) -> &'static str {
        "Debian: haproxy"
    }

    fn version_args(&self) -> &'static [&'static str] {
        &["-v"]
    }

    fn lacks(&self, job: Job) -> Option<&'static str> {
        match job {
            Job::Files => Some("does not serve files"),
            Job::Split(_) => Some("a reload reads all files"),
            _ => None,
        }
    }

    fn files(&self, job: Job) -> Vec<File> {
        match job {
            Job::H2 => vec![("h2.cfg", "haproxy.cfg")],
            Job::Hosts(_) => vec![("hosts.cfg", "haproxy.cfg"), ("hosts.map", "hosts.map")],
            _ => vec![("plain.cfg", "haproxy.cfg")],
        }
    }

    fn args(&self, site: &Site, _: Job) -> Vec<String> {
        vec!["-W".to_owned(), "-f".to_owned(), site.file("haproxy.cfg")]
    }

    fn ways(&self) -> Vec<(Way, &'static str)> {
        vec![(Way::Whole, "map file and `SIGUSR2`"), (Way::Api, "`set map`, not on disk")]
    }

    fn change(&self, site: &Site, pid: u32, change: &Change) -> Result<(), String> {
        if change.file.is_some() {
            put(change)?;
            return signal(pid, Signal::USR2);
        }
        let wrong = |e: std::io::Error| format!("runtime API: {e}");
        let mut socket = UnixStream::connect(site.file("haproxy.sock")).map_err(wrong)?;
        let line = format!("set map {} {} {}\n", site.file("hosts.map"), names(change).1, change.backend);
        socket.write_all(line.as_bytes()).map_err(wrong)?;
        let mut said = String::new();
        socket.read_to_string(&mut said).map_err(wrong)?;
        if said.trim().is_empty() { Ok(()) } else { Err(said) }
    }
}
