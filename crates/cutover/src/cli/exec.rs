//! `cutover exec`: a command with a release's environment, secrets, user and directory.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write};

use clap::Args;
use cutover_adapters::unix_http::Duplex;
use cutover_core::ServiceName;
use serde_json::json;
use tokio::io::WriteHalf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::api::VERSION;
use crate::api::exec::frame::{self, Frame};
use crate::api::exec::{CommandView, CommandsView, ExecRequest};
use crate::cli::environment::Target;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::cli::terminal::{self, RawMode};

/// Read from standard input at once.
const PIECE: usize = 32 * 1024;

/// Run a command with a release's environment, secrets, user and directory
///
/// It runs on the controller's host, beside the instances and not within one: in the directory of the unpacked
/// release, as its user, with its environment variables and secrets, and with `CUTOVER_EXEC=1`. `PORT` is 0, never
/// the port of an instance. With a terminal on both sides it gets a terminal, else pipes. It ends with its own exit
/// status, 128 and the number of the signal that ended it, 127 if its program is not there, 126 if that cannot be
/// executed, or what `cutover` itself answers if it was not started for another reason. Standard output is the
/// command's: with `--json` the object that says how it ended is the last line of standard error.
/// When the client goes away it gets SIGHUP. Who ran what, and how it ended, is recorded; what was read and written
/// is not, and secrets belong into `[secrets]`, not into arguments.
#[derive(Args)]
#[command(after_help = "Example: cutover exec shop live -- ./shop migrate --dry-run")]
pub(crate) struct Exec {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    target: Target,
    /// Use pipes although this is a terminal
    #[arg(long, short = 'T')]
    no_tty: bool,
    /// List what was run lately instead, newest first
    #[arg(long, conflicts_with_all = ["no_tty", "command"])]
    history: bool,
    /// Program and arguments, after `--`
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        if self.command.is_empty() && !self.history {
            return Err(no_command(&self.target.words()));
        }
        let (service, environment) = self.target.resolve()?;
        if self.history {
            return history(&self.place, &service, printer).await;
        }
        let has_terminal = !self.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let terminal = has_terminal.then(terminal::view);
        let request = ExecRequest { environment, command: self.command, terminal };
        let stream = self.place.client()?.exec(&format!("/v1/services/{service}/exec"), &request).await?;
        let raw = if has_terminal { RawMode::enter().ok() } else { None };
        let ended = attend(stream, has_terminal).await;
        // The terminal is the user's again before anything is said on it.
        drop(raw);
        let (status, how) = ended?;
        if printer.is_json() {
            let object = json!({ "v": VERSION, "success": status == 0, "status": status, "how": how });
            printer.beside(&object);
        }
        Ok(Exit::OfCommand(status))
    }
}

/// What stands before `--` names a service, so that a command that was typed there is none.
fn no_command(words: &[&str]) -> Failure {
    let hint = match words {
        [] => "write it after `--`: `cutover exec -- ./shop migrate`".to_owned(),
        words => format!("did you mean `cutover exec -- {}`?", words.join(" ")),
    };
    Failure::usage("no command was given").hint(hint)
}

/// Carries the streams until the command has ended; answers its status and how it ended.
async fn attend(stream: Box<dyn Duplex>, has_terminal: bool) -> Result<(u8, String), Failure> {
    let (mut reader, writer) = tokio::io::split(stream);
    let (say, said) = mpsc::channel(16);
    let talking = tokio::spawn(talk(writer, said));
    let asking = tokio::spawn(pass_signals(say.clone(), has_terminal));
    listen_to_stdin(say);
    let lost = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Unreachable, format!("the connection to the command was lost: {error}"))
            .hint("it is hung up, unless the controller was killed: then it may still run; `cutover exec --history` tells what is known")
    };
    let ended = loop {
        let frame = frame::read(&mut reader).await.map_err(|error| lost(&error))?;
        let written = match frame {
            Some(Frame::Out(bytes)) => put(std::io::stdout(), &bytes),
            Some(Frame::Err(bytes)) => put(std::io::stderr(), &bytes),
            Some(Frame::Ended { status, how }) => break (status, how),
            Some(_) => continue,
            None => return Err(lost(&"the controller has ended it")),
        };
        if written.is_err() {
            // Nobody reads what it writes: as in a pipeline whose end has gone, it is hung up.
            break (128 + 13, "nobody read what it wrote".to_owned());
        }
    };
    asking.abort();
    talking.abort();
    Ok(ended)
}

fn put(mut stream: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

async fn talk(mut writer: WriteHalf<Box<dyn Duplex>>, mut said: mpsc::Receiver<Frame>) {
    while let Some(frame) = said.recv().await {
        if frame::write(&mut writer, &frame).await.is_err() {
            return;
        }
    }
}

/// On a thread of its own, which nobody waits for: a read of a terminal cannot be called off.
fn listen_to_stdin(say: mpsc::Sender<Frame>) {
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        loop {
            match std::io::stdin().read(&mut piece) {
                Ok(0) => break,
                Ok(count) => {
                    if say.blocking_send(Frame::Input(piece[..count].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = say.blocking_send(Frame::EndOfInput);
    });
}

/// What this process is told is told to the command. On a terminal Ctrl-C is a key like any other.
async fn pass_signals(say: mpsc::Sender<Frame>, has_terminal: bool) {
    let listen = |kind| signal(kind).ok();
    let (Some(mut resized), Some(mut interrupted), Some(mut terminated), Some(mut hung_up)) = (
        listen(SignalKind::window_change()),
        listen(SignalKind::interrupt()),
        listen(SignalKind::terminate()),
        listen(SignalKind::hangup()),
    ) else {
        return;
    };
    loop {
        let frame = tokio::select! {
            _ = resized.recv() => {
                if !has_terminal {
                    continue;
                }
                let (rows, columns) = terminal::size();
                Frame::Resize { rows, columns }
            }
            _ = interrupted.recv() => Frame::Signal("SIGINT".to_owned()),
            _ = terminated.recv() => Frame::Signal("SIGTERM".to_owned()),
            _ = hung_up.recv() => Frame::Signal("SIGHUP".to_owned()),
        };
        if say.send(frame).await.is_err() {
            return;
        }
    }
}

async fn history(place: &Place, service: &ServiceName, printer: &Printer) -> Result<Exit, Failure> {
    let view: CommandsView = place.client()?.get(&format!("/v1/services/{service}/commands")).await?;
    printer.result(&view, || {
        if view.commands.is_empty() {
            return format!("no command was run with {service} yet");
        }
        view.commands.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::Done)
}

fn line(view: &CommandView) -> String {
    let started = view.started_at.get(..19).unwrap_or(&view.started_at).replace('T', " ");
    let started = format!("{started} UTC");
    let how = view.how.as_deref().unwrap_or("runs");
    let mut text =
        format!("{started}  {:<12} {:<5} {:<16} by {:<8}", view.version, view.environment, how, view.actor);
    let _ = write!(text, "  {}", view.words);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_typed_before_the_dashes_is_shown_after_them() {
        assert_eq!(no_command(&["ls"]).hint.as_deref(), Some("did you mean `cutover exec -- ls`?"));
        assert!(no_command(&[]).hint.unwrap().starts_with("write it after `--`"));
    }
}
