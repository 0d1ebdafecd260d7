//! `cutover proxy`: the data plane alone.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use cutover_proxy::{ProxyError, ProxySettings};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::exit::{Exit, Failure};

/// Run the data plane alone
#[derive(Args)]
pub(crate) struct Proxy {
    /// What to listen on and route to, in TOML; read at the start, never written
    #[arg(long, value_name = "FILE")]
    table: PathBuf,
    /// Where to make the admin socket; the last good table is kept beside it
    #[arg(long, value_name = "SOCKET")]
    admin: PathBuf,
    /// Threads that carry requests [default: one per core]
    #[arg(long)]
    workers: Option<usize>,
    /// How long requests in flight are waited for at the end
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    drain: Duration,
    /// Refuse clients until `POST /v1/listen` on the admin socket, for at most this time
    ///
    /// For a start after which instances have to be started first: clients are refused at once instead of
    /// getting errors. Ports that are taken are found at the start all the same.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    hold_listeners: Option<Duration>,
    /// Where to say which environment of each service is live, in files and by a loopback address
    #[arg(long, value_name = "DIR")]
    live: Option<PathBuf>,
    /// The file with the key that tokens of previews are signed with; without it every token is refused
    #[arg(long, value_name = "FILE")]
    preview_key: Option<PathBuf>,
    /// Take sockets to listen on from whoever is at the other end of the standard input
    #[arg(long, hide = true)]
    sockets_on_stdin: bool,
    /// Leave the session of whoever started it
    #[arg(long, hide = true)]
    own_session: bool,
}

impl Proxy {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        if self.own_session {
            // Fails for a session leader only, which has what it asked for.
            let _ = rustix::process::setsid();
        }
        let sockets = self.sockets_on_stdin.then(|| std::io::stdin().as_fd().try_clone_to_owned());
        let sockets = sockets
            .transpose()
            .map_err(|error| Failure::bug(format!("cannot take sockets from the standard input: {error}")))?;
        let sockets = sockets.map(Arc::new);
        let workers = self.workers.unwrap_or_else(default_workers);
        let settings = ProxySettings {
            table: self.table,
            admin: self.admin,
            workers,
            drain: self.drain,
            hold_listeners: self.hold_listeners,
            live: self.live,
            preview_key: self.preview_key,
            sockets,
        };
        let asked =
            ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
        cutover_proxy::run(settings, asked).await?;
        Ok(Exit::Done)
    }
}

pub(crate) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Completes with the first SIGTERM or SIGINT.
pub(crate) fn ended_by_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl From<ProxyError> for Failure {
    fn from(error: ProxyError) -> Self {
        let exit = match &error {
            ProxyError::Seed(_) | ProxyError::Table { .. } | ProxyError::NoListener(_) => Exit::Usage,
            ProxyError::Listen(_) | ProxyError::AdminTaken(_) | ProxyError::File { .. } => Exit::Refused,
            ProxyError::Start(_) | ProxyError::WorkerEnded(_) => Exit::Bug,
        };
        Self::new(exit, error.to_string())
    }
}
