//! Where everything lies, on a host or below the root of an image.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The controller's unit.
pub(crate) const CONTROLLER_UNIT: &str = "cutover.service";
/// The proxy's unit.
pub(crate) const PROXY_UNIT: &str = "cutover-proxy.service";
/// The user of the proxy, and the group that may open the API socket.
pub(super) const USER: &str = "cutover";

/// What a host shall be.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The root of an image instead of this host: files only, no commands.
    pub(crate) prefix: Option<PathBuf>,
    pub(crate) state: PathBuf,
    pub(crate) listeners: Listeners,
}

/// Where a host listens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listeners {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
    /// For figures.
    pub(crate) metrics: Option<SocketAddr>,
}

/// Why a host cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("only root can set this host up")]
    NotRoot,
    #[error("systemd does not run this host, and `setup` knows no other service manager")]
    NoSystemd,
    #[error("the path `{}` cannot stand in a unit of systemd: {why}", path.display())]
    Path { path: PathBuf, why: &'static str },
    #[error("cannot {deed} `{}`: {source}", path.display())]
    File { deed: &'static str, path: PathBuf, source: io::Error },
    #[error("`{command}` failed: {said}")]
    Command { command: String, said: String },
}

impl SetupError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotRoot => {
                Some("`sudo cutover setup` here, `cutover setup --host root@HOST` for another host")
            }
            Self::NoSystemd => Some(
                "have yours run `cutover serve`, which starts its own proxy; `--prefix DIR` writes the files for an image",
            ),
            Self::Path { .. } => {
                Some("choose one of letters, digits and `/ . _ -`, such as `/var/lib/cutover`")
            }
            Self::File { .. } => None,
            Self::Command { .. } => Some("mend that and run `cutover setup` again: it goes on where it is"),
        }
    }
}

impl Layout {
    /// What is not said is as the present unit has it, so that a second `setup` changes nothing that nobody named.
    pub(crate) fn new(prefix: Option<PathBuf>, state: Option<PathBuf>, listeners: Listeners) -> Self {
        let mut layout = Self { prefix, state: PathBuf::new(), listeners };
        let unit = std::fs::read_to_string(layout.unit(CONTROLLER_UNIT)).unwrap_or_default();
        let said = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap_or_default();
        let after = |option: &'static str| {
            let words = said.split_whitespace();
            words.clone().zip(words.skip(1)).filter(move |(word, _)| *word == option).map(|(_, value)| value)
        };
        let present = || after("--state-dir").next().map(PathBuf::from);
        layout.state = state.or_else(present).unwrap_or_else(|| PathBuf::from("/var/lib/cutover"));
        let said_of = |option| after(option).filter_map(|address| address.parse().ok());
        let listeners = &mut layout.listeners;
        if listeners.http.is_empty() {
            listeners.http = said_of("--http").collect();
        }
        if listeners.https.is_empty() {
            listeners.https = said_of("--https").collect();
        }
        listeners.metrics = listeners.metrics.or_else(|| said_of("--metrics").next());
        if listeners.http.is_empty() {
            listeners.http.push(SocketAddr::from(([0, 0, 0, 0], 8080)));
        }
        // A host that is set up already goes on as it is.
        if listeners.https.is_empty() && said.is_empty() {
            let usual = listeners.http.iter().find(|address| address.port() == 80);
            listeners.https.extend(usual.map(|usual| SocketAddr::new(usual.ip(), 443)));
        }
        layout
    }

    /// Refuses what could not be written into a unit.
    pub(super) fn check(&self) -> Result<(), SetupError> {
        let refused = |why| SetupError::Path { path: self.state.clone(), why };
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
        if !self.state.is_absolute() {
            return Err(refused("it is not absolute"));
        }
        if !self.state.as_os_str().as_encoded_bytes().iter().all(plain) {
            return Err(refused("it has other characters"));
        }
        if self.state.parent().is_none_or(|parent| parent == Path::new("/")) {
            return Err(refused("it is too near to the root"));
        }
        Ok(())
    }

    /// Where a file of the host lies for us.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match &self.prefix {
            Some(prefix) => prefix.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    pub(super) fn binary(&self) -> PathBuf {
        self.at("/usr/local/bin/cutover")
    }

    pub(super) fn unit(&self, name: &str) -> PathBuf {
        self.at("/etc/systemd/system").join(name)
    }

    pub(super) fn sysusers(&self) -> PathBuf {
        self.at("/etc/sysusers.d/cutover.conf")
    }

    pub(super) fn tmpfiles(&self) -> PathBuf {
        self.at("/etc/tmpfiles.d/cutover.conf")
    }

    pub(super) fn enabled(&self) -> PathBuf {
        self.at("/etc/systemd/system/multi-user.target.wants").join(CONTROLLER_UNIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_host_speaks_tls_beside_port_80_and_one_that_is_set_up_goes_on_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let layout = |http: &[&str], https: &[&str]| {
            let parsed = |all: &[&str]| all.iter().map(|address| address.parse().unwrap()).collect();
            let listeners = Listeners { http: parsed(http), https: parsed(https), metrics: None };
            let Listeners { https, metrics, .. } =
                Layout::new(Some(root.path().to_owned()), None, listeners).listeners;
            https.iter().chain(&metrics).map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(layout(&["0.0.0.0:80"], &[]), ["0.0.0.0:443"]);
        assert_eq!(layout(&["0.0.0.0:8080"], &[]), [""; 0]);
        assert_eq!(layout(&["0.0.0.0:80"], &["0.0.0.0:8443"]), ["0.0.0.0:8443"]);
        let unit = root.path().join("etc/systemd/system").join(CONTROLLER_UNIT);
        std::fs::create_dir_all(unit.parent().unwrap()).unwrap();
        std::fs::write(&unit, "ExecStart=/usr/local/bin/cutover serve --http 0.0.0.0:80\n").unwrap();
        assert_eq!(layout(&[], &[]), [""; 0]);
        std::fs::write(
            &unit,
            "ExecStart=/usr/local/bin/cutover serve --http 0.0.0.0:80 --https 0.0.0.0:444 --metrics 127.0.0.1:9188\n",
        )
        .unwrap();
        assert_eq!(layout(&[], &[]), ["0.0.0.0:444", "127.0.0.1:9188"]);
    }
}
