//! A contender that runs: started with all traffic on blue, and told to move it.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::admin::ANSWER_WITHIN;
use super::{Contender, Environment, caddy, cutover, envoy, haproxy, nginx};
use crate::candidate::Setting;
use crate::child::{Child, ChildError, Invocation, free_address};

/// Where a contender listens, where its files lie, and whom it has behind it.
#[derive(Debug)]
pub struct Ground {
    /// Where HTTP/1.1 is spoken.
    pub listen: SocketAddr,
    /// Where HTTP/2 is spoken by prior knowledge: the same, but for those that cannot tell it from HTTP/1.1 on one port.
    pub h2c: SocketAddr,
    pub(super) folder: PathBuf,
    pub(super) admin: PathBuf,
    pub(super) workers: usize,
    blue: SocketAddr,
    green: SocketAddr,
}

impl Ground {
    pub(super) fn backend(&self, environment: Environment) -> SocketAddr {
        match environment {
            Environment::Blue => self.blue,
            Environment::Green => self.green,
        }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// A command that was given. What had to be written before it is not part of it.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    /// Before its first byte.
    pub commanded: Instant,
    /// From then to the end of the answer; for those that do not answer, until it was given.
    pub took: Duration,
}

impl Told {
    pub(super) fn since(commanded: Instant) -> Self {
        Self { commanded, took: commanded.elapsed() }
    }
}

/// Why traffic could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The socket failed.
    #[error("the admin socket `{}` failed", socket.display())]
    Socket {
        /// The socket's path.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the admin socket did not answer within {ANSWER_WITHIN:?}")]
    Silent,
    /// It answered something else than "done".
    #[error("the switch was refused: {answer}")]
    Refused {
        /// The whole answer.
        answer: String,
    },
    /// A new configuration could not be written, or the program not be told of it.
    #[error("the new configuration could not be given")]
    NotGiven(#[from] io::Error),
}

/// A program with all traffic on one environment.
#[derive(Debug)]
pub struct Running {
    contender: Contender,
    ground: Ground,
    child: Child,
}

impl Running {
    /// Writes its files into `folder`, starts it with all traffic on blue, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`ChildError`] if it does not come to serve.
    pub async fn start(contender: Contender, setting: &Setting, folder: &Path) -> Result<Self, ChildError> {
        let name = contender.name().to_owned();
        let not_prepared = |source| ChildError::NotPrepared { name: name.clone(), source };
        let listen = free_address().map_err(not_prepared)?;
        let tells_apart = !matches!(contender, Contender::NginxReload);
        let ground = Ground {
            listen,
            h2c: if tells_apart { listen } else { free_address().map_err(not_prepared)? },
            admin: folder.join(format!("{name}.sock")),
            folder: folder.to_owned(),
            workers: setting.workers,
            blue: setting.blue,
            green: setting.green,
        };
        let arguments = prepare(contender, &ground).map_err(not_prepared)?;
        let invocation = Invocation {
            name: name.clone(),
            program: contender.candidate().program(setting),
            arguments,
            address: ground.listen,
            h2c: ground.h2c,
            https: None,
            cpu: None,
        };
        let child = Child::start(invocation, folder).await?;
        let has_workers = matches!(contender, Contender::HaproxyReload | Contender::NginxReload);
        let child = if has_workers { child.leading() } else { child };
        Ok(Self { contender, ground, child })
    }

    /// Where it is, and what it has behind it.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Gives `environment` all traffic.
    ///
    /// # Errors
    ///
    /// [`SwitchError`]; where the traffic goes then is not known.
    pub async fn shift(&self, environment: Environment) -> Result<Told, SwitchError> {
        let Self { contender, ground, child } = self;
        match contender {
            Contender::Cutover => cutover::shift(ground, environment).await,
            Contender::HaproxyRuntime => haproxy::set_weights(ground, environment).await,
            Contender::HaproxyReload => haproxy::reload(ground, child, environment),
            Contender::NginxReload => nginx::reload(ground, child, environment),
            Contender::CaddyApi => caddy::load(ground, environment).await,
            Contender::EnvoyFile => envoy::move_routes(ground, environment),
        }
    }

    /// After the answer to a shift: what cutover's controller does for those that last, and nobody else has a word for.
    ///
    /// # Errors
    ///
    /// [`SwitchError`] if it is refused.
    pub async fn ask_to_leave(&self, old: Environment) -> Result<(), SwitchError> {
        match self.contender {
            Contender::Cutover => cutover::drain(&self.ground, old).await,
            _ => Ok(()),
        }
    }
}

/// Writes the files and gives the arguments.
fn prepare(contender: Contender, ground: &Ground) -> io::Result<Vec<OsString>> {
    match contender {
        Contender::Cutover => cutover::prepare(ground),
        Contender::HaproxyRuntime => haproxy::prepare_runtime(ground),
        Contender::HaproxyReload => haproxy::prepare_reload(ground),
        Contender::NginxReload => nginx::prepare(ground),
        Contender::CaddyApi => caddy::prepare(ground),
        Contender::EnvoyFile => envoy::prepare(ground),
    }
}
