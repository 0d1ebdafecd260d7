//! Which controllers and which service a verb is about.

mod remote;

use std::path::{Path, PathBuf};

use clap::Args;
use cutover_core::ServiceName;

use crate::api::client::Client;
use crate::cli::exit::Failure;
use crate::config;
use crate::state_directory::StateDirectory;

pub(crate) use remote::Remote;

/// Where the controller is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The controller's state directory; its socket lies inside. On that host, if `--host` names one
    /// [env: `CUTOVER_STATE_DIR`, which is about this host]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The host of the controller, reached over ssh; `deploy@box:2222` and `ssh://deploy@box/STATE/DIR` will do too.
    /// May be repeated where a verb can ask several [env: `CUTOVER_HOST`] [default: `[deploy] hosts` of the
    /// cutover.toml here, else this host]
    #[arg(long, value_name = "USER@HOST")]
    host: Vec<Remote>,
}

/// A controller, and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Controller {
    pub(crate) host: Host,
    pub(crate) client: Client,
}

/// A host with a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// This one, and the controller's state directory.
    Here(PathBuf),
    /// One behind ssh.
    There(Remote),
}

impl Place {
    /// The controller, where there can only be one.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(self.host()?.client())
    }

    /// The host, where there can only be one.
    pub(crate) fn host(&self) -> Result<Host, Failure> {
        let mut hosts = self.hosts_beside(Path::new("cutover.toml"))?;
        match (hosts.pop(), hosts.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                Err(Failure::usage("several hosts are meant, and this is asked of one at a time")
                    .hint(format!("name one of them, such as `--host {last}`")))
            }
            (None, _) => Ok(Host::Here(default_state_directory())),
        }
    }

    /// The controllers of every host that is meant: at least one.
    pub(crate) fn controllers(&self) -> Result<Vec<Controller>, Failure> {
        self.controllers_beside(Path::new("cutover.toml"))
    }

    /// The same for a configuration that lies elsewhere.
    pub(crate) fn controllers_beside(&self, file: &Path) -> Result<Vec<Controller>, Failure> {
        let controller = |host: Host| Controller { client: host.client(), host };
        Ok(self.hosts_beside(file)?.into_iter().map(controller).collect())
    }

    /// What is said on the command line goes before the variables, and these before the file.
    fn hosts_beside(&self, file: &Path) -> Result<Vec<Host>, Failure> {
        if !self.host.is_empty() {
            return Ok(self.there(self.host.clone()));
        }
        if let Some(directory) = &self.state_dir {
            return Ok(vec![Host::Here(directory.clone())]);
        }
        if let Some(named) = variable("CUTOVER_HOST") {
            return self.all(named.split([',', ' ']).filter(|host| !host.is_empty()), "`CUTOVER_HOST`: ");
        }
        if let Some(directory) = variable("CUTOVER_STATE_DIR").filter(|directory| !directory.is_empty()) {
            return Ok(vec![Host::Here(directory.into())]);
        }
        let configured = if file.exists() { config::deploy_hosts(file)? } else { Vec::new() };
        self.all(configured.iter().map(String::as_str), "")
    }

    fn all<'a>(&self, named: impl Iterator<Item = &'a str>, where_from: &str) -> Result<Vec<Host>, Failure> {
        let remotes = named.map(str::parse).collect::<Result<Vec<Remote>, _>>();
        let remotes = remotes.map_err(|error| Failure::usage(format!("{where_from}{error}")))?;
        match remotes.is_empty() {
            true => Ok(vec![Host::Here(default_state_directory())]),
            false => Ok(self.there(remotes)),
        }
    }

    /// The same host named twice is one host.
    fn there(&self, remotes: Vec<Remote>) -> Vec<Host> {
        let mut hosts = Vec::new();
        for remote in remotes {
            let host = Host::There(remote.or_in(self.state_dir.as_deref()));
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    /// The one other host that is meant, for verbs that run over there as a whole.
    pub(crate) fn elsewhere(&self) -> Result<Option<Remote>, Failure> {
        match self.host()? {
            Host::Here(_) => Ok(None),
            Host::There(remote) => Ok(Some(remote)),
        }
    }

    /// The same for a verb that ends more than one service: a file beside which it is typed does not lead it elsewhere.
    pub(crate) fn named_elsewhere(&self) -> Result<Option<Remote>, Failure> {
        if self.host.is_empty() && variable("CUTOVER_HOST").is_none() {
            return Ok(None);
        }
        self.elsewhere()
    }

    /// The state directory of this host, for a verb that needs its files and processes.
    pub(crate) fn here(&self, verb: &str) -> Result<StateDirectory, Failure> {
        let named = variable("CUTOVER_HOST").filter(|named| !named.is_empty() && self.state_dir.is_none());
        if let Some(named) = named.filter(|_| self.host.is_empty()) {
            let message =
                format!("`CUTOVER_HOST` names `{named}`, and `{verb}` works on the files of its own host");
            return Err(Failure::usage(message).hint(format!(
                "`env -u CUTOVER_HOST {verb}` is about this host; about another, run it over there by ssh"
            )));
        }
        self.over_here(verb)
    }

    /// The same where the variable has no say, because somebody from elsewhere has come here on purpose.
    pub(crate) fn over_here(&self, verb: &str) -> Result<StateDirectory, Failure> {
        if let Some(remote) = self.host.first() {
            return Err(Failure::usage(format!("`{verb}` works on the files of its own host, not over ssh"))
                .hint(format!("run it there: `ssh {} {verb}`", remote.by_hand())));
        }
        Ok(self.state_directory())
    }

    /// The state directory, if the command line names one.
    pub(crate) fn named_state_directory(&self) -> Option<PathBuf> {
        self.state_dir.clone()
    }

    /// The state directory of this host.
    pub(crate) fn state_directory(&self) -> StateDirectory {
        StateDirectory::new(self.state_dir.clone().unwrap_or_else(default_state_directory))
    }
}

impl Host {
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::There(_))
    }

    pub(crate) fn client(&self) -> Client {
        match self {
            Self::Here(directory) => Client::new(&StateDirectory::new(directory.clone()).api_socket()),
            Self::There(remote) => Client::through(std::sync::Arc::new(remote.ssh())),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(_) => f.write_str("this host"),
            Self::There(remote) => remote.fmt(f),
        }
    }
}

/// A variable of this process, if it is set and text.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `CUTOVER_STATE_DIR`, else `/var/lib/cutover` for root, else in the user's own state.
fn default_state_directory() -> PathBuf {
    if let Some(named) = std::env::var_os("CUTOVER_STATE_DIR").filter(|named| !named.is_empty()) {
        return PathBuf::from(named);
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/cutover");
    }
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state.unwrap_or_else(|| home().join(".local/state")).join("cutover")
}

/// The service that was named, or that of the `cutover.toml` here.
pub(crate) fn service(named: Option<String>) -> Result<ServiceName, Failure> {
    if let Some(name) = named {
        return name
            .parse()
            .map_err(|error: cutover_core::names::InvalidName| Failure::usage(error.to_string()));
    }
    let file = Path::new("cutover.toml");
    if !file.exists() {
        return Err(Failure::usage(
            "no service was named, and there is no `cutover.toml` here that names one",
        )
        .hint("name the service; `cutover status` lists all of them"));
    }
    Ok(config::service_name(file)?)
}
