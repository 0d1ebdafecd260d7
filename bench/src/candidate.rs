//! The proxies that are measured, each with the configuration that somebody who knows it well would write for this job.
//!
//! They do the same work: kept-alive connections on both sides, timeouts, `X-Forwarded-For`, the statistics that are on
//! by default or cost next to nothing, no access log. With a certificate those that are compared with TLS listen with it
//! too: TLS 1.2 and 1.3, both protocols by ALPN, tickets and no other memory of sessions. One file a candidate; this one knows none of their syntax.

mod caddy;
mod cutover;
mod envoy;
mod haproxy;
mod nginx;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::certificate::Certificate;
use crate::child::{Child, ChildError, Invocation, free_address};
use crate::conditions::first_line_of;

/// Clients that a candidate must be able to hold: the idle ones of the memory figure, and room.
const MOST_CLIENTS: usize = 6000;

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Candidate {
    /// `cutover proxy`
    Cutover,
    /// HAProxy in HTTP mode, with kept-alive and shared upstream connections
    Haproxy,
    /// nginx with kept-alive upstream connections
    Nginx,
    /// Caddy's `reverse_proxy`
    Caddy,
    /// Envoy with its HTTP connection manager
    Envoy,
}

/// What a candidate needs to know to be started.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The environment that has all traffic at the start.
    pub blue: SocketAddr,
    /// The environment that has none at the start.
    pub green: SocketAddr,
    /// Workers, each a thread.
    pub workers: usize,
    /// The only CPU the candidate may use; `None` for all.
    pub cpu: Option<usize>,
    /// The binary of `cutover`.
    pub cutover: PathBuf,
    /// A directory whose `bin` holds programs that no package of the system has.
    pub tools: Option<PathBuf>,
    /// Services in the table of `cutover`, with the one that is asked for in the middle.
    pub services: usize,
    /// What is shown to clients with TLS; `None` for no TLS.
    pub certificate: Option<Certificate>,
    /// A program, with its arguments, that the candidate is run under; empty for none.
    pub under: Vec<OsString>,
}

impl Setting {
    /// One worker on any CPU, and everything where it usually is.
    #[must_use]
    pub fn new(blue: SocketAddr, green: SocketAddr) -> Self {
        let cutover = Candidate::Cutover.name().into();
        Self {
            blue,
            green,
            workers: 1,
            cpu: None,
            cutover,
            tools: None,
            services: 1,
            certificate: None,
            under: Vec::new(),
        }
    }
}

/// Where a candidate's files lie and where it shall listen.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    listen: SocketAddr,
    /// For HTTP/2 without TLS, to those that cannot tell it from HTTP/1.1 on one port.
    h2c: SocketAddr,
    /// For TLS, where there is a certificate.
    https: SocketAddr,
    admin: PathBuf,
}

/// A candidate's configuration and how the program is told of it.
struct Prepared {
    file: PathBuf,
    configuration: String,
    arguments: Vec<OsString>,
    /// Where HTTP/2 without TLS is answered, if it is.
    h2c: SocketAddr,
    /// Where TLS is spoken, if it is.
    https: Option<SocketAddr>,
}

impl Candidate {
    /// The name on the command line, in file names and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cutover => "cutover",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
        }
    }

    /// The name in tables for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cutover => "cutover",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Caddy => "Caddy",
            Self::Envoy => "Envoy",
        }
    }

    /// The socket over which its weights are changed, once it runs with its files in `folder`.
    #[must_use]
    pub fn admin_socket(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.sock", self.name()))
    }

    /// The program's path; one that does not exist if it is not installed.
    #[must_use]
    pub fn program(self, setting: &Setting) -> PathBuf {
        if self == Self::Cutover {
            return setting.cutover.clone();
        }
        installed(self.name(), setting.tools.as_deref())
    }

    /// What the program says of its version; `unknown` if it says nothing.
    #[must_use]
    pub fn version(self, setting: &Setting) -> String {
        let argument = match self {
            Self::Haproxy | Self::Nginx => "-v",
            Self::Caddy => "version",
            Self::Cutover | Self::Envoy => "--version",
        };
        let said = first_line_of(std::process::Command::new(self.program(setting)).arg(argument));
        match self {
            Self::Caddy => format!("Caddy {}", said.split(' ').next().unwrap_or_default()),
            // Where HAProxy comes from is known.
            Self::Haproxy => said.split(" - ").next().unwrap_or_default().to_owned(),
            // `PATH version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`
            Self::Envoy => format!("Envoy {}", said.rsplit('/').nth(3).unwrap_or(&said)),
            _ => said,
        }
    }

    /// Writes its configuration into `folder`, starts it, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`ChildError`] if it does not come to serve.
    pub async fn start(self, setting: &Setting, folder: &Path) -> Result<Child, ChildError> {
        let name = self.name().to_owned();
        let not_prepared =
            |source: io::Error| ChildError::NotPrepared { name: self.name().to_owned(), source };
        let place = Place {
            folder: folder.to_owned(),
            listen: free_address().map_err(not_prepared)?,
            h2c: free_address().map_err(not_prepared)?,
            https: free_address().map_err(not_prepared)?,
            admin: self.admin_socket(folder),
        };
        let prepare = match self {
            Self::Cutover => cutover::prepare,
            Self::Haproxy => haproxy::prepare,
            Self::Nginx => nginx::prepare,
            Self::Caddy => caddy::prepare,
            Self::Envoy => envoy::prepare,
        };
        let Prepared { file, configuration, arguments, h2c, https } = prepare(&place, setting);
        std::fs::write(&file, configuration).map_err(not_prepared)?;
        let mut command = setting.under.clone();
        command.push(self.program(setting).into());
        command.extend(arguments);
        let program = command.remove(0).into();
        let (arguments, address, cpu) = (command, place.listen, setting.cpu);
        Child::start(Invocation { name, program, arguments, address, h2c, https, cpu }, folder).await
    }
}

/// Where a program is: in `bin` of `tools`, or in the system's places; a path that does not exist if in none.
#[must_use]
pub fn installed(program: &str, tools: Option<&Path>) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in a directory that an ordinary user's PATH lacks.
    let system = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut folders = tools.iter().map(|tools| tools.join("bin")).chain(system);
    let found = folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()));
    found.unwrap_or_else(|| program.into())
}

/// The `cutover` that was built together with this program, unless another is named.
///
/// # Errors
///
/// If this program does not know where it lies.
pub fn cutover_binary(named: Option<PathBuf>) -> io::Result<PathBuf> {
    match named {
        Some(path) => Ok(path),
        None => Ok(std::env::current_exe()?.with_file_name("cutover")),
    }
}
