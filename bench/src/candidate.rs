//! The proxies that are measured, each with the configuration that suits it best for this job.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::child::{Child, ChildError, Invocation, free_address};

/// Debian's package puts it here.
const HAPROXY: &str = "/usr/sbin/haproxy";

/// A proxy with its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Candidate {
    /// `cutover proxy`
    Cutover,
    /// HAProxy in HTTP mode, with kept-alive and shared upstream connections
    Haproxy,
    /// HAProxy in TCP mode, which reads no HTTP: a bound, for context
    HaproxyTcp,
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
}

impl Candidate {
    /// The name in tables and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cutover => "cutover",
            Self::Haproxy => "haproxy",
            Self::HaproxyTcp => "haproxy-tcp",
        }
    }

    /// The socket over which its weights are changed, once it runs with its files in `folder`.
    #[must_use]
    pub fn admin_socket(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.sock", self.name()))
    }

    /// The program's path.
    #[must_use]
    pub fn program(self, setting: &Setting) -> PathBuf {
        match self {
            Self::Cutover => setting.cutover.clone(),
            Self::Haproxy | Self::HaproxyTcp => HAPROXY.into(),
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
        let address = free_address().map_err(not_prepared)?;
        let admin = self.admin_socket(folder);
        let file = folder.join(format!("{name}.conf"));
        let (configuration, arguments) = match self {
            Self::Cutover => {
                let arguments = vec![
                    "proxy".into(),
                    "--table".into(),
                    file.clone().into(),
                    "--admin".into(),
                    admin.into(),
                    "--workers".into(),
                    setting.workers.to_string().into(),
                ];
                (cutover_table(address, setting), arguments)
            }
            Self::Haproxy => (haproxy_http(address, setting, &admin), haproxy_arguments(&file)),
            Self::HaproxyTcp => (haproxy_tcp(address, setting), haproxy_arguments(&file)),
        };
        std::fs::write(&file, configuration).map_err(not_prepared)?;
        let program = self.program(setting);
        Child::start(Invocation { name, program, arguments, address, cpu: setting.cpu }, folder).await
    }
}

fn cutover_table(listen: SocketAddr, setting: &Setting) -> String {
    let Setting { blue, green, .. } = setting;
    format!(
        r#"[listen]
http = ["{listen}"]
[[service]]
name = "bench"
weights = {{ blue = 100, green = 0 }}
blue = ["{blue}"]
green = ["{green}"]
"#
    )
}

/// `-db`: in the foreground, one process, so that the pid is the one that works.
fn haproxy_arguments(file: &Path) -> Vec<std::ffi::OsString> {
    vec!["-db".into(), "-f".into(), file.into()]
}

fn haproxy_http(listen: SocketAddr, setting: &Setting, admin: &Path) -> String {
    let Setting { blue, green, workers, .. } = setting;
    let admin = admin.display();
    format!(
        "global
    nbthread {workers}
    maxconn 2000
    stats socket {admin} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend clients
    bind {listen}
    default_backend bench
backend bench
    server blue {blue} weight 100
    server green {green} weight 0
"
    )
}

fn haproxy_tcp(listen: SocketAddr, setting: &Setting) -> String {
    let Setting { blue, workers, .. } = setting;
    format!(
        "global
    nbthread {workers}
    maxconn 2000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind {listen}
    default_backend bench
backend bench
    server blue {blue}
"
    )
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
