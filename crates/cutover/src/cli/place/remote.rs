//! A host behind ssh, as the user named it.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::str::FromStr;

use cutover_adapters::ssh::{Destination, InvalidDestination, Ssh, SshSettings};
use hyper::header::HeaderName;

use crate::api::{TOLD, peer};
use crate::cli::exit::Failure;
use crate::cli::printer::Printer;

/// A host, and where its controller keeps everything if that is not the usual place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    destination: Destination,
    state_directory: Option<PathBuf>,
}

impl FromStr for Remote {
    type Err = InvalidDestination;

    /// The path of an address names the state directory over there.
    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let path =
            typed.strip_prefix("ssh://").and_then(|rest| Some(typed.len() - rest.len() + rest.find('/')?));
        let (host, path) = path.map_or((typed, "/"), |at| typed.split_at(at));
        let state_directory = Some(PathBuf::from(path)).filter(|path| path != Path::new("/"));
        Ok(Self { destination: host.parse()?, state_directory })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state_directory {
            Some(path) => write!(f, "ssh://{}{}", self.destination, path.display()),
            None => self.destination.fmt(f),
        }
    }
}

impl Remote {
    /// The same with a state directory, if it has none of its own.
    pub(super) fn or_in(mut self, directory: Option<&Path>) -> Self {
        self.state_directory = self.state_directory.or_else(|| directory.map(Path::to_owned));
        self
    }

    /// The words behind `ssh` with which a person gets there by hand.
    pub(super) fn by_hand(&self) -> String {
        self.destination.by_hand()
    }

    /// The way there.
    pub(crate) fn ssh(&self) -> Ssh {
        self.way_to(words_of("CUTOVER_REMOTE", "cutover"), self.state_directory.clone())
    }

    /// The way to a shell over there, where there is no cutover yet. Whoever runs one with it says where its state is.
    pub(crate) fn shell(&self) -> Ssh {
        self.way_to(vec!["sh".to_owned()], None)
    }

    /// The state directory over there, if one was named.
    pub(crate) fn state_directory(&self) -> Option<&Path> {
        self.state_directory.as_deref()
    }

    fn way_to(&self, remote_program: Vec<String>, state_directory: Option<PathBuf>) -> Ssh {
        Ssh::new(SshSettings {
            program: words_of("CUTOVER_SSH", "ssh"),
            destination: self.destination.clone(),
            remote_program,
            state_directory,
            can_ask: somebody_can_be_asked(),
            told: peer::header(&who()).map(|who| (HeaderName::from_static(TOLD), who)),
        })
    }

    /// Runs a verb of the cutover over there with this process's own standard streams; `terminal` if it may ask.
    pub(crate) async fn run(
        &self,
        mut words: Vec<OsString>,
        printer: &Printer,
        terminal: bool,
    ) -> Result<ExitStatus, Failure> {
        if printer.is_json() {
            words.insert(0, "--json".into());
        }
        Ok(self.ssh().run(&words, terminal).await?)
    }
}

/// A command that a variable names in place of the usual one.
fn words_of(variable: &str, usual: &str) -> Vec<String> {
    let typed = std::env::var(variable).ok();
    let words = typed.and_then(|typed| shlex::split(&typed)).filter(|words| !words.is_empty());
    words.unwrap_or_else(|| vec![usual.to_owned()])
}

/// Who sits here, for the record over there.
fn who() -> String {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| format!("uid {uid}"), |user| user.name);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

/// ssh asks on the terminal of its process, whatever its streams are, or by the program in `SSH_ASKPASS`.
fn somebody_can_be_asked() -> bool {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    terminal.is_ok() || std::env::var_os("SSH_ASKPASS").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_address_is_the_state_directory_over_there() {
        let shown = |typed: &str| typed.parse::<Remote>().map(|remote| remote.to_string());
        assert_eq!(shown("ssh://deploy@box:2222/srv/cutover").unwrap(), "ssh://deploy@box:2222/srv/cutover");
        assert_eq!(shown("ssh://deploy@box/").unwrap(), "deploy@box");
        assert_eq!(shown("deploy@box:2222").unwrap(), "deploy@box:2222");
        assert!(shown("deploy@box/srv").is_err());
        let remote: Remote = "ssh://box/srv/a".parse().unwrap();
        assert_eq!(remote.or_in(Some(Path::new("/srv/b"))).to_string(), "ssh://box/srv/a");
    }
}
