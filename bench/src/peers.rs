//! The proxies that are compared: how each is configured, started, changed and found. One file for each, one list.
//!
//! A peer's configurations stand in `bench/peers/<name>`, as its own documentation advises for speed, so that its
//! users can object.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::template::{Hosts, Words, fill, host};

mod caddy;
mod envoy;
mod evergate;
mod haproxy;
mod nginx;
mod sozu;
mod traefik;

pub(crate) use evergate::{PART, PATCH, WHOLE};

/// All, in the order in which they are measured and shown.
pub(crate) const ALL: [&dyn Peer; 7] = [
    &evergate::Evergate,
    &nginx::Nginx,
    &haproxy::Haproxy,
    &sozu::Sozu,
    &envoy::Envoy,
    &traefik::Traefik,
    &caddy::Caddy,
];

/// The core of the proxies, and that of load and backends.
pub(crate) const CORES: [usize; 2] = [0, 1];

/// What a proxy is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Everything to one HTTP/1.1 backend, from a clear and a TLS listener.
    Plain,
    /// From a TLS listener to HTTP/2 backends.
    H2,
    /// Files of a folder.
    Files,
    /// So many hosts, each with a route of its own to one of two backends.
    Hosts(usize),
    /// The same out of a hundred files.
    Split(usize),
}

/// How one route is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The whole configuration is written anew.
    Whole,
    /// One file of a hundred is.
    Part,
    /// By an API of the peer.
    Api,
}

impl Way {
    /// The case of a change: how many routes there are, and how one of them is changed.
    pub(crate) fn case(self, routes: &str, name: &str) -> String {
        match self {
            Way::Whole => format!("{routes}, by file: {name}"),
            Way::Part => format!("{routes}, by part: {name}"),
            Way::Api => format!("{routes}, by API: {name}"),
        }
    }
}

/// A change of one route.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Number of the host.
    pub host: usize,
    /// Where it goes from now on.
    pub backend: char,
    /// The new file and the name that it has to get; none for [`Way::Api`].
    pub file: Option<(PathBuf, PathBuf)>,
}

/// One proxy's folder, addresses and values.
pub(crate) struct Site {
    pub folder: PathBuf,
    pub program: PathBuf,
    pub words: Words,
    pub listen: SocketAddr,
    pub tls: SocketAddr,
    pub admin: SocketAddr,
}

/// A file to write: its name in `bench/peers/<name>` and in the proxy's folder. `*` in the latter: a hundred of them.
pub(crate) type File = (&'static str, &'static str);

/// Files of [`Job::Split`].
pub(crate) const PARTS: usize = 100;

/// A proxy.
pub(crate) trait Peer: Sync {
    /// As it is called here, in lower case; also the name of its folder.
    fn name(&self) -> &'static str;

    /// As its makers write it.
    fn title(&self) -> &'static str;

    /// How it comes onto a machine.
    fn comes_from(&self) -> &'static str;

    /// Arguments that make it say its version.
    fn version_args(&self) -> &'static [&'static str];

    /// Why it cannot do a job.
    fn lacks(&self, job: Job) -> Option<&'static str>;

    /// What has to be written for a job; the last one holds the routes.
    fn files(&self, job: Job) -> Vec<File>;

    /// Arguments that start it in the foreground.
    fn args(&self, site: &Site, job: Job) -> Vec<String>;

    /// How one route can be changed, with a name for each way.
    fn ways(&self) -> Vec<(Way, &'static str)>;

    /// Carries a change out; returns as soon as the peer has been told.
    fn change(&self, site: &Site, pid: u32, change: &Change) -> Result<(), String>;
}

/// A peer on this machine.
#[derive(Clone)]
pub(crate) struct Found {
    pub peer: &'static dyn Peer,
    pub program: PathBuf,
    pub version: String,
}

/// Looks for a peer: by the variable `BENCH_<NAME>`, else on the path.
pub(crate) fn find(peer: &'static dyn Peer) -> Option<Found> {
    let variable = format!("BENCH_{}", peer.name().to_uppercase());
    let program = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => on_path(peer.name())?,
    };
    at(peer, program)
}

/// A peer whose program is known.
pub(crate) fn at(peer: &'static dyn Peer, program: PathBuf) -> Option<Found> {
    let output = Command::new(&program).args(peer.version_args()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some(Found { peer, program, version: version(&text)? })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(OsString::from(":/usr/local/sbin:/usr/sbin:/sbin"));
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The first thing in a text that looks like a version: digits, a dot, digits.
fn version(text: &str) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == '/' || c == ',');
    let numbers = words.map(|w| w.trim_start_matches('v'));
    let mut numbers = numbers.filter(|w| {
        let mut parts = w.split('.');
        let number = |p: Option<&str>| p.is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()));
        number(parts.next()) && number(parts.next())
    });
    numbers.next().map(str::to_owned)
}

impl Site {
    /// Writes all files of a job.
    pub(crate) fn write(&self, peer: &dyn Peer, job: Job) {
        for (from, to) in peer.files(job) {
            for (to, hosts) in self.parts(to, job, 0) {
                std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
                std::fs::write(&to, self.filled(peer, from, hosts, 0)).expect("a configuration");
            }
        }
    }

