//! `cutover ssh-entry` (hidden): the far end of `--host`. Copies between its standard streams and the controller's
//! socket, or, for a key that is limited, lets through what that key may do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use clap::Args;
use cutover_adapters::ssh::GREETING;
use cutover_core::ServiceName;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::api::limited;
use crate::api::permission::{Allowed, Permission};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;

/// What `--host` starts over ssh on the controller's host; in `authorized_keys` it limits a key
///
/// It carries between ssh and the controller's socket, and ends with the connection. Beside a key, as a forced command,
/// it lets through what that key may do with the services that it names, and answers everything else with a refusal.
#[derive(Args)]
#[command(
    after_help = "Example, before a key in authorized_keys:\n  restrict,command=\"cutover ssh-entry --service shop --allow deploy,status\""
)]
pub(crate) struct SshEntry {
    #[command(flatten)]
    place: Place,
    /// What the key may do, such as `deploy,status`; everything if absent
    #[arg(long, value_name = "VERBS", value_delimiter = ',')]
    allow: Vec<Allowed>,
    /// The service that it may do that with; may be repeated [default: every service]
    #[arg(long, value_name = "SERVICE", requires = "allow")]
    service: Vec<ServiceName>,
    /// Whose key it is: told beside the user in what is recorded
    #[arg(long, value_name = "NAME", requires = "allow")]
    told: Option<String>,
}

impl SshEntry {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::bug(format!("cannot start a runtime: {error}")))?;
        let result = runtime.block_on(self.serve());
        // A thread that still reads standard input is not waited for.
        runtime.shutdown_background();
        result
    }

    async fn serve(self) -> Result<Exit, Failure> {
        let path = self.place.over_here("cutover ssh-entry")?.api_socket();
        let socket = UnixStream::connect(&path).await.map_err(|error| no_controller(&path, &error))?;
        let permission = (!self.allow.is_empty()).then(|| Permission::new(self.service, self.allow));
        if let Some(permission) = &permission {
            original_command(permission, std::env::var("SSH_ORIGINAL_COMMAND").ok().as_deref())?;
        }
        let (stdin, mut stdout) = streams().map_err(|error| gone(&error))?;
        greet(&mut stdout).await.map_err(|error| gone(&error))?;
        // A client that goes away has got what it wanted.
        match permission {
            Some(permission) => {
                let stream = tokio::io::join(stdin, stdout);
                let _ = limited::serve(stream, path, permission, self.told).await;
            }
            None => {
                let _ = copy(socket, stdin, stdout).await;
            }
        }
        Ok(Exit::Done)
    }
}

/// What was asked for before the forced command took its place. None of it is obeyed; it is read to say what cannot be
/// had with this key, where silence would mislead.
fn original_command(permission: &Permission, asked: Option<&str>) -> Result<(), Failure> {
    let refused = |message: String| Err(Failure::new(Exit::Refused, message));
    let words = asked.and_then(shlex::split).unwrap_or_default();
    if !words.iter().any(|word| word == "ssh-entry") {
        return refused(format!(
            "this key gives no command line: it {permission}, by `cutover VERB --host …`"
        ));
    }
    if words.iter().any(|word| word.starts_with("--state-dir")) {
        return refused("this key cannot choose a state directory: its forced command does".to_owned());
    }
    Ok(())
}

/// Standard input and output, whatever they are: under sshd pipes or sockets.
fn streams() -> io::Result<(File, File)> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let own =
        |stream: BorrowedFd<'_>| Ok::<_, io::Error>(File::from_std(stream.try_clone_to_owned()?.into()));
    Ok((own(stdin.as_fd())?, own(stdout.as_fd())?))
}

fn no_controller(path: &std::path::Path, error: &io::Error) -> Failure {
    let message = format!("no controller answers on `{}`: {error}", path.display());
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "log in as the user of `cutover serve`, or as one whom its socket is open to".to_owned()
        }
        _ => "start it there with `cutover serve`, or name its state directory with `--state-dir`".to_owned(),
    };
    Failure::new(Exit::Unreachable, message).hint(hint)
}

fn gone(error: &io::Error) -> Failure {
    Failure::new(Exit::Unreachable, format!("the other side has gone: {error}"))
}

async fn greet(stdout: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stdout.write_all(format!("{GREETING}{}\n", env!("CARGO_PKG_VERSION")).as_bytes()).await?;
    stdout.flush().await
}

/// Copies both ways until the controller has said everything: it ends when the client does, never before it.
async fn copy(
    socket: UnixStream,
    mut stdin: impl AsyncRead + Unpin,
    mut stdout: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (mut from, mut to) = socket.into_split();
    let asking = async {
        let copied = tokio::io::copy(&mut stdin, &mut to).await;
        to.shutdown().await.and(copied.map(drop))
    };
    let answering = async {
        let copied = tokio::io::copy(&mut from, &mut stdout).await;
        stdout.flush().await.and(copied.map(drop))
    };
    tokio::pin!(answering);
    tokio::select! {
        answered = &mut answering => answered,
        asked = asking => {
            asked?;
            answering.await
        }
    }
}
