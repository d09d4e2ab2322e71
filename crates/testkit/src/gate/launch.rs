//! How a gateway is started: with which document, where, with which arguments.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::process::Command;

use super::{Gate, Home, logs::Logs, pretty, with_admin};
use crate::{events::Events, ports};

/// How to start a gateway.
pub struct Launch {
    binary: PathBuf,
    under: Vec<OsString>,
    home: Home,
    args: Option<Vec<String>>,
    extra: Vec<String>,
    supervised: bool,
    env: BTreeMap<String, String>,
    admin: SocketAddr,
}

/// A gateway that ended before it was ready.
#[derive(Debug)]
pub struct Died {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said.
    pub logs: Vec<String>,
}

impl Launch {
    /// Of the binary at this path, or in `EVERGATE_BIN`. Callers pass `env!("CARGO_BIN_EXE_evergate")`.
    #[must_use]
    pub fn new(binary: &str) -> Launch {
        Launch {
            binary: std::env::var_os("EVERGATE_BIN").map_or_else(|| binary.into(), PathBuf::from),
            under: Vec::new(),
            home: Home::new(),
            args: None,
            extra: Vec::new(),
            supervised: false,
            env: BTreeMap::new(),
            admin: ports::free(),
        }
    }

    /// Run by another program, which gets these arguments and then the gateway's command; it has to become the
    /// gateway's process, as valgrind does.
    #[must_use]
    pub fn under(mut self, command: Vec<OsString>) -> Launch {
        self.under = command;
        self
    }

    /// In the folder of an earlier one.
    #[must_use]
    pub fn home(mut self, home: Home) -> Launch {
        self.home = home;
        self
    }

    /// The folder it will run in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// With this document. One that says no admin address gets one.
    #[must_use]
    pub fn document(mut self, document: &Value) -> Launch {
        let whole = with_admin(document, self.admin);
        if let Some(address) = whole["admin"]["address"].as_str().and_then(|a| a.parse().ok()) {
            self.admin = address;
        }
        self.home.write(&pretty(&whole));
        self
    }

    /// With this text as it is; it has to put the admin API at [`Launch::admin`].
    #[must_use]
    pub fn text(self, text: &str) -> Launch {
        self.home.write(text);
        self
    }

    /// Where the admin API has to be.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The admin API is there: for a home whose document says so already.
    #[must_use]
    pub fn admin_at(mut self, address: SocketAddr) -> Launch {
        self.admin = address;
        self
    }

    /// With one more argument after `run`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Launch {
        self.extra.push(arg.to_owned());
        self
    }

    /// With these in place of the document's path.
    #[must_use]
    pub fn instead_of_file(mut self, args: &[&str]) -> Launch {
        self.args = Some(args.iter().map(|a| (*a).to_owned()).collect());
        self
    }

    /// Under a supervisor, as users run it. Without it the gateway is one process, which tests can look into.
    #[must_use]
    pub fn supervised(mut self) -> Launch {
        self.supervised = true;
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts it and waits until it is ready. Panics with what it said if it ends or hangs.
    pub async fn start(self) -> Gate {
        match self.try_start().await {
            Ok(gate) => gate,
            Err(died) => panic!("the gateway ended with {:?}:\n{}", died.code, died.logs.join("\n")),
        }
    }

    /// Starts it and waits until it is ready or ends.
    ///
    /// # Errors
    /// If it ends.
    pub async fn try_start(self) -> Result<Gate, Died> {
        let mut gate = self.spawn();
        gate.wait_ready().await?;
        gate.events = Some(Events::follow(gate.admin).await.expect("an event stream"));
        gate.churn_by_environment();
        Ok(gate)
    }

    /// Starts it and waits for nothing.
    #[must_use]
    pub fn spawn(self) -> Gate {
        let file = self.home.file.display().to_string();
        let mut words = self.under.iter().map(OsString::as_os_str).chain([self.binary.as_os_str()]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        command
            .args(words)
            .arg("run")
            .args(self.args.unwrap_or_else(|| vec![file]))
            .arg("--data-dir")
            .arg(self.home.data())
            .args((!self.supervised).then_some("--no-supervisor"))
            .args(&self.extra)
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.binary.display()));
        let logs = Logs::read(child.stderr.take().expect("a pipe"));
        let home = Some(self.home);
        Gate { admin: self.admin, binary: self.binary, child, home, logs, events: None, churn: None }
    }
}