    /// Writes the file that a change needs beside its place.
    pub(crate) fn draft(&self, peer: &dyn Peer, job: Job, turn: usize, host: usize) -> (PathBuf, PathBuf) {
        let (from, to) = *peer.files(job).last().expect("a file of routes");
        let parts = self.parts(to, job, turn);
        let holds = |hosts: &Option<Hosts>| hosts.is_some_and(|h| (h.first..h.end).contains(&host));
        let (to, hosts) = parts.into_iter().find(|(_, hosts)| holds(hosts)).expect("the host is somewhere");
        let draft = self.folder.join(format!("draft-{turn}"));
        std::fs::write(&draft, self.filled(peer, from, hosts, turn)).expect("a draft");
        (draft, to)
    }

    /// Where a file goes, with the hosts in it.
    fn parts(&self, to: &str, job: Job, turn: usize) -> Vec<(PathBuf, Option<Hosts>)> {
        match job {
            Job::Hosts(count) => vec![(self.folder.join(to), Some(Hosts::all(count, turn)))],
            Job::Split(count) if to.contains('*') => {
                let part = |i: usize| {
                    let hosts = Hosts { first: count * i / PARTS, end: count * (i + 1) / PARTS, count, turn };
                    (self.folder.join(to.replace('*', &format!("{i:02}"))), Some(hosts))
                };
                (0..PARTS).map(part).collect()
            }
            _ => vec![(self.folder.join(to), None)],
        }
    }

    fn filled(&self, peer: &dyn Peer, from: &str, hosts: Option<Hosts>, turn: usize) -> String {
        let mut words = self.words.clone();
        words.insert("TURN", turn.to_string());
        fill(&crate::here().join("peers").join(peer.name()), from, &words, hosts)
    }

    /// A file in the proxy's folder.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Puts the new file in its place.
pub(crate) fn put(change: &Change) -> Result<(), String> {
    let Some((draft, place)) = &change.file else { return Err("no file".to_owned()) };
    std::fs::rename(draft, place).map_err(|e| format!("{}: {e}", place.display()))
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) -> Result<(), String> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).ok_or("no process")?;
    rustix::process::kill_process(pid, signal).map_err(|e| e.to_string())
}

/// One request to an admin API: status and body.
pub(crate) fn call(
    address: SocketAddr,
    line: &str,
    fields: &BTreeMap<&str, &str>,
    body: &[u8],
) -> Result<(u16, String), String> {
    let wrong = |e: std::io::Error| format!("{line}: {e}");
    let mut stream = TcpStream::connect(address).map_err(wrong)?;
    stream.set_nodelay(true).map_err(wrong)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(wrong)?;
    let mut head = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut whole = head.into_bytes();
    whole.extend_from_slice(body);
    stream.write_all(&whole).map_err(wrong)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(wrong)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|s| s.parse().ok()).ok_or(format!("{line}: no answer"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

/// [`call`], with anything but a 2xx status taken for a refusal.
pub(crate) fn told(
    address: SocketAddr,
    line: &str,
    fields: &BTreeMap<&str, &str>,
    body: &[u8],
) -> Result<String, String> {
    match call(address, line, fields, body)? {
        (200..300, body) => Ok(body),
        (status, body) => Err(format!("{line}: {status}: {body}")),
    }
}

/// For messages and folders.
impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Job::Plain => write!(f, "plain"),
            Job::H2 => write!(f, "h2"),
            Job::Files => write!(f, "files"),
            Job::Hosts(n) => write!(f, "hosts-{n}"),
            Job::Split(n) => write!(f, "split-{n}"),
        }
    }
}

/// Program and arguments, on one core.
pub(crate) fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// The host of a change, as a route's name and its host.
pub(crate) fn names(change: &Change) -> (String, String) {
    (format!("r{}", change.host), host(change.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        for (text, expected) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
            ("v2.11.7 h1:yj0Y4fYZGPkSvibBJ1sTWE33xC0fxztVyXEW5iIdUT4=", "2.11.7"),
            ("\nenvoy  version: 9e5580933739775e8bce/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            ("Version:      3.7.15\nCodename:     langres\nGo version:   go1.26.9", "3.7.15"),
            ("evergate 0.1.0\n", "0.1.0"),
        ] {
            assert_eq!(version(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(version("no such option"), None);
    }

    #[test]
    fn every_peer_has_its_files() {
        for peer in ALL {
            for job in [Job::Plain, Job::H2, Job::Files, Job::Hosts(10), Job::Split(1000)] {
                if peer.lacks(job).is_some() {
                    continue;
                }
                assert!(!peer.files(job).is_empty(), "{} for {job}", peer.name());
                for (from, _) in peer.files(job) {
                    let file = crate::here().join("peers").join(peer.name()).join(from);
                    assert!(file.is_file(), "{}", file.display());
                }
            }
            assert!(peer.ways().iter().all(|(_, name)| !name.is_empty()));
        }
    }
}
